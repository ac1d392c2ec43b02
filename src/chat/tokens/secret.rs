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
/// assert!(Secret::new(" \n").is_err());
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
        if bytes.is_empty() {
            Err(EmptySecret::NoByte)
        } else if is_blank(&bytes) {
            Err(EmptySecret::Blank)
        } else {
            Ok(Self(bytes))
        }
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

/// A secret without content, which is never taken for "no secret".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmptySecret {
    /// It has no byte.
    #[error("the secret is empty")]
    NoByte,
    /// An editor has left white space, or a crash of the machine has left zeros.
    #[error("the secret is empty: it consists of white space or zeros")]
    Blank,
}

/// Whether `bytes` are only white space and control characters, perhaps after a byte order mark.
fn is_blank(bytes: &[u8]) -> bool {
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    let rest = marks.iter().find_map(|mark| bytes.strip_prefix(*mark)).unwrap_or(bytes);
    rest.iter().all(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_content() {
        let blank = ["\n", " ", "\r\n\r\n", "\t\x0b", "\0\0\0\0", "\u{feff}", "\u{feff}\n"];
        for text in blank {
            assert_eq!(Secret::new(text), Err(EmptySecret::Blank), "{text:?}");
        }
        assert_eq!(Secret::new(*b"\xff\xfe\r\0\n\0"), Err(EmptySecret::Blank));
        assert_eq!(Secret::new(""), Err(EmptySecret::NoByte));
        for text in [" a", "\0\0a", "\u{feff}é"] {
            assert_eq!(Secret::new(text).unwrap().bytes(), text.as_bytes());
        }
    }
}
