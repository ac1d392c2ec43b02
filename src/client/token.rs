//! Where a speaker's token comes from.

use std::path::PathBuf;
use std::{fmt, fs, io};

/// Bytes of a token file that are read; a token is far shorter, and a message
/// could not carry more.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Where a speaker's token comes from. A file is read again for every
/// connection, so that a token that was renewed there is used.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TokenSource {
    /// The room is open, or the speaker only listens.
    #[default]
    None,
    /// The token itself.
    Text(String),
    /// A file that holds it.
    File(PathBuf),
}

impl TokenSource {
    /// The token, if there is one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or does not hold one word.
    pub fn read(&self) -> Result<Option<String>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Text(text) => checked(text).map(Some),
            Self::File(path) => checked(&fs::read_to_string(path)?).map(Some),
        }
    }
}

/// Not derived: a token is nothing to print.
impl fmt::Debug for TokenSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("None"),
            Self::Text(_) => out.write_str("Text(..)"),
            Self::File(path) => out.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why there is no token where one was to be.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Nothing in it.
    #[error("there is no token in it")]
    Empty,
    /// More than one word in it.
    #[error("a token is one word of at most {TOKEN_BYTES_MAX} bytes")]
    Form,
}

/// One word without what surrounds it. Whether it is a good one is the
/// server's to say.
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
        check(" \n", "there is no token in it");
        check("a b", "a token is one word of at most 16384 bytes");
        check("ž", "a token is one word of at most 16384 bytes");
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
