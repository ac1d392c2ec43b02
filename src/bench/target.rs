//! The server's address, and the source addresses of connections to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use url::{Position, Url};

/// Connections from one loopback address: with more, the kernel searches long for a free
/// port.
const PER_SOURCE: usize = 10_000;

/// A `ws://` URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    path: String,
    /// With its question mark.
    query: String,
}

impl Target {
    /// Path and query of a WebSocket that continues after the message with this `tim`.
    pub fn path(&self, since: Option<&str>) -> String {
        let Self { path, query, .. } = self;
        match since {
            None => format!("{path}{query}"),
            Some(tim) if query.is_empty() => format!("{path}?since={tim}"),
            Some(tim) => format!("{path}{query}&since={tim}"),
        }
    }

    /// Path and query of the event stream.
    pub fn events_path(&self) -> String {
        format!("{}/events{}", self.path.trim_end_matches('/'), self.query)
    }

    /// The source address for connection number `n`; `None` if the kernel may choose.
    ///
    /// A pair of addresses has some 28,000 ports. Loopback has many addresses, so
    /// connections to it are spread over them.
    pub fn source(&self, n: usize) -> Option<SocketAddr> {
        match self.address.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                let low = (n / PER_SOURCE % 250) as u8;
                Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + low), 0)))
            }
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("ws://") {
            return Err("must begin with ws:// (a proxy adds TLS: measure behind it)".into());
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("is not a WebSocket URL".into());
        }
        let addresses = url.socket_addrs(|| None).map_err(|error| error.to_string())?;
        let address = addresses.into_iter().min_by_key(SocketAddr::is_ipv6);
        Ok(Self {
            address: address.ok_or("has no address")?,
            host: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: url.path().to_owned(),
            query: url[Position::AfterPath..Position::AfterQuery].to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, address, host, paths) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", "/ /?since=1 /events"),
            (
                "ws://127.0.0.1/chat?a=b",
                "127.0.0.1:80",
                "127.0.0.1",
                "/chat?a=b /chat?a=b&since=1 /chat/events?a=b",
            ),
            ("ws://127.0.0.1?a", "127.0.0.1:80", "127.0.0.1", "/?a /?a&since=1 /events?a"),
            ("ws://[::1]:9/", "[::1]:9", "[::1]:9", "/ /?since=1 /events"),
            ("ws://[::1]", "[::1]:80", "[::1]", "/ /?since=1 /events"),
        ] {
            let target: Target = url.parse().expect(url);
            assert_eq!(target.address.to_string(), address, "{url}");
            let found = [target.path(None), target.path(Some("1")), target.events_path()];
            assert_eq!((target.host.as_str(), &*found.join(" ")), (host, paths), "{url}");
        }
        let invalid =
            "127.0.0.1:80 http://127.0.0.1 wss://127.0.0.1 ws:// ws://a%20b ws://a@b ws://a#b";
        for url in invalid.split(' ') {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn loopback_sources_change_every_ten_thousand() {
        for (url, n, source) in [
            ("ws://127.0.0.1:1", 9_999, Some("127.0.0.1:0")),
            ("ws://127.0.0.1:1", 10_000, Some("127.0.0.2:0")),
            ("ws://192.0.2.1:1", 0, None),
        ] {
            let target: Target = url.parse().expect("a URL");
            assert_eq!(target.source(n).map(|s| s.to_string()).as_deref(), source);
        }
    }
}
