//! The socket of a connection, and its peer.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
/// A socket of any kind, TCP or Unix.
pub use socket2::Socket;

use crate::address::TrustedProxy;
use crate::chat::AddressBlock;

/// The client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// A network address. The port is 0 if a proxy did not send it.
    Tcp(SocketAddr),
    /// A process of this machine, through a Unix socket.
    Unix,
}

impl Peer {
    /// The peer at `address`; `::ffff:127.0.0.1` becomes `127.0.0.1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::server::Peer;
    /// let peer = Peer::tcp("[::ffff:127.0.0.1]:4711".parse().unwrap());
    /// assert_eq!(peer.to_string(), "127.0.0.1:4711");
    /// ```
    pub fn tcp(address: SocketAddr) -> Self {
        Self::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Whether it is one of these proxies.
    pub(crate) fn is_any_of(&self, proxies: &[TrustedProxy]) -> bool {
        proxies.iter().any(|proxy| match self {
            Self::Tcp(address) => proxy.contains(address.ip()),
            Self::Unix => *proxy == TrustedProxy::Unix,
        })
    }

    /// The block of addresses that this peer is counted in.
    pub fn block(&self) -> AddressBlock {
        match self {
            Self::Tcp(address) => address.ip().into(),
            Self::Unix => AddressBlock::UNIX,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) if address.port() == 0 => address.ip().fmt(out),
            Self::Tcp(address) => address.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Peer {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            _ if text == "unix" => Ok(Self::Unix),
            Ok(ip) => Ok(Self::Tcp((ip, 0).into())),
            Err(_) => text.parse().map(Self::Tcp),
        }
    }
}

/// A peer as its text, for serde.
pub(crate) mod peer_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Peer;

    pub fn serialize<S: Serializer>(peer: &Peer, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(peer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Peer, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
