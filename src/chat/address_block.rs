//! Addresses that count as one.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The addresses that count as one: an IPv4 address, the /64 of an IPv6 address, or all
/// Unix sockets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AddressBlock(pub [u8; 16]);

impl AddressBlock {
    /// All Unix sockets: a multicast address, from which no connection can come.
    pub const UNIX: Self = Self([0xff; 16]);

    /// The first address of the block.
    pub(super) fn first_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for AddressBlock {
    /// The block that contains an address.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::AddressBlock;
    /// let block = |ip: &str| AddressBlock::from(ip.parse::<std::net::IpAddr>().unwrap());
    /// assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:0:0:1"));
    /// assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
    /// assert_eq!(block("2001:db8::1").to_string(), "2001:db8::/64");
    /// assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
    /// assert_eq!(block("::ffff:192.0.2.1").to_string(), "192.0.2.1");
    /// ```
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets[8..].fill(0);
                Self(octets)
            }
        }
    }
}

/// The block as an operator writes it.
impl fmt::Display for AddressBlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_ip() {
            _ if *self == Self::UNIX => out.write_str("unix"),
            IpAddr::V4(ip) => ip.fmt(out),
            IpAddr::V6(ip) => write!(out, "{ip}/64"),
        }
    }
}
