//! The URL of a room.

use std::net::IpAddr;
use std::str::FromStr;

use tungstenite::http::Uri;

/// The URL of a room: `ws://HOST[:PORT][/PATH]`, or `wss://` with TLS.
///
/// `http` and `https`, as copied from a browser, mean `ws` and `wss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomUrl(Uri);

impl RoomUrl {
    /// The URL; its scheme is `ws` or `wss`.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// `HOST` or `HOST:PORT`.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// Whether others on the network could read a token sent to this URL: it has
    /// no TLS and is not on this machine.
    pub fn exposes_tokens(&self) -> bool {
        let host = self.0.host().unwrap_or("");
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_local = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        self.0.scheme_str() == Some("ws") && !is_local
    }
}

impl FromStr for RoomUrl {
    type Err = RoomUrlError;

    fn from_str(text: &str) -> Result<Self, RoomUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RoomUrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            _ => return Err(RoomUrlError::Scheme),
        };
        let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| RoomUrlError::Form)?;
        let authority = uri.authority().ok_or(RoomUrlError::Form)?;
        let port_given = !authority.as_str().ends_with(authority.host());
        if authority.host().is_empty() || (port_given && authority.port_u16().is_none()) {
            return Err(RoomUrlError::Form);
        }
        // A password would appear in the process list, and no room uses one.
        if authority.as_str().contains('@') {
            return Err(RoomUrlError::Credentials);
        }
        // A request needs a path. `ws://host?query` has none, but `path` returns `/`.
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        let target = format!("{}{query}", uri.path());
        let uri = Uri::builder().scheme(scheme).authority(authority.clone());
        let uri = uri.path_and_query(target).build().map_err(|_| RoomUrlError::Form)?;
        if !uri.path().starts_with('/') {
            return Err(RoomUrlError::Form);
        }
        Ok(Self(uri))
    }
}

/// Why a text is not a [`RoomUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomUrlError {
    #[error("the URL of a room starts with ws:// or wss://")]
    Scheme,
    #[error("not a URL like ws://HOST:PORT/")]
    Form,
    #[error("the URL of a room cannot contain a user and a password; use a token")]
    Credentials,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, want: Result<&str, RoomUrlError>| {
            let got = text.parse::<RoomUrl>();
            // The target of the request: Uri's Display always adds a slash.
            let target = |url: RoomUrl| {
                let uri = url.uri();
                let target = uri.path_and_query().map_or("", |target| target.as_str());
                format!("{}://{}{target}", uri.scheme_str().unwrap_or(""), url.authority())
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
        check("127.0.0.1:8080", Err(RoomUrlError::Scheme));
        check("ftp://host", Err(RoomUrlError::Scheme));
        check("", Err(RoomUrlError::Scheme));
        check("ws://", Err(RoomUrlError::Form));
        check("ws:///path", Err(RoomUrlError::Form));
        check("ws://host:", Err(RoomUrlError::Form));
        check("ws://host:99999", Err(RoomUrlError::Form));
        check("ws://a b", Err(RoomUrlError::Form));
        check("ws://me:secret@host", Err(RoomUrlError::Credentials));
    }

    #[test]
    fn urls_that_expose_tokens() {
        let check = |text: &str, want: bool| {
            assert_eq!(text.parse::<RoomUrl>().unwrap().exposes_tokens(), want, "{text}");
        };
        check("ws://chat.example", true);
        check("ws://192.0.2.1:8080", true);
        check("wss://chat.example", false);
        check("ws://localhost:1", false);
        check("ws://127.0.0.2:1", false);
        check("ws://[::1]:1", false);
    }
}
