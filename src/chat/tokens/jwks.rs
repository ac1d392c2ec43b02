//! Public keys in JSON: a JWK or a JWKS (RFC 7517).

use std::str::FromStr;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::keys::{KeyError, PublicKeys, TokenKey};

/// The number of characters of a `kid` that are shown.
const KID_CHARS_MAX: usize = 100;

/// A JWKS or a JWK.
#[derive(Deserialize)]
#[serde(untagged)]
enum Jwks {
    Set { keys: Vec<Value> },
    One(Value),
}

/// The members that are used. All others are ignored (RFC 7517, 4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
}

/// The keys of a JWKS that fit `kid` and `algorithm`, and those that would fit but
/// cannot be used (RFC 7517, 5).
pub(super) fn read(
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
    content: &[u8],
) -> Result<PublicKeys, KeyError> {
    let jwks = serde_json::from_slice(content)
        .map_err(|error| KeyError::Json(error.line(), error.column()))?;
    let jwks = match jwks {
        Jwks::Set { keys } => keys,
        Jwks::One(key) => vec![key],
    };
    PublicKeys::collect(jwks.into_iter().enumerate().map(|(index, jwk)| {
        let own = jwk.get("kid").and_then(Value::as_str);
        let shown = own.map(|kid| kid.chars().take(KID_CHARS_MAX).collect::<String>());
        let name = shown.map_or_else(|| (index + 1).to_string(), |kid| format!("{kid:?}"));
        if kid.zip(own).is_some_and(|(wanted, own)| wanted != own) {
            return (name, Ok(None));
        }
        let jwk = serde_json::from_value::<Jwk>(jwk).map_err(|_| KeyError::Malformed);
        (name, jwk.and_then(|jwk| jwk.key(kid, algorithm)))
    }))
}

impl Jwk {
    /// The key; `None` if it is not for signatures or not for the `wanted` algorithm.
    fn key(
        &self,
        kid: Option<&str>,
        wanted: Option<Algorithm>,
    ) -> Result<Option<TokenKey>, KeyError> {
        let own = self.alg.as_deref().map(|name| Algorithm::from_str(name).ok());
        let is_other = wanted.is_some_and(|wanted| self.kty != kty(wanted))
            || wanted.is_some() && own.is_some_and(|own| own != wanted);
        if is_other || !self.is_for_verifying() {
            return Ok(None);
        }
        let possible = self.algorithms()?;
        if wanted.is_some_and(|wanted| !possible.contains(&wanted)) {
            return Ok(None);
        }
        let algorithm = match (own, possible) {
            (Some(own), _) => {
                own.filter(|own| possible.contains(own)).ok_or(KeyError::Unsupported)?
            }
            (None, [only]) => *only,
            (None, _) => wanted.ok_or(KeyError::AlgorithmMissing)?,
        };
        if self.d.is_some() {
            return Err(KeyError::Private);
        }
        let kid = self.kid.as_deref().or(kid);
        TokenKey::public(kid, algorithm, self.decode(algorithm)?).map(Some)
    }

    /// Whether `use` and `key_ops` allow the key to verify signatures.
    fn is_for_verifying(&self) -> bool {
        let verifies = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
        self.usage.as_ref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(verifies)
    }

    /// The algorithms that a key of this kind can have.
    fn algorithms(&self) -> Result<&'static [Algorithm], KeyError> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Ok(&[RS256, RS384, RS512, PS256, PS384, PS512]),
            ("EC", Some("P-256")) => Ok(&[ES256]),
            ("EC", Some("P-384")) => Ok(&[ES384]),
            ("OKP", Some("Ed25519")) => Ok(&[EdDSA]),
            ("oct", _) => Err(KeyError::Secret),
            _ => Err(KeyError::Unsupported),
        }
    }

    fn decode(&self, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
        let key = match (self.kty.as_str(), &self.n, &self.e, &self.x, &self.y) {
            ("RSA", Some(n), Some(e), _, _) => DecodingKey::from_rsa_components(n, e),
            ("EC", _, _, Some(x), Some(y)) => DecodingKey::from_ec_components(x, y),
            ("OKP", _, _, Some(x), _) => DecodingKey::from_ed_components(x),
            _ => return Err(KeyError::Malformed),
        };
        key.map_err(|_| KeyError::Other(algorithm))
    }
}

/// The `kty` of keys for `algorithm` (RFC 7518, 6.1; RFC 8037, 2).
fn kty(algorithm: Algorithm) -> &'static str {
    match algorithm.family() {
        AlgorithmFamily::Hmac => "oct",
        AlgorithmFamily::Rsa => "RSA",
        AlgorithmFamily::Ec => "EC",
        AlgorithmFamily::Ed => "OKP",
    }
}
