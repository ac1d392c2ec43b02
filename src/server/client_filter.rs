//! Which clients a list is about.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::TrustedProxy;
use crate::chat::{SpeakerId, Target};
use crate::server::client_list::ClientRow;
use crate::server::shard::connection::FeedState;
use crate::server::socket::Peer;

/// The length of the prefix that an IPv6 address without one means, as for a mute.
const V6_BITS: u8 = 64;

/// The conditions that a client of a list meets; without any, every client does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientFilter {
    /// It has this name, one that looks like it, or exactly this `sub`: those that a kick of the
    /// name closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It is at one of these addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressFilter>,
    /// It gets the feed like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<FeedState>,
    /// It lacks at least so many bytes of the feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_bytes: Option<u64>,
}

impl ClientFilter {
    /// Whether every client meets it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a client meets it.
    pub fn matches(&self, client: &ClientRow) -> bool {
        let has_name = |name: &String| {
            let speaker = SpeakerId {
                usr: &client.usr,
                sub: client.sub.as_deref(),
                address: client.address.block(),
                is_moderator: client.moderator,
            };
            Target::name(name).matches(&speaker, client.id)
        };
        self.state.is_none_or(|state| state == client.state)
            && self.behind_bytes.is_none_or(|least| least <= client.behind_bytes)
            && self.address.is_none_or(|address| address.contains(client.address))
            && self.name.as_ref().is_none_or(has_name)
    }
}

/// Addresses of clients: `IP`, `IP:PORT`, `IP/BITS` or `unix`. An IPv6 address without a port or
/// a number of bits is its /64, as for a mute.
///
/// # Examples
///
/// ```
/// use wschat::server::{AddressFilter, Peer};
/// let filter: AddressFilter = "192.0.2.0/24".parse().unwrap();
/// assert!(filter.contains(Peer::tcp("192.0.2.7:4711".parse().unwrap())));
/// assert!(!filter.contains(Peer::Unix));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AddressFilter {
    /// The clients at this address and port.
    Peer(SocketAddr),
    /// The clients in a network.
    Network(IpNet),
    /// The clients of a Unix socket.
    Unix,
}

impl AddressFilter {
    /// Whether a client is at one of the addresses.
    pub fn contains(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Unix, Peer::Unix) => true,
            (Self::Peer(wanted), Peer::Tcp(address)) => *wanted == address,
            (Self::Network(network), Peer::Tcp(address)) => network.contains(&address.ip()),
            _ => false,
        }
    }
}

impl FromStr for AddressFilter {
    type Err = AddressFilterError;

    fn from_str(text: &str) -> Result<Self, AddressFilterError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Peer(SocketAddr::new(address.ip().to_canonical(), address.port())));
        }
        let is_address = text.parse::<IpAddr>().is_ok();
        match text.parse::<TrustedProxy>().map_err(|_| AddressFilterError)? {
            TrustedProxy::Unix => Ok(Self::Unix),
            TrustedProxy::Network(IpNet::V6(one)) if is_address => {
                let block = IpNet::new(one.addr().into(), V6_BITS);
                block.map(|block| Self::Network(block.trunc())).map_err(|_| AddressFilterError)
            }
            TrustedProxy::Network(network) => Ok(Self::Network(network)),
        }
    }
}

/// The form that [`FromStr`] reads.
impl fmt::Display for AddressFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(address) => address.fmt(out),
            Self::Network(network) => network.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// The text is not an [`AddressFilter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address, which is IP, IP:PORT, IP/BITS or unix")]
pub struct AddressFilterError;

impl TryFrom<String> for AddressFilter {
    type Error = AddressFilterError;

    fn try_from(text: String) -> Result<Self, AddressFilterError> {
        text.parse()
    }
}

impl From<AddressFilter> for String {
    fn from(filter: AddressFilter) -> Self {
        filter.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_all_forms() {
        let peer = |text: &str| match text {
            "unix" => Peer::Unix,
            text => Peer::tcp(text.parse().unwrap()),
        };
        for (text, shown, inside, outside) in [
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.7:80", "192.0.2.7:80", "192.0.2.7:80", "192.0.2.7:81"),
            ("192.0.2.0/24", "192.0.2.0/24", "192.0.2.255:1", "192.0.3.0:1"),
            ("192.0.2.9/24", "192.0.2.9/24", "192.0.2.255:1", "192.0.3.0:1"),
            ("0.0.0.0/0", "0.0.0.0/0", "192.0.2.7:1", "[::1]:1"),
            ("2001:db8::7", "2001:db8::/64", "[2001:db8::9]:1", "[2001:db8:0:1::9]:1"),
            ("2001:db8::/32", "2001:db8::/32", "[2001:db8:9::9]:1", "[2001:db9::]:1"),
            ("2001:db8::7/128", "2001:db8::7/128", "[2001:db8::7]:1", "[2001:db8::8]:1"),
            ("[2001:db8::7]:80", "[2001:db8::7]:80", "[2001:db8::7]:80", "[2001:db8::7]:1"),
            ("::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.7:1", "192.0.2.8:1"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24", "192.0.2.8:1", "192.0.3.0:1"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80", "192.0.2.7:80", "192.0.2.7:81"),
            ("unix", "unix", "unix", "192.0.2.7:1"),
        ] {
            let filter: AddressFilter = text.parse().unwrap();
            assert_eq!(filter.to_string(), shown);
            assert!(filter.contains(peer(inside)), "{text} {inside}");
            assert!(!filter.contains(peer(outside)), "{text} {outside}");
            assert_eq!(shown.parse::<AddressFilter>(), Ok(filter), "{shown}");
        }
        for bad in
            ["", "localhost", "192.0.2", "192.0.2.0/33", "192.0.2.*", "::/0/0", "Unix", " ::1"]
        {
            assert_eq!(bad.parse::<AddressFilter>(), Err(AddressFilterError), "{bad:?}");
        }
    }

    #[test]
    fn a_filter_is_json_and_back() {
        let json = r#"{"name":"bob","address":"192.0.2.0/24","state":"lagging","behind_bytes":9}"#;
        let filter: ClientFilter = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), json);
        assert!(!filter.is_empty());
        assert!(serde_json::from_str::<ClientFilter>("{}").unwrap().is_empty());
        for bad in [r#"{"nam":"bob"}"#, r#"{"address":"x"}"#, r#"{"state":"x"}"#] {
            assert!(serde_json::from_str::<ClientFilter>(bad).is_err(), "{bad}");
        }
    }
}
