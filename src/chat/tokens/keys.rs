//! Keys that verify and sign tokens, each for one algorithm (RFC 7517, 7518).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey, Header};
use serde::Serialize;

/// A key for one algorithm, with an optional `kid`.
///
/// A secret is only for the HMAC algorithms and a public key is never for them:
/// otherwise anyone who knows the public key could sign with it.
///
/// # Examples
///
/// ```
/// use jsonwebtoken::Algorithm;
/// use wschat::chat::TokenKey;
/// let key = TokenKey::secret(Some("2026"), Algorithm::HS256, b"correct horse").unwrap();
/// assert_eq!(format!("{key:?}"), "TokenKey(2026, HS256)");
/// assert!(TokenKey::secret(None, Algorithm::RS256, b"correct horse").is_err());
/// assert!(key.sign(&serde_json::json!({ "sub": "ann" })).is_some());
/// ```
#[derive(Clone)]
pub struct TokenKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl TokenKey {
    /// A secret for one of the HMAC algorithms.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`] or [`KeyError::NotForSecrets`].
    pub fn secret(
        kid: Option<&str>,
        algorithm: Algorithm,
        secret: &[u8],
    ) -> Result<Self, KeyError> {
        if algorithm.family() != AlgorithmFamily::Hmac {
            return Err(KeyError::NotForSecrets);
        }
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self { kid: kid.map(Into::into), algorithm, key: DecodingKey::from_secret(secret) })
    }

    /// A public key for `algorithm`, after checking that it is a point on the curve of
    /// the algorithm or a modulus that is long enough.
    pub(super) fn public(
        kid: Option<&str>,
        algorithm: Algorithm,
        key: DecodingKey,
    ) -> Result<Self, KeyError> {
        const RSA: &RsaParameters = &RSA_PKCS1_2048_8192_SHA256;
        let parsed = match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(RSA)
            }
            DecodingKeyKind::SecretOrDer(der) => match algorithm {
                Algorithm::ES256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der),
                Algorithm::ES384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, der),
                Algorithm::EdDSA => ParsedPublicKey::new(&ED25519, der),
                _ => ParsedPublicKey::new(RSA, der),
            },
        };
        let parsed = parsed.map_err(|_| KeyError::Other(algorithm))?;
        // A modulus of 2,048 bits takes 256 bytes, and its encoding takes more.
        if key.family() == AlgorithmFamily::Rsa && parsed.as_ref().len() <= 256 {
            return Err(KeyError::RsaShort);
        }
        Ok(Self { kid: kid.map(Into::into), algorithm, key })
    }

    /// The name of the key, which a token may give in its header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithm of the signatures.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A token with these claims. `None` for a public key, which cannot sign.
    pub fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        let secret = EncodingKey::from_secret(self.secret_bytes()?);
        jsonwebtoken::encode(&header, claims, &secret).ok()
    }

    /// The secret; `None` for a public key.
    pub fn secret_bytes(&self) -> Option<&[u8]> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) if self.key.family() == AlgorithmFamily::Hmac => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Whether a token with this header can be verified with the key. A key without a
    /// `kid` is for every `kid`, and every key is for a token without one.
    pub(super) fn fits(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let is_named = self.kid().zip(kid).is_none_or(|(own, wanted)| own == wanted);
        self.algorithm == algorithm && is_named
    }

    /// Whether `signature`, in base64url, is a signature of `signed`.
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, self.algorithm)
            .unwrap_or(false)
    }

    /// The bytes of the key.
    pub(super) fn material(&self) -> [&[u8]; 2] {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => [bytes, b""],
            DecodingKeyKind::RsaModulusExponent { n, e } => [n, e],
        }
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.kid, self.algorithm, self.material())
            == (&other.kid, other.algorithm, other.material())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenKey({}, {:?})", self.kid().unwrap_or("-"), self.algorithm)
    }
}

/// The content of a file of public keys.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKeys {
    /// The keys, at least one.
    pub keys: Vec<TokenKey>,
    /// Keys that were wanted but cannot be used.
    pub unusable: Vec<UnusableKey>,
}

impl PublicKeys {
    /// Collects the keys of a file. Each has its name and is a key, `None` if it was not
    /// wanted, or an error.
    pub(super) fn collect(
        found: impl Iterator<Item = (String, Result<Option<TokenKey>, KeyError>)>,
    ) -> Result<Self, KeyError> {
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for (name, key) in found {
            match key {
                Ok(key) => keys.extend(key),
                // A private key is an error even if other keys can be used.
                Err(KeyError::Private) => return Err(KeyError::Private),
                Err(error) => unusable.push(UnusableKey { name, error }),
            }
        }
        match (keys.is_empty(), unusable.len()) {
            (false, _) => Ok(Self { keys, unusable }),
            (true, 0) => Err(KeyError::NoneFits),
            (true, 1) => Err(unusable.remove(0).error),
            (true, _) => Err(KeyError::NoneUsable(Box::new(unusable.remove(0)))),
        }
    }
}

/// A key of a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableKey {
    /// Its quoted `kid`, or its number in the file.
    name: String,
    error: KeyError,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "key {} cannot be used: {}", self.name, self.error)
    }
}

/// Why a key cannot be used. The texts never show the content of a file.
#[allow(missing_docs, reason = "the texts describe the variants")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the secret is empty")]
    Empty,
    #[error("a secret is for HS256, HS384 or HS512")]
    NotForSecrets,
    #[error("a public key is not for HS256, HS384 or HS512, which need a secret_file")]
    NotForPublic,
    #[error("alg is missing; a PEM file and an RSA key without alg need it")]
    AlgorithmMissing,
    #[error("the file contains neither public keys in PEM nor a JWKS")]
    Form,
    #[error("the file is in UTF-16; save it as UTF-8")]
    Utf16,
    #[error("a block of the PEM file is damaged")]
    Damaged,
    #[error("a certificate is not a key; use its public key (openssl x509 -noout -pubkey)")]
    Certificate,
    #[error("the file is not a JWKS: line {0}, column {1}")]
    Json(usize, usize),
    #[error("it is not a JWK: a member is missing or has the wrong type")]
    Malformed,
    #[error("its kty, crv and alg are not supported or do not fit together")]
    Unsupported,
    #[error("a secret must not be in a JWKS; use a secret_file")]
    Secret,
    #[error("the file contains a private key; use the public key (openssl pkey -pubout)")]
    Private,
    #[error("it is not a public key for {0:?}")]
    Other(Algorithm),
    #[error("an RSA key must have at least 2048 bits")]
    RsaShort,
    #[error("the JWKS has no public key for signatures with this kid and alg")]
    NoneFits,
    #[error("no key of the file can be used; {0}")]
    NoneUsable(Box<UnusableKey>),
}
