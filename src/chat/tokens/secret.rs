//! A secret that is never empty and never printed.

use std::fmt;

/// A secret that tokens are signed with: at least one byte, never printed.
///
/// # Examples
///
/// ```
/// use wschat::chat::Secret;
/// let secret = Secret::new("correct horse").unwrap();
/// assert_eq!(secret.bytes(), b"correct horse");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Bytes that a secret should have at least for HS256 (RFC 7518, 3.2).
    pub const BYTES_ADVISED: usize = 32;

    /// Keeps `bytes` as the secret.
    ///
    /// # Errors
    ///
    /// [`EmptySecret`]: anyone could sign a token with it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, EmptySecret> {
        let bytes = bytes.into();
        if bytes.is_empty() { Err(EmptySecret) } else { Ok(Self(bytes)) }
    }

    /// The secret itself, for the code that signs and verifies.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is short enough to be guessed.
    pub fn is_short(&self) -> bool {
        self.0.len() < Self::BYTES_ADVISED
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// A secret without any byte, which is never taken for "no secret".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;
