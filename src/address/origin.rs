//! Where a web page comes from.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The origin of a web page (RFC 6454): scheme, host and port, in the form that browsers send.
///
/// # Examples
///
/// ```
/// use wschat::address::Origin;
/// let origin: Origin = "HTTPS://Bücher.example:443".parse().unwrap();
/// assert_eq!(origin.to_string(), "https://xn--bcher-kva.example");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        // A URL parser would correct or remove these; an origin does not have them.
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '@');
        if text.contains(odd) || !text.contains("://") {
            return Err(OriginError);
        }
        let url = Url::parse(text).map_err(|_| OriginError)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        match url.scheme() {
            "http" | "https" if bare => Ok(Self(url.origin().ascii_serialization())),
            _ => Err(OriginError),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The text is not an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin, which is http://HOST[:PORT] or https://HOST[:PORT]")]
pub struct OriginError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_a_browser_sees_them() {
        for (text, want) in [
            ("https://chat.example", Ok("https://chat.example")),
            ("https://chat.example/", Ok("https://chat.example")),
            ("HTTPS://CHAT.Example:443", Ok("https://chat.example")),
            ("http://chat.example:80", Ok("http://chat.example")),
            ("http://chat.example:443", Ok("http://chat.example:443")),
            ("https://chat.example:8443", Ok("https://chat.example:8443")),
            ("https://chat.example:0443", Ok("https://chat.example")),
            ("https://m\u{fc}nchen.example", Ok("https://xn--mnchen-3ya.example")),
            ("https://ch%61t.example", Ok("https://chat.example")),
            // A dot at the end makes another host, for a browser too.
            ("https://chat.example.", Ok("https://chat.example.")),
            ("http://0x7f.1", Ok("http://127.0.0.1")),
            ("http://[::0001]:8080", Ok("http://[::1]:8080")),
            ("null", Err(OriginError)),
            ("*", Err(OriginError)),
            ("", Err(OriginError)),
            ("chat.example", Err(OriginError)),
            ("https:chat.example", Err(OriginError)),
            ("https:\\\\chat.example", Err(OriginError)),
            ("https://*.example", Ok("https://*.example")),
            ("https://chat.example/room", Err(OriginError)),
            ("https://chat.example?", Err(OriginError)),
            ("https://chat.example#", Err(OriginError)),
            ("https://chat.example@evil.example", Err(OriginError)),
            ("https://chat.exa\tmple", Err(OriginError)),
            (" https://chat.example", Err(OriginError)),
            ("https://chat.example https://other.example", Err(OriginError)),
            ("https://chat.example:99999", Err(OriginError)),
            ("https://", Err(OriginError)),
            ("ws://chat.example", Err(OriginError)),
            ("file:///etc/passwd", Err(OriginError)),
        ] {
            let got = text.parse::<Origin>().map(|origin| origin.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), want, "{text:?}");
        }
    }
}
