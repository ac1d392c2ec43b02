//! What an operator may know of a connection, and how it is collected.

use crate::server::shard::connection::FeedState;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::server::socket::Peer;

/// One connection, as it was when its shard was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id, which grows in the order of joining.
    pub id: u64,
    /// Who it is.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// [What it calls itself](crate::chat::Speaker::name); empty if it only listens.
    pub name: String,
    /// The `sub` of its last token.
    pub sub: Option<String>,
    /// Whether that token makes it a moderator.
    pub is_moderator: bool,
    /// Messages of it that were sent to the room.
    pub messages: u32,
    /// Bytes of the feed that it has not been sent yet.
    pub behind_bytes: u64,
    /// How it is fed.
    pub state: ClientState,
}

/// How a connection is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    /// By every sweep.
    Swept,
    /// As soon as its socket takes bytes again.
    Lagging,
    /// No more: its close frame is on the way.
    Closing,
}

impl From<FeedState> for ClientState {
    fn from(state: FeedState) -> Self {
        match state {
            FeedState::Swept => Self::Swept,
            FeedState::Lagging => Self::Lagging,
            FeedState::Closing => Self::Closing,
        }
    }
}

/// By what clients are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKey {
    /// Their ids: whoever joined first.
    Id,
    /// Their network addresses.
    Address,
    /// When they joined: the oldest first.
    Since,
    /// Messages sent: the most first.
    Messages,
    /// How far they are behind: the furthest first.
    Behind,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// By what clients are listed; their ids decide where that does not.
    pub key: ClientKey,
    /// The other way round.
    pub reverse: bool,
    /// How many to leave out at the beginning.
    pub offset: usize,
    /// How many to list then.
    pub limit: usize,
}

/// Where a client stands in a list: the less, the earlier.
type Rank = [u64; 5];

/// The first clients of a list, as many as it takes to know who is on a page. That
/// is all that is held while a list of a huge room is made, and not the clients.
#[derive(Debug)]
pub(crate) struct First {
    page: Page,
    ranks: BTreeSet<Rank>,
}

impl First {
    pub fn new(page: Page) -> Self {
        Self { page, ranks: BTreeSet::new() }
    }

    /// Sees one client of the room, in any order. Whoever is seen twice counts once,
    /// unless it has changed meanwhile.
    pub fn see(&mut self, client: &Client) {
        let most = self.page.offset.saturating_add(self.page.limit);
        let rank = self.page.rank(client);
        if self.ranks.len() < most || self.ranks.last().is_some_and(|last| rank < *last) {
            self.ranks.insert(rank);
        }
        if self.ranks.len() > most {
            self.ranks.pop_last();
        }
    }

    /// Those who are on the page, with their places there.
    pub fn places(self) -> HashMap<u64, usize> {
        let Page { reverse, offset, limit, .. } = self.page;
        let id = |rank: Rank| if reverse { !rank[4] } else { rank[4] };
        let ids = self.ranks.into_iter().map(id).skip(offset).take(limit);
        ids.zip(0..).collect()
    }
}

impl Page {
    fn rank(&self, client: &Client) -> Rank {
        let [a, b, c, d] = match self.key {
            ClientKey::Id => [0; 4],
            ClientKey::Address => address_rank(client.peer),
            ClientKey::Since => [0, 0, 0, client.since_secs],
            ClientKey::Messages => [0, 0, 0, !u64::from(client.messages)],
            ClientKey::Behind => [0, 0, 0, !client.behind_bytes],
        };
        let rank = [a, b, c, d, client.id];
        if self.reverse { rank.map(|part| !part) } else { rank }
    }
}

/// IPv4 before IPv6, and Unix sockets at last.
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

/// Some of a shard's connections.
///
/// A list is made from the last row to the first, because whoever moves to
/// another row while it is made moves to an earlier one: so a connection may be
/// listed twice, but is never left out.
#[derive(Debug)]
pub(crate) struct Slice {
    pub clients: Vec<Client>,
    /// The rows before this one are still to be listed.
    pub before: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{self, ErrorKind, Read, Write};

    use super::*;
    use crate::chat::{Now, Tim};
    use crate::config::Config;
    use crate::room::{Batch, Room};
    use crate::server::{NewConnection, Settings, Stream, Table, Turn};

    /// Takes everything; ends when it is read after it was told to.
    struct Listener {
        leaves: bool,
    }

    impl Read for Listener {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            if self.leaves { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
        }
    }

    impl Write for Listener {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Listener {
        fn shutdown_write(&mut self) {}
    }

    fn client(id: u64, peer: Peer, messages: u32, behind_bytes: u64) -> Client {
        Client {
            id,
            peer,
            since_secs: 1_700_000_000 + id,
            name: "ann".into(),
            sub: None,
            is_moderator: false,
            messages,
            behind_bytes,
            state: ClientState::Swept,
        }
    }

    /// The ids of a page, in their order.
    fn page(clients: &[Client], page: Page) -> Vec<u64> {
        let mut first = First::new(page);
        clients.iter().for_each(|client| first.see(client));
        assert!(first.ranks.len() <= page.offset + page.limit, "no more is held than it takes");
        let mut places: Vec<_> = first.places().into_iter().collect();
        places.sort_by_key(|(_, place)| *place);
        places.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn pages_in_every_order() {
        let tcp = |port| Peer::tcp(([127, 0, 0, 1], port).into());
        let all = [
            client(1, tcp(30), 5, 0),
            client(2, tcp(20), 9, 7),
            client(3, tcp(10), 5, 9),
            // As one that moved to another row is.
            client(2, tcp(20), 9, 7),
        ];
        for (key, want) in [
            (ClientKey::Id, [1, 2, 3]),
            (ClientKey::Since, [1, 2, 3]),
            (ClientKey::Address, [3, 2, 1]),
            (ClientKey::Messages, [2, 1, 3]),
            (ClientKey::Behind, [3, 2, 1]),
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
        let peers = ["1.2.3.4:9", "1.2.3.4:10", "10.0.0.1:1", "200.0.0.1:1"];
        let later = ["[::1]:5", "[fe80::1]:1", "[fe80::1]:2", "[fe80::2]:1"];
        let tcp = peers.into_iter().chain(later).map(|text| Peer::tcp(text.parse().unwrap()));
        let peers: Vec<_> = tcp.chain([Peer::Unix]).collect();
        assert!(peers.iter().map(|peer| address_rank(*peer)).is_sorted_by(|a, b| a < b));
        assert!(peers.is_sorted());
    }

    #[test]
    fn whoever_stays_is_listed_while_others_come_and_go() {
        const LISTENERS: u64 = 3_000;
        let settings = Settings::new(&Config::default());
        let room = Room::new(1, 1 << 20);
        let mut table = Table::new(0, &room);
        let mut batch = Batch::default();
        let mut turn = Turn {
            now: Now { ms: 0, tim: Tim::default() },
            clock_us: &|| 0,
            room: &room,
            rules: &settings.rules,
            limits: &settings.limits,
            batch: &mut batch,
            pending: &mut Vec::new(),
        };
        let join = |table: &mut Table<_>, turn: &mut Turn<'_>, id| {
            let (peer, since_secs, message_bytes_max) = (Peer::Unix, 0, 1024);
            let (cursor, counted) = (room.end(), false);
            let arrival =
                NewConnection { id, cursor, peer, since_secs, message_bytes_max, counted };
            table.adopt(Listener { leaves: false }, arrival, Vec::new(), turn);
        };
        (0..LISTENERS).for_each(|id| join(&mut table, &mut turn, id));

        let mut random = fastrand::Rng::with_seed(7);
        let mut staying: BTreeSet<u64> = (0..LISTENERS).collect();
        let mut listed = BTreeSet::new();
        let (mut before, mut next_id) = (usize::MAX, LISTENERS);
        while before > 0 {
            let slice = table.list(before, room.end());
            assert!(slice.clients.len() <= 256, "a slice is bounded");
            listed.extend(slice.clients.iter().map(|client| client.id));
            before = slice.before;
            for _ in 0..100 {
                let id = random.u64(..next_id);
                if let Some(stream) = table.stream(id) {
                    stream.leaves = true;
                    staying.remove(&id);
                    table.readable(id);
                }
            }
            join(&mut table, &mut turn, next_id);
            next_id += 1;
            // A message, so that a sweep moves those who leave to other places.
            turn.batch.push(|out| out.extend_from_slice(&[b'x'; 64]));
            table.turn(&mut [0; 64], &mut turn);
        }
        assert!(staying.is_subset(&listed));
        assert!(staying.len() < LISTENERS as usize - 500, "{} stayed", staying.len());
    }
}
