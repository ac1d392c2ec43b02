//! Keys that tokens are verified with, each for one algorithm (RFC 7517, 7518).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

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

    /// The public keys in `content`: one in PEM, or those of a JWKS that fit
    /// `kid` and `algorithm`, where those are given.
    ///
    /// # Errors
    ///
    /// Any other [`KeyError`].
    pub fn public(
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
        content: &[u8],
    ) -> Result<Vec<Self>, KeyError> {
        if content.trim_ascii_start().starts_with(b"{") {
            return jwks(kid, algorithm, content);
        }
        let key = pem(algorithm.ok_or(KeyError::AlgorithmMissing)?, content)?;
        Ok(vec![Self { kid: kid.map(Into::into), ..key }])
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

/// Why there is no key where one was to be. It never shows what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    #[error("the file holds neither a public key in PEM nor a JWKS")]
    Form,
    /// JSON that is not a JWKS, at this line and column.
    #[error("the file is not a JWKS: line {0}, column {1}")]
    Json(usize, usize),
    /// More than anybody should know of a key that only verifies.
    #[error("the file holds a private key; put the public one there (openssl pkey -pubout)")]
    Private,
    /// A key of another kind, or none at all.
    #[error("the file holds no key for {0:?}")]
    Other(Algorithm),
    /// Short enough to be broken.
    #[error("an RSA key has to have 2048 bits at least")]
    RsaShort,
    /// A JWKS in which nothing can be used.
    #[error("no key of the JWKS fits: a public key to verify with, of that kid and alg")]
    NoneFits,
}

/// The key in a PEM file.
fn pem(algorithm: Algorithm, content: &[u8]) -> Result<TokenKey, KeyError> {
    let text = std::str::from_utf8(content).map_err(|_| KeyError::Form)?;
    if text.lines().any(|line| line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY")) {
        return Err(KeyError::Private);
    }
    if !text.contains("-----BEGIN") {
        return Err(KeyError::Form);
    }
    let key = match algorithm.family() {
        AlgorithmFamily::Hmac => return Err(KeyError::NotForPublic),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(content),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(content),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(content),
    };
    TokenKey::checked(None, algorithm, key.map_err(|_| KeyError::Other(algorithm))?)
}

/// A set of keys, or one alone. Members that nobody here knows are left out, as
/// RFC 7517 wants it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Jwks {
    Set { keys: Vec<Value> },
    One(Value),
}

/// The keys of a JWKS that fit `kid` and `algorithm`.
fn jwks(
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
    content: &[u8],
) -> Result<Vec<TokenKey>, KeyError> {
    let jwks = serde_json::from_slice(content)
        .map_err(|error| KeyError::Json(error.line(), error.column()))?;
    let jwks = match jwks {
        Jwks::Set { keys } => keys,
        Jwks::One(key) => vec![key],
    };
    let mut keys = Vec::new();
    for jwk in jwks {
        let is_private = jwk.get("d").is_some();
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { continue };
        let own_kid = jwk.common.key_id.as_deref();
        let is_other = kid.zip(own_kid).is_some_and(|(wanted, own)| wanted != own);
        let is_for_else = jwk
            .common
            .public_key_use
            .as_ref()
            .is_some_and(|usage| *usage != PublicKeyUse::Signature);
        if is_other || is_for_else {
            continue;
        }
        let Some(own) = algorithm_of(&jwk, algorithm)? else { continue };
        if algorithm.is_some_and(|wanted| wanted != own) {
            continue;
        }
        if is_private {
            return Err(KeyError::Private);
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::Other(own))?;
        keys.push(TokenKey::checked(own_kid.or(kid), own, key)?);
    }
    if keys.is_empty() { Err(KeyError::NoneFits) } else { Ok(keys) }
}

/// What a key of a JWKS is for: what it says itself, else what its curve or the
/// configuration says. Nothing if it is no public key to verify with.
fn algorithm_of(jwk: &Jwk, wanted: Option<Algorithm>) -> Result<Option<Algorithm>, KeyError> {
    let (family, by_curve) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (AlgorithmFamily::Rsa, None),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => (AlgorithmFamily::Ec, Some(Algorithm::ES256)),
            EllipticCurve::P384 => (AlgorithmFamily::Ec, Some(Algorithm::ES384)),
            _ => return Ok(None),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (AlgorithmFamily::Ed, Some(Algorithm::EdDSA))
        }
        // A secret in a file that everybody may know is none.
        _ => return Ok(None),
    };
    let algorithm = match jwk.common.key_algorithm {
        Some(own) => Algorithm::try_from(own).ok(),
        None => Some(by_curve.or(wanted).ok_or(KeyError::AlgorithmMissing)?),
    };
    // A key that says it is for the algorithm of another family is for none.
    Ok(algorithm.filter(|algorithm| algorithm.family() == family))
}
