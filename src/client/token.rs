//! The token (JWT) that the client sends.

use std::path::PathBuf;
use std::{fmt, fs, io};

/// Bytes of the longest token. Real ones are much shorter, and no room accepts
/// longer messages.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Where the token comes from. The client reads a file again for every
/// connection, so that it uses a renewed token.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TokenSource {
    /// There is no token: the room needs none, or the client only listens.
    #[default]
    None,
    /// The token itself.
    Text(String),
    /// A file that contains it.
    File(PathBuf),
}

impl TokenSource {
    /// Returns the token, if there is one.
    pub fn read(&self) -> Result<Option<String>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Text(text) => checked(text).map(Some),
            Self::File(path) => checked(&fs::read_to_string(path)?).map(Some),
        }
    }
}

/// Not derived, because it must not print the token.
impl fmt::Debug for TokenSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("None"),
            Self::Text(_) => out.write_str("Text(..)"),
            Self::File(path) => out.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("the token is empty")]
    Empty,
    #[error("a token is one word of at most {TOKEN_BYTES_MAX} ASCII characters")]
    Form,
}

/// The text without surrounding white space. Only the server verifies the token.
fn checked(text: &str) -> Result<String, TokenError> {
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty);
    }
    if token.len() > TOKEN_BYTES_MAX || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(TokenError::Form);
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let check = |text: &str, want: &str| {
            let got = TokenSource::Text(text.into()).read();
            assert_eq!(got.map_or_else(|error| error.to_string(), Option::unwrap), want);
        };
        check(" a.b.c\n", "a.b.c");
        check(" \n", "the token is empty");
        check("a b", "a token is one word of at most 16384 ASCII characters");
        check("ž", "a token is one word of at most 16384 ASCII characters");
    }

    #[test]
    fn a_file_is_read_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let source = TokenSource::File(folder.path().join("token"));
        assert!(matches!(source.read(), Err(TokenError::Read(_))));
        for token in ["one", "two"] {
            fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
            assert_eq!(source.read().unwrap().as_deref(), Some(token));
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        assert_eq!(format!("{:?}", TokenSource::Text("a.b.c".into())), "Text(..)");
    }
}
