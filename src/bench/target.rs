//! The server's address, and where the connections to it come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Connections from one loopback address: with more, looking for a free port gets slow.
const PER_SOURCE: usize = 10_000;

/// A `ws://` URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// The address that connection number `n` is opened from, if it matters.
    ///
    /// A pair of addresses has some 28,000 ports. Loopback has more addresses
    /// than one, so connections to it are spread over them.
    pub fn source(&self, n: usize) -> Option<SocketAddr> {
        match self.address.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                let [.., low] = (n / PER_SOURCE % 250).to_be_bytes();
                Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + low), 0)))
            }
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err("must begin with ws:// (TLS is the proxy's work: measure behind it)".into());
        };
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        if url.chars().any(|c| c.is_control() || c == ' ' || c == '#') || host.contains('@') {
            return Err("is not a WebSocket URL".into());
        }
        let with_port = if host.parse::<SocketAddr>().is_ok() || host_has_port(host) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|error| error.to_string())?
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or("has no address")?;
        Ok(Self { address, host: host.to_owned(), path })
    }
}

fn host_has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        && !host.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, address, host, path) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", "/"),
            ("ws://127.0.0.1:8080/", "127.0.0.1:8080", "127.0.0.1:8080", "/"),
            ("ws://127.0.0.1/chat?a=b", "127.0.0.1:80", "127.0.0.1", "/chat?a=b"),
            ("ws://127.0.0.1?a", "127.0.0.1:80", "127.0.0.1", "/?a"),
            ("ws://[::1]:9/", "[::1]:9", "[::1]:9", "/"),
            ("ws://[::1]", "[::1]:80", "[::1]", "/"),
        ] {
            let target: Target = url.parse().expect(url);
            assert_eq!(target.address.to_string(), address, "{url}");
            assert_eq!((target.host.as_str(), target.path.as_str()), (host, path), "{url}");
        }
    }

    #[test]
    fn not_urls() {
        for url in ["127.0.0.1:8080", "http://127.0.0.1", "wss://127.0.0.1", "ws://", "ws://a b"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn sources_change_every_ten_thousand() {
        let target: Target = "ws://127.0.0.1:1".parse().expect("a URL");
        for (n, source) in [(0, "127.0.0.1:0"), (9_999, "127.0.0.1:0"), (10_000, "127.0.0.2:0")] {
            assert_eq!(target.source(n).map(|s| s.to_string()).as_deref(), Some(source));
        }
        let elsewhere: Target = "ws://192.0.2.1:1".parse().expect("a URL");
        assert_eq!(elsewhere.source(0), None);
    }
}
