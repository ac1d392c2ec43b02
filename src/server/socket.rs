//! A connection's socket and who is at its other end.

use std::fmt;
use std::io;
use std::net::{AddrParseError, IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::chat::AddressBlock;

/// The bare, non-blocking socket of one connection.
#[derive(Debug)]
pub enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// From this machine, or from a proxy on it.
    Unix(UnixStream),
}

impl Socket {
    /// Bounds what the kernel holds for a client that does not read, to
    /// `bytes`: without that a stalled client can pin megabytes.
    ///
    /// # Errors
    ///
    /// The system's, for a descriptor that is no socket any more.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_send_buffer_size(bytes)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// A network address; an IPv4 peer of a dual-stack socket is an IPv4 one.
    /// The port is 0 if a proxy did not say it.
    Tcp(SocketAddr),
    /// A process of this machine, through a Unix socket.
    Unix,
}

impl Peer {
    /// The peer at `address`, with `::ffff:127.0.0.1` read as `127.0.0.1`.
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

    /// The addresses that count as one with this peer's.
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
