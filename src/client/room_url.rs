//! The URL of a room.

use std::str::FromStr;

use tungstenite::http::Uri;
use url::{Host, Position, Url};

use crate::chat::Since;

/// The URL of a room: `ws://HOST[:PORT][/PATH]`, or `wss://` with TLS.
///
/// `http` and `https`, as copied from a browser, mean `ws` and `wss`.
#[derive(Clone, Debug)]
pub struct RoomUrl {
    url: Url,
    uri: Uri,
}

impl RoomUrl {
    /// The URL for the WebSocket library; its scheme is `ws` or `wss`.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL at which the room sends the messages after `since`.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub fn with_since(&self, since: &Since) -> Result<Self, RoomUrlError> {
        let mut url = self.url.clone();
        let kept = self.url.query_pairs().filter(|(name, _)| name != "since");
        url.query_pairs_mut().clear().extend_pairs(kept).append_pair("since", &since.to_string());
        let uri = url.as_str().parse().map_err(|_| RoomUrlError::Form)?;
        Ok(Self { url, uri })
    }

    /// `HOST` or `HOST:PORT`.
    pub fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// Whether others on the network could read a token sent to this URL: it has
    /// no TLS and is not on this machine.
    pub fn exposes_tokens(&self) -> bool {
        let is_local = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        self.url.scheme() == "ws" && !is_local
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
        let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|_| RoomUrlError::Form)?;
        // A password would appear in the process list, and no room uses one.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RoomUrlError::Credentials);
        }
        url.set_fragment(None);
        let uri = url.as_str().parse().map_err(|_| RoomUrlError::Form)?;
        Ok(Self { url, uri })
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
                let target = url.uri().path_and_query().map_or("", |target| target.as_str());
                format!("{}://{}{target}", url.url.scheme(), url.authority())
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
        check("ws://host:#top", Ok("ws://host/"));
        check("ws://příklad.example", Ok("ws://xn--pklad-zsa96e.example/"));
        check("ws://host/a#top", Ok("ws://host/a"));
        check("127.0.0.1:8080", Err(RoomUrlError::Scheme));
        check("ftp://host", Err(RoomUrlError::Scheme));
        check("", Err(RoomUrlError::Scheme));
        check("ws://", Err(RoomUrlError::Form));
        check("ws://[host]", Err(RoomUrlError::Form));
        check("ws://host:99999", Err(RoomUrlError::Form));
        check("ws://a b", Err(RoomUrlError::Form));
        check("ws://me:secret@host", Err(RoomUrlError::Credentials));
    }

    #[test]
    fn a_url_with_since() {
        let since = "2020-08-11T22:26:58.118678679Z".parse().unwrap();
        let check = |text: &str, want: &str| {
            let url = text.parse::<RoomUrl>().unwrap().with_since(&since).unwrap();
            assert_eq!(url.uri().path_and_query().unwrap().as_str(), want, "{text}");
        };
        let since = "since=2020-08-11T22%3A26%3A58.118678679Z";
        check("ws://host", &format!("/?{since}"));
        check("ws://host/a?", &format!("/a?{since}"));
        check("ws://host?since=1&a=b%26&since", &format!("/?a=b%26&{since}"));
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
