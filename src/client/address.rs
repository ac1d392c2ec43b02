//! The URL of a room.

use std::net::IpAddr;
use std::str::FromStr;

use tungstenite::http::Uri;

/// Where a room is: `ws://HOST[:PORT][/PATH]`, or `wss://` with TLS.
///
/// `http` and `https`, as copied from a browser, mean `ws` and `wss`.
///
/// # Examples
///
/// ```
/// use wschat::client::Address;
/// let address: Address = "https://chat.example".parse().unwrap();
/// assert_eq!(address.uri().to_string(), "wss://chat.example/");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    uri: Uri,
}

impl Address {
    /// The address as the WebSocket library takes it; its scheme is `ws` or `wss`.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Host and port, for people.
    pub fn place(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Whether a token sent there can be read on the way: no TLS, and not to
    /// this machine itself.
    pub fn exposes_tokens(&self) -> bool {
        let host = self.uri.host().unwrap_or("");
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let here = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        self.uri.scheme_str() == Some("ws") && !here
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(AddressError::Scheme),
        };
        let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| AddressError::Form)?;
        let authority = uri.authority().ok_or(AddressError::Form)?;
        let port_given = !authority.as_str().ends_with(authority.host());
        if authority.host().is_empty() || (port_given && authority.port_u16().is_none()) {
            return Err(AddressError::Form);
        }
        // A password there would be in the process list, and nobody asks for it.
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        // `ws://host?query` has no path of its own; a request needs one. `path` says
        // that it is `/` all the same, so it is written as it says.
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        let mut parts = uri.clone().into_parts();
        parts.path_and_query =
            Some(format!("{}{query}", uri.path()).parse().map_err(|_| AddressError::Form)?);
        let uri = Uri::from_parts(parts).map_err(|_| AddressError::Form)?;
        if !uri.path().starts_with('/') {
            return Err(AddressError::Form);
        }
        Ok(Self { uri })
    }
}

/// Why a text is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `ws://` nor `wss://`.
    #[error("the URL of a room begins with ws:// or wss://")]
    Scheme,
    /// Not a URL.
    #[error("not a URL, which is ws://HOST:PORT/")]
    Form,
    /// `user:password@` in it.
    #[error("a room knows no user and password in its URL; it takes tokens")]
    Credentials,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, want: Result<&str, AddressError>| {
            let got = text.parse::<Address>();
            // As the request asks for it: the text of a whole URI has a slash anyway.
            let target = |address: Address| {
                let uri = address.uri().clone();
                let target = uri.path_and_query().map_or("", |target| target.as_str());
                format!("{}://{}{target}", uri.scheme_str().unwrap_or(""), address.place())
            };
            assert_eq!(got.map(target).as_deref().map_err(|error| *error), want, "{text:?}");
        };
        check("ws://127.0.0.1:8080", Ok("ws://127.0.0.1:8080/"));
        check("ws://127.0.0.1:8080/", Ok("ws://127.0.0.1:8080/"));
        check("http://localhost:8080", Ok("ws://localhost:8080/"));
        check("HTTPS://chat.example/room?a=1", Ok("wss://chat.example/room?a=1"));
        check("wss://[::1]:8443", Ok("wss://[::1]:8443/"));
        check("ws://host?x=1", Ok("ws://host/?x=1"));
        check("ws://host:8080?x=/a?b", Ok("ws://host:8080/?x=/a?b"));
        check("wss://host?", Ok("wss://host/?"));
        check("ws://host#top", Ok("ws://host/"));
        check("ws://host/a#top", Ok("ws://host/a"));
        check("127.0.0.1:8080", Err(AddressError::Scheme));
        check("ftp://host", Err(AddressError::Scheme));
        check("", Err(AddressError::Scheme));
        check("ws://", Err(AddressError::Form));
        check("ws:///path", Err(AddressError::Form));
        check("ws://host:", Err(AddressError::Form));
        check("ws://host:99999", Err(AddressError::Form));
        check("ws://a b", Err(AddressError::Form));
        check("ws://me:secret@host", Err(AddressError::Credentials));
    }

    #[test]
    fn where_a_token_could_be_read() {
        let check = |text: &str, want: bool| {
            assert_eq!(text.parse::<Address>().unwrap().exposes_tokens(), want, "{text}");
        };
        check("ws://chat.example", true);
        check("ws://192.0.2.1:8080", true);
        check("wss://chat.example", false);
        check("ws://localhost:1", false);
        check("ws://127.0.0.2:1", false);
        check("ws://[::1]:1", false);
    }
}
