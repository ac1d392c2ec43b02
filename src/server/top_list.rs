//! The addresses that send most, are refused most or lag most.

use std::cmp::Reverse;
use std::collections::HashMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::chat::AddressBlock;
use crate::room::{TrafficRates, TrafficTotals};
use crate::server::client_page::SortKey;

/// What the first ones have most of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TopKey {
    /// Messages that arrive per second, sent or refused
    #[default]
    Messages,
    /// Messages, and connections of an address, that are refused per second
    Refused,
    /// Bytes received from it per second
    Received,
    /// Bytes not sent to it yet
    Behind,
}

/// The order of clients.
impl From<TopKey> for SortKey {
    fn from(key: TopKey) -> Self {
        match key {
            TopKey::Messages => Self::MessagesPerSec,
            TopKey::Refused => Self::RefusedPerSec,
            TopKey::Received => Self::ReceivedPerSec,
            TopKey::Behind => Self::Behind,
        }
    }
}

/// The clients of an address, together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressRow {
    /// An IPv4 address, the /64 of an IPv6 address, or `unix`.
    pub address: String,
    /// The figures.
    #[serde(flatten)]
    pub sum: AddressSum,
}

/// The figures of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressSum {
    /// Open connections.
    pub clients: usize,
    /// Those whose socket would block.
    pub lagging: usize,
    /// The bytes of the feed that the furthest of them lacks.
    pub behind_bytes: u64,
    /// Connections and requests that were refused.
    #[serde(default)]
    pub refused_connections: u64,
    /// Those that are refused per second, on average over the last ten seconds.
    #[serde(default)]
    pub refused_connections_per_sec: f64,
    /// What it has sent since the daemon knows it, with connections that are gone and by POST.
    #[serde(flatten)]
    pub totals: TrafficTotals,
    /// What it sends.
    #[serde(flatten)]
    pub rates: TrafficRates,
}

impl AddressRow {
    /// The first ones in the order of `key`, at most `limit`.
    pub(super) fn first(
        key: TopKey,
        addresses: HashMap<AddressBlock, AddressSum>,
        limit: usize,
    ) -> Vec<Self> {
        let mut ranks: Vec<_> =
            addresses.iter().map(|(address, sum)| (Reverse(sum.rank(key)), *address)).collect();
        if limit < ranks.len() {
            ranks.select_nth_unstable(limit);
            ranks.truncate(limit);
        }
        ranks.sort_unstable();
        let row = |(_, address): (_, AddressBlock)| Self {
            address: address.to_string(),
            sum: addresses.get(&address).copied().unwrap_or_default(),
        };
        ranks.into_iter().map(row).collect()
    }
}

impl AddressSum {
    /// More comes first.
    fn rank(&self, key: TopKey) -> [u64; 3] {
        let Self { totals, rates, .. } = self;
        let tenths = |rate: f64| (rate * 10.0).round() as u64;
        let [a, b] = match key {
            TopKey::Messages => [tenths(rates.messages_per_sec), totals.messages + totals.refused],
            TopKey::Refused => [
                tenths(rates.refused_per_sec + self.refused_connections_per_sec),
                totals.refused + self.refused_connections,
            ],
            TopKey::Received => [tenths(rates.received_bytes_per_sec), totals.received_bytes],
            TopKey::Behind => [self.behind_bytes, self.lagging as u64],
        };
        [a, b, self.clients as u64]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_first_addresses_in_every_order() {
        let address = |text: &str| AddressBlock::from(text.parse::<IpAddr>().unwrap());
        let sum = |messages: f64, refused: f64, bytes: f64, behind_bytes, clients| AddressSum {
            clients,
            behind_bytes,
            rates: TrafficRates {
                messages_per_sec: messages,
                refused_per_sec: refused,
                received_bytes_per_sec: bytes,
            },
            ..AddressSum::default()
        };
        let addresses = HashMap::from([
            (address("192.0.2.1"), sum(9.0, 1.0, 1.0, 1, 1)),
            (address("192.0.2.2"), sum(1.0, 9.0, 1.0, 1, 2)),
            (address("2001:db8::3"), sum(1.0, 1.0, 9.0, 1, 3)),
            (AddressBlock::UNIX, sum(1.0, 1.0, 1.0, 9, 4)),
        ]);
        for (key, want) in [
            (TopKey::Messages, ["192.0.2.1", "unix"]),
            (TopKey::Refused, ["192.0.2.2", "unix"]),
            (TopKey::Received, ["2001:db8::/64", "unix"]),
            (TopKey::Behind, ["unix", "2001:db8::/64"]),
        ] {
            let first = |limit| AddressRow::first(key, addresses.clone(), limit);
            let names: Vec<_> = first(2).into_iter().map(|row| row.address).collect();
            assert_eq!(names, want, "{key:?}");
            assert_eq!((first(0).len(), first(99).len()), (0, 4));
        }
    }
}
