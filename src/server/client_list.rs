//! The list of clients for operators, and how a page of it is selected.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::chat::{Moderation, SpeakerId, Tim};
use crate::feed::Encoding;
use crate::server::shard::connection::FeedState;
use crate::server::socket::{self, Peer};

/// One client of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its id; ids increase in the order of joining.
    pub id: u64,
    /// `IP:PORT`, or `unix`.
    #[serde(with = "socket::peer_text")]
    pub address: Peer,
    /// [The name in its last message](crate::chat::Speaker::name); empty if it sent none.
    pub usr: String,
    /// The `sub` of its last token.
    pub sub: Option<String>,
    /// Whether that token makes it a moderator.
    pub moderator: bool,
    /// Whether it is muted, if [`Self::set_muted`] was called.
    pub muted: bool,
    /// When it joined.
    pub since: DateTime<Utc>,
    /// How many of its messages were sent to the room.
    pub messages: u32,
    /// Bytes of the feed that it has not been sent yet.
    pub behind_bytes: u64,
    /// How it gets the feed.
    pub state: FeedState,
    /// How it is connected: `ws` or `sse`.
    pub transport: Encoding,
}

impl ClientRow {
    /// Looks up whether the client is muted.
    pub fn set_muted(&mut self, moderation: &Moderation, now: Tim) {
        let speaker = SpeakerId {
            usr: &self.usr,
            sub: self.sub.as_deref(),
            address: self.address.block(),
            is_moderator: self.moderator,
        };
        self.muted = moderation.is_muted(&speaker, now);
    }
}

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
    /// By the number of messages sent: the most first
    Messages,
    /// By the bytes not sent to it yet: the most first
    Behind,
}

/// A page of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The order; clients that are equal in it are ordered by id.
    pub key: SortKey,
    /// Whether the order is reversed.
    pub reverse: bool,
    /// How many clients to skip.
    pub offset: usize,
    /// How many clients to list at most.
    pub limit: usize,
}

/// The position of a client in the order: a smaller rank comes first.
type Rank = [u64; 5];

/// Finds out which clients are on a page. It keeps the ranks up to the end of the page
/// only: the rows of a huge room would need too much memory.
#[derive(Debug)]
pub(crate) struct PageSelection {
    page: Page,
    ranks: BTreeSet<Rank>,
}

impl PageSelection {
    pub fn new(page: Page) -> Self {
        Self { page, ranks: BTreeSet::new() }
    }

    /// Adds one client of the room; the order does not matter. A client that is added
    /// twice counts once, unless it has changed in between.
    pub fn add(&mut self, client: &ClientRow) {
        let most = self.page.offset.saturating_add(self.page.limit);
        let rank = self.page.rank(client);
        if self.ranks.len() < most || self.ranks.last().is_some_and(|last| rank < *last) {
            self.ranks.insert(rank);
        }
        if self.ranks.len() > most {
            self.ranks.pop_last();
        }
    }

    /// The ids of the clients on the page, with their positions there.
    pub fn positions(self) -> HashMap<u64, usize> {
        let Page { reverse, offset, limit, .. } = self.page;
        let id = |rank: Rank| if reverse { !rank[4] } else { rank[4] };
        let ids = self.ranks.into_iter().map(id).skip(offset).take(limit);
        ids.zip(0..).collect()
    }
}

impl Page {
    fn rank(&self, client: &ClientRow) -> Rank {
        let [a, b, c, d] = match self.key {
            SortKey::Id => [0; 4],
            SortKey::Address => address_rank(client.address),
            SortKey::Since => [0, 0, 0, client.since.timestamp().cast_unsigned()],
            SortKey::Messages => [0, 0, 0, !u64::from(client.messages)],
            SortKey::Behind => [0, 0, 0, !client.behind_bytes],
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

/// Some clients of a shard.
///
/// A shard is listed from its last row to its first. A connection that moves to another
/// row meanwhile moves to an earlier one: it may be listed twice, but is never left out.
#[derive(Debug)]
pub struct ClientChunk {
    /// The clients.
    pub clients: Vec<ClientRow>,
    /// The rows before this one are not listed yet.
    pub before: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64, address: Peer, messages: u32, behind_bytes: u64) -> ClientRow {
        ClientRow {
            id,
            address,
            usr: "ann".into(),
            sub: None,
            moderator: false,
            muted: false,
            since: DateTime::from_timestamp(1_700_000_000 + id as i64, 0).unwrap(),
            messages,
            transport: Encoding::Frames,
            behind_bytes,
            state: FeedState::Swept,
        }
    }

    fn tcp(address: &str) -> Peer {
        Peer::tcp(address.parse().unwrap())
    }

    #[test]
    fn a_row_is_one_json_object_and_back() {
        let row = client(7, tcp("127.0.0.1:4711"), 2, 9);
        let json = r#"{"id":7,"address":"127.0.0.1:4711","usr":"ann","sub":null,"moderator":false,"muted":false,"since":"2023-11-14T22:13:27Z","messages":2,"behind_bytes":9,"state":"swept","transport":"ws"}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        for address in [tcp("127.0.0.1:4711"), tcp("[::1]:80"), tcp("192.0.2.1:0"), Peer::Unix] {
            let row = ClientRow { address, ..row.clone() };
            let json = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<ClientRow>(&json).unwrap(), row);
        }
    }

    /// The ids of a page, in their order.
    fn page(clients: &[ClientRow], page: Page) -> Vec<u64> {
        let mut selection = PageSelection::new(page);
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
        ] {
            let of = |reverse, offset, limit| page(&all, Page { key, reverse, offset, limit });
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
    fn addresses_have_an_order() {
        let v4 = ["1.2.3.4:9", "1.2.3.4:10", "10.0.0.1:1", "200.0.0.1:1"];
        let v6 = ["[::1]:5", "[fe80::1]:1", "[fe80::1]:2", "[fe80::2]:1"];
        let peers: Vec<_> = v4.into_iter().chain(v6).map(tcp).chain([Peer::Unix]).collect();
        assert!(peers.iter().map(|peer| address_rank(*peer)).is_sorted_by(|a, b| a < b));
        assert!(peers.is_sorted());
    }
}
