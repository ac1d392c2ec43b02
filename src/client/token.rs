//! The token (JWT) that the client sends.

use std::path::PathBuf;
use std::{fs, io};

/// Bytes of the longest token. Real ones are much shorter, and no room accepts
/// longer messages.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Where the token comes from. The client reads a file again for every
/// connection, so that it uses a renewed token.
///
/// There is no Debug implementation, because it could print the token.
#[derive(Clone)]
pub enum TokenSource {
    /// There is no token: the room needs none, or the client only listens.
    None,
    /// The token itself.
    Text(String),
    /// A file that contains it.
    File(PathBuf),
}

impl TokenSource {
    /// Returns the token, if there is one. Only the server verifies it.
    pub fn read(&self) -> io::Result<Option<String>> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Text(text) => text,
            Self::File(path) => &fs::read_to_string(path)?,
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(io::Error::other("the token is empty"));
        }
        if token.len() > TOKEN_BYTES_MAX || !token.chars().all(|c| c.is_ascii_graphic()) {
            let why = format!("a token is one word of at most {TOKEN_BYTES_MAX} ASCII characters");
            return Err(io::Error::other(why));
        }
        Ok(Some(token.to_owned()))
    }
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
        assert_eq!(source.read().unwrap_err().kind(), io::ErrorKind::NotFound);
        for token in ["one", "two"] {
            fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
            assert_eq!(source.read().unwrap().as_deref(), Some(token));
        }
    }
}
