//! Files of public keys: PEM, a JWK or a JWKS.

use jsonwebtoken::Algorithm;

use super::keys::{KeyError, PublicKeys};
use super::{jwks, pem};

/// Reads the public keys in `content`: all keys of a PEM file, or the keys of a JWKS
/// that fit `kid` and `algorithm`, where those are given.
///
/// # Errors
///
/// Any [`KeyError`] except those of secrets. A key that cannot be used is an error
/// only if no other key can be used.
///
/// # Examples
///
/// ```
/// use wschat::chat::read_public_keys;
/// let jwk = br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// assert_eq!(read_public_keys(None, None, jwk).unwrap().keys.len(), 1);
/// ```
pub fn read_public_keys(
    kid: Option<&str>,
    algorithm: Option<Algorithm>,
    content: &[u8],
) -> Result<PublicKeys, KeyError> {
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return Err(KeyError::Utf16);
    }
    // A byte order mark may be ignored (RFC 8259, 8.1).
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    if content.trim_ascii_start().starts_with(b"{") {
        return jwks::read(kid, algorithm, content);
    }
    pem::read(kid, algorithm, content)
}
