//! How a page of the list of clients is selected.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::server::client_filter::ClientFilter;
use crate::server::client_list::ClientRow;
use crate::server::shard::connection::FeedState;
use crate::server::socket::Peer;

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SortKey {
    /// By id: the oldest connection first
    #[default]
    Id,
    /// By network address
    Address,
    /// By the time of joining: the oldest first
    Since,
    /// By the transport: WebSockets first
    Via,
    /// By the number of messages sent: the most first
    Messages,
    /// By the number of refused messages: the most first
    Refused,
    /// By the number of messages refused for their rate: the most first
    RateLimited,
    /// By the bytes received from it: the most first
    Received,
    /// By the bytes not sent to it yet: the most first
    Behind,
    /// By the state: those that do not keep up first
    State,
    /// By the name, without case; clients without a name last
    Name,
    /// By the messages that arrive per second: the most first
    MessagesPerSec,
    /// By the messages that are refused per second: the most first
    RefusedPerSec,
    /// By the bytes received per second: the most first
    ReceivedPerSec,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The order; clients that are equal in it are ordered by id.
    pub key: SortKey,
    /// Whether the order is reversed.
    pub reverse: bool,
    /// How many clients to skip.
    pub offset: usize,
    /// How many clients to list at most.
    pub limit: usize,
    /// Which clients are listed.
    pub filter: ClientFilter,
}

/// The position of a client in the order: a smaller rank comes first.
type Rank = [u64; 5];

/// Finds out which clients are on a page. It keeps the ranks up to the end of the page
/// only: the rows of a huge room would need too much memory.
#[derive(Debug)]
pub(crate) struct PageSelection<'a> {
    page: &'a Page,
    ranks: BTreeSet<Rank>,
    matches: usize,
}

impl<'a> PageSelection<'a> {
    pub fn new(page: &'a Page) -> Self {
        Self { page, ranks: BTreeSet::new(), matches: 0 }
    }

    /// Adds one client of the room; the order does not matter. A client that is added
    /// twice counts once, unless it has changed in between.
    pub fn add(&mut self, client: &ClientRow) {
        if !self.page.filter.matches(client) {
            return;
        }
        self.matches += 1;
        let most = self.page.offset.saturating_add(self.page.limit);
        let rank = self.page.rank(client);
        if self.ranks.len() < most || self.ranks.last().is_some_and(|last| rank < *last) {
            self.ranks.insert(rank);
        }
        if self.ranks.len() > most {
            self.ranks.pop_last();
        }
    }

    /// How many clients were added that meet the filter.
    pub fn matches(&self) -> usize {
        self.matches
    }

    /// The ids of the clients on the page, with their positions there.
    pub fn positions(self) -> HashMap<u64, usize> {
        let &Page { reverse, offset, limit, .. } = self.page;
        let id = |rank: Rank| if reverse { !rank[4] } else { rank[4] };
        let ids = self.ranks.into_iter().map(id).skip(offset).take(limit);
        ids.zip(0..).collect()
    }
}

impl Page {
    fn rank(&self, client: &ClientRow) -> Rank {
        let (totals, rates) = (&client.totals, &client.rates);
        let most = |rate: f64, total: u64| [!((rate * 10.0).round() as u64), !total, 0, 0];
        let [a, b, c, d] = match self.key {
            SortKey::Id => [0; 4],
            SortKey::Address => address_rank(client.address),
            SortKey::Since => [0, 0, 0, client.since.timestamp().cast_unsigned()],
            SortKey::Via => [0, 0, 0, client.transport as u64],
            SortKey::Messages => [0, 0, 0, !totals.messages],
            SortKey::Refused => [0, 0, 0, !totals.refused],
            SortKey::RateLimited => [0, 0, 0, !totals.rate_limited],
            SortKey::Received => [0, 0, 0, !totals.received_bytes],
            SortKey::Behind => [0, 0, 0, !client.behind_bytes],
            SortKey::State => [0, 0, 0, state_rank(client.state)],
            SortKey::Name => name_rank(&client.usr),
            SortKey::MessagesPerSec => {
                most(rates.messages_per_sec, totals.messages + totals.refused)
            }
            SortKey::RefusedPerSec => most(rates.refused_per_sec, totals.refused),
            SortKey::ReceivedPerSec => most(rates.received_bytes_per_sec, totals.received_bytes),
        };
        let rank = [a, b, c, d, client.id];
        if self.reverse { rank.map(|part| !part) } else { rank }
    }
}

/// IPv4 before IPv6, and Unix sockets last.
fn address_rank(peer: Peer) -> [u64; 4] {
    let Peer::Tcp(address) = peer else { return [2, 0, 0, 0] };
    let port = u64::from(address.port());
    match address.ip() {
        IpAddr::V4(ip) => [0, 0, u64::from(ip.to_bits()), port],
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            [1, (bits >> 64) as u64, bits as u64, port]
        }
    }
}

/// Those that an operator looks for come first.
fn state_rank(state: FeedState) -> u64 {
    match state {
        FeedState::Lagging => 0,
        FeedState::Early => 1,
        FeedState::Closing => 2,
        FeedState::Swept => 3,
    }
}

/// The first bytes of a name without case; no name comes last.
fn name_rank(usr: &str) -> [u64; 4] {
    if usr.is_empty() {
        return [u64::MAX; 4];
    }
    let mut bytes = usr.chars().flat_map(char::to_lowercase).collect::<String>().into_bytes();
    bytes.resize(4 * size_of::<u64>(), 0);
    let mut rank = [0; 4];
    for (number, chunk) in rank.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
        *number = chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    rank
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::feed::Encoding;
    use crate::room::{TrafficRates, TrafficTotals};

    fn client(id: u64, address: Peer, messages: u64, behind_bytes: u64) -> ClientRow {
        ClientRow {
            id,
            address,
            usr: ["", "Ann", "bob", "Änne"][id as usize % 4].into(),
            sub: None,
            moderator: false,
            muted: false,
            since: DateTime::from_timestamp(1_700_000_000 + id as i64, 0).unwrap(),
            totals: TrafficTotals {
                messages,
                refused: 10 - id,
                rate_limited: id,
                received_bytes: id * id,
            },
            rates: TrafficRates {
                messages_per_sec: messages as f64,
                refused_per_sec: 0.0,
                received_bytes_per_sec: 0.1 * id as f64,
            },
            transport: if id == 2 { Encoding::Events } else { Encoding::Frames },
            behind_bytes,
            state: if id == 3 { FeedState::Lagging } else { FeedState::Swept },
        }
    }

    fn tcp(address: &str) -> Peer {
        Peer::tcp(address.parse().unwrap())
    }

    /// The ids of a page, in their order.
    fn page(clients: &[ClientRow], page: Page) -> Vec<u64> {
        let mut selection = PageSelection::new(&page);
        clients.iter().for_each(|client| selection.add(client));
        assert!(selection.ranks.len() <= page.offset + page.limit, "it keeps no more ranks");
        let mut positions: Vec<_> = selection.positions().into_iter().collect();
        positions.sort_by_key(|(_, position)| *position);
        positions.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn pages_in_every_order() {
        let all = [
            client(1, tcp("127.0.0.1:30"), 5, 0),
            client(2, tcp("127.0.0.1:20"), 9, 7),
            client(3, tcp("127.0.0.1:10"), 5, 9),
            // It has moved to another row.
            client(2, tcp("127.0.0.1:20"), 9, 7),
        ];
        for (key, want) in [
            (SortKey::Id, [1, 2, 3]),
            (SortKey::Since, [1, 2, 3]),
            (SortKey::Address, [3, 2, 1]),
            (SortKey::Messages, [2, 1, 3]),
            (SortKey::Behind, [3, 2, 1]),
            (SortKey::Via, [1, 3, 2]),
            (SortKey::Refused, [1, 2, 3]),
            (SortKey::RateLimited, [3, 2, 1]),
            (SortKey::Received, [3, 2, 1]),
            (SortKey::State, [3, 1, 2]),
            (SortKey::Name, [1, 2, 3]),
            (SortKey::MessagesPerSec, [2, 1, 3]),
            (SortKey::RefusedPerSec, [1, 2, 3]),
            (SortKey::ReceivedPerSec, [3, 2, 1]),
        ] {
            let of = |reverse, offset, limit| {
                page(&all, Page { key, reverse, offset, limit, filter: ClientFilter::default() })
            };
            assert_eq!(of(false, 0, 100), want, "{key:?}");
            assert_eq!(of(false, 1, 1), want[1..2], "{key:?}");
            assert_eq!(of(false, 5, 1), [0; 0], "{key:?}");
            assert_eq!(of(false, 9, 0), [0; 0], "{key:?}");
            let reversed: Vec<_> = want.into_iter().rev().collect();
            assert_eq!(of(true, 0, 100), reversed, "{key:?}");
            assert_eq!(of(true, 0, 2), reversed[..2], "{key:?}");
        }
    }

    #[test]
    fn a_page_has_only_clients_that_meet_the_filter() {
        let all = [
            client(1, tcp("127.0.0.1:30"), 5, 0),
            client(2, tcp("192.0.2.1:20"), 9, 7),
            client(3, tcp("192.0.2.2:10"), 5, 9),
            client(4, Peer::Unix, 5, 9),
        ];
        let name = |name: &str| ClientFilter { name: Some(name.into()), ..ClientFilter::default() };
        let address = |text: &str| ClientFilter {
            address: Some(text.parse().unwrap()),
            ..ClientFilter::default()
        };
        let behind = |bytes| ClientFilter { behind_bytes: Some(bytes), ..ClientFilter::default() };
        let state = |state| ClientFilter { state: Some(state), ..ClientFilter::default() };
        for (filter, want) in [
            (ClientFilter::default(), &[1, 2, 3, 4][..]),
            (name("ann"), &[1]),
            (name("B0B"), &[2]),
            (name("b"), &[]),
            (address("192.0.2.0/24"), &[2, 3]),
            (address("192.0.2.1:20"), &[2]),
            (address("unix"), &[4]),
            (behind(0), &[1, 2, 3, 4]),
            (behind(9), &[3, 4]),
            (behind(u64::MAX), &[]),
            (state(FeedState::Lagging), &[3]),
            (ClientFilter { behind_bytes: Some(9), ..address("192.0.2.0/24") }, &[3]),
        ] {
            let shown = format!("{filter:?}");
            let of = Page { key: SortKey::Id, reverse: false, offset: 0, limit: 9, filter };
            let mut selection = PageSelection::new(&of);
            all.iter().for_each(|client| selection.add(client));
            assert_eq!(selection.matches(), want.len(), "{shown}");
            assert_eq!(page(&all, of), want, "{shown}");
        }
    }

    #[test]
    fn a_name_counts_without_case() {
        let names = ["a", "B", "b2", "c", "Ä", "漢", ""];
        assert!(names.iter().map(|name| name_rank(name)).is_sorted_by(|a, b| a < b));
        assert_eq!(name_rank("ANN"), name_rank("ann"));
        assert_eq!(name_rank(&"x".repeat(33)), name_rank(&"x".repeat(32)));
    }

    #[test]
    fn addresses_have_an_order() {
        let v4 = ["1.2.3.4:9", "1.2.3.4:10", "10.0.0.1:1", "200.0.0.1:1"];
        let v6 = ["[::1]:5", "[fe80::1]:1", "[fe80::1]:2", "[fe80::2]:1"];
        let peers: Vec<_> = v4.into_iter().chain(v6).map(tcp).chain([Peer::Unix]).collect();
        assert!(peers.iter().map(|peer| address_rank(*peer)).is_sorted_by(|a, b| a < b));
        assert!(peers.is_sorted());
    }
}
