//! Proxies whose PROXY header or `X-Forwarded-For` is trusted.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Peers that may name the address of their client: an address, a network, or `unix` for all
/// peers on a Unix socket.
///
/// # Examples
///
/// ```
/// use wschat::address::TrustedProxy;
/// let proxy: TrustedProxy = "10.0.0.0/8".parse().unwrap();
/// assert!(proxy.contains("10.1.2.3".parse().unwrap()));
/// assert!("localhost".parse::<TrustedProxy>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// All addresses of this network; a single address is a network of one.
    Network(IpNet),
    /// All processes of this machine that may open the daemon's Unix socket.
    Unix,
}

impl TrustedProxy {
    /// Whether `address`, in its canonical form, is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

impl FromStr for TrustedProxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse()).map_err(|_| ProxyError)?;
        canonical(network).map(Self::Network)
    }
}

/// The network with mapped IPv4 addresses as IPv4 addresses: `::ffff:10.0.0.0/104` is
/// `10.0.0.0/8`. A network of both IPv4 and IPv6 addresses is an error: it is never intended.
fn canonical(network: IpNet) -> Result<IpNet, ProxyError> {
    const MAPPED_BITS: u8 = 96;
    match (network.addr().to_canonical(), network) {
        (IpAddr::V4(address), IpNet::V6(mapped)) => {
            let bits = mapped.prefix_len().checked_sub(MAPPED_BITS).ok_or(ProxyError)?;
            Ipv4Net::new(address, bits).map(IpNet::V4).map_err(|_| ProxyError)
        }
        _ => Ok(network),
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(out),
            Self::Network(net) => net.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// The text is not a [`TrustedProxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy, which is IP, IP/BITS or unix")]
pub struct ProxyError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_in_all_forms() {
        for (text, want) in [
            ("127.0.0.1", Ok("127.0.0.1")),
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("192.0.2.1/32", Ok("192.0.2.1")),
            ("::1", Ok("::1")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("unix", Ok("unix")),
            ("::ffff:127.0.0.1", Ok("127.0.0.1")),
            ("::FFFF:7f00:1", Ok("127.0.0.1")),
            ("::ffff:10.0.0.0/104", Ok("10.0.0.0/8")),
            ("::ffff:192.0.2.1/128", Ok("192.0.2.1")),
            ("::ffff:0:0/96", Ok("0.0.0.0/0")),
            ("::ffff:0:0/95", Err(ProxyError)),
            ("::ffff:0:0/129", Err(ProxyError)),
            ("::/0", Ok("::/0")),
            ("10.0.0.0/33", Err(ProxyError)),
            ("10.0.0/8", Err(ProxyError)),
            ("127.0.0.1:80", Err(ProxyError)),
            ("[::1]", Err(ProxyError)),
            ("unix:/run/a.sock", Err(ProxyError)),
            ("localhost", Err(ProxyError)),
            ("*", Err(ProxyError)),
            ("", Err(ProxyError)),
        ] {
            let got = text.parse::<TrustedProxy>().map(|proxy| proxy.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), want, "{text:?}");
        }
    }

    #[test]
    fn networks_contain_addresses() {
        for (proxy, address, want) in [
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.2", false),
            ("::ffff:10.0.0.0/104", "10.255.0.1", true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", false),
            ("::ffff:0:0/96", "192.0.2.1", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            // All IPv6 addresses do not include all IPv4 addresses.
            ("::/0", "192.0.2.1", false),
            ("unix", "127.0.0.1", false),
        ] {
            let proxy: TrustedProxy = proxy.parse().unwrap();
            assert_eq!(proxy.contains(address.parse().unwrap()), want, "{proxy} {address}");
        }
    }
}
