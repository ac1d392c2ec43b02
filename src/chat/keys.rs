//! Keys that tokens are verified with, each for one algorithm (RFC 7517, 7518).

mod jwks;
mod pem;

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};

/// A key with the one algorithm that it verifies, and perhaps a name.
///
/// A secret is only for the HMAC algorithms, a public key never: whoever knows
/// the public key could sign with it otherwise.
///
/// # Examples
///
/// ```
/// use jsonwebtoken::Algorithm;
/// use wschat::chat::TokenKey;
/// let key = TokenKey::secret(Some("2026"), Algorithm::HS256, b"correct horse").unwrap();
/// assert_eq!(format!("{key:?}"), "TokenKey(2026, HS256)");
/// assert!(TokenKey::secret(None, Algorithm::RS256, b"correct horse").is_err());
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

    /// The public keys in `content`: those of a PEM file, or those of a JWKS that
    /// fit `kid` and `algorithm`, where those are given.
    ///
    /// # Errors
    ///
    /// Any other [`KeyError`]. A key that cannot be used is none as long as another
    /// one can.
    pub fn public(
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
        content: &[u8],
    ) -> Result<PublicKeys, KeyError> {
        if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
            return Err(KeyError::Utf16);
        }
        // A byte order mark is no part of what follows it (RFC 8259, 8.1).
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        if content.trim_ascii_start().starts_with(b"{") {
            return jwks::read(kid, algorithm, content);
        }
        pem::read(kid, algorithm, content)
    }

    /// The name that a token may give in its header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What a token must be signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The secret, for the code that signs; none if it is a public key.
    pub fn secret_bytes(&self) -> Option<&[u8]> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) if self.key.family() == AlgorithmFamily::Hmac => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Whether a token of this header may have been signed with it. A key
    /// without a name is one for every `kid`, and a token without a `kid` one
    /// for every key.
    pub(super) fn fits(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let named = self.kid().zip(kid).is_none_or(|(own, wanted)| own == wanted);
        self.algorithm == algorithm && named
    }

    /// Whether `signature`, in base64url, is that of `signed`.
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, self.algorithm)
            .unwrap_or(false)
    }

    /// What makes it the key that it is.
    pub(super) fn material(&self) -> [&[u8]; 2] {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => [bytes, b""],
            DecodingKeyKind::RsaModulusExponent { n, e } => [n, e],
        }
    }

    /// A public key for `algorithm`, if it is one: a point on the right curve, a
    /// modulus that is long enough.
    fn checked(
        kid: Option<&str>,
        algorithm: Algorithm,
        key: DecodingKey,
    ) -> Result<Self, KeyError> {
        let parsed = match (key.kind(), algorithm) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, _) => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
            (DecodingKeyKind::SecretOrDer(key), Algorithm::ES256) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
            }
            (DecodingKeyKind::SecretOrDer(key), Algorithm::ES384) => {
                ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
            }
            (DecodingKeyKind::SecretOrDer(key), Algorithm::EdDSA) => {
                ParsedPublicKey::new(&ED25519, key)
            }
            (DecodingKeyKind::SecretOrDer(key), _) => {
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            }
        };
        let parsed = parsed.map_err(|_| KeyError::Other(algorithm))?;
        // Encoded, a modulus of 2,048 bits takes more bytes than its own 256.
        if key.family() == AlgorithmFamily::Rsa && parsed.as_ref().len() <= 256 {
            return Err(KeyError::RsaShort);
        }
        Ok(Self { kid: kid.map(Into::into), algorithm, key })
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        let named = |key: &Self| (key.kid.clone(), key.algorithm);
        named(self) == named(other) && self.material() == other.material()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenKey({}, {:?})", self.kid().unwrap_or("-"), self.algorithm)
    }
}

/// What a file of public keys gives.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKeys {
    /// At least one.
    pub keys: Vec<TokenKey>,
    /// Keys that were asked for and cannot be used.
    pub unusable: Vec<Unusable>,
}

impl PublicKeys {
    /// Sorts what was found in a file, each with its name: a key, none that was
    /// asked for, or one that cannot be used.
    fn gather(
        found: impl Iterator<Item = (Unusable, Result<Option<TokenKey>, KeyError>)>,
    ) -> Result<Self, KeyError> {
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for (name, key) in found {
            match key {
                Ok(key) => keys.extend(key),
                // Nobody should have it, whatever else is in the file.
                Err(KeyError::Private) => return Err(KeyError::Private),
                Err(why) => unusable.push(Unusable { why, ..name }),
            }
        }
        match (keys.is_empty(), unusable.len()) {
            (false, _) => Ok(Self { keys, unusable }),
            (true, 0) => Err(KeyError::NoneFits),
            (true, 1) => Err(unusable.remove(0).why),
            (true, _) => Err(KeyError::NoneUsable(Box::new(unusable.remove(0)))),
        }
    }
}

/// A key of a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its `kid`, quoted, or its number in the file.
    name: String,
    why: KeyError,
}

impl Unusable {
    /// Characters of a `kid` that are shown.
    const CHARS_MAX: usize = 100;

    fn kid(kid: &str) -> Self {
        let shown: String = kid.chars().take(Self::CHARS_MAX).collect();
        Self { name: format!("{shown:?}"), why: KeyError::NoneFits }
    }

    fn number(index: usize) -> Self {
        Self { name: (index + 1).to_string(), why: KeyError::NoneFits }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "key {} cannot be used: {}", self.name, self.why)
    }
}

/// Why there is no key where one was to be. It never shows what was there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing to sign with.
    #[error("the secret is empty")]
    Empty,
    /// A secret under an algorithm of public keys.
    #[error("a secret is for HS256, HS384 or HS512")]
    NotForSecrets,
    /// A public key under an algorithm of secrets: everybody may know it.
    #[error("a public key is not for HS256, HS384 or HS512, which take a secret_file")]
    NotForPublic,
    /// A PEM file alone does not tell what a key is for.
    #[error("alg is missing, which a PEM file and an RSA key without it need")]
    AlgorithmMissing,
    /// Neither of the two forms.
    #[error("the file holds neither public keys in PEM nor a JWKS")]
    Form,
    /// What some editors write where others write UTF-8.
    #[error("the file is in UTF-16; save it as UTF-8")]
    Utf16,
    /// PEM without an end, or with something else than base64 in it.
    #[error("a block of the PEM file is damaged")]
    Damaged,
    /// It says more than its key, which nobody here would look at.
    #[error("a certificate is no key; put its key there (openssl x509 -noout -pubkey)")]
    Certificate,
    /// JSON that is not a JWKS, at this line and column.
    #[error("the file is not a JWKS: line {0}, column {1}")]
    Json(usize, usize),
    /// A member that is missing or of another type than in RFC 7517 and 7518.
    #[error("it is not a JWK: a member is missing, or of the wrong type")]
    Malformed,
    /// A kind of key, a curve or an algorithm that cannot be used here.
    #[error("its kty, crv or alg is not known here, or they do not belong together")]
    Unknown,
    /// A secret among public keys.
    #[error("a secret has no place in a JWKS; put it into a secret_file")]
    Secret,
    /// More than anybody should know of a key that only verifies.
    #[error("the file holds a private key; put the public one there (openssl pkey -pubout)")]
    Private,
    /// A key of another kind, or none at all.
    #[error("it is no public key for {0:?}")]
    Other(Algorithm),
    /// Short enough to be broken.
    #[error("an RSA key has to have 2048 bits at least")]
    RsaShort,
    /// A JWKS in which nothing was asked for.
    #[error("no key of the JWKS fits: a public key to verify with, of that kid and alg")]
    NoneFits,
    /// Several keys, none of which can be used; this is the first.
    #[error("no key of the file can be used; {0}")]
    NoneUsable(Box<Unusable>),
}
