//! What an operator may know of a connection, and how it is collected.

use super::connection::State;
use super::socket::Peer;

/// One connection, as it was when its shard was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id, which grows in the order of joining.
    pub id: u64,
    /// Who it is.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The name of its last message; empty if it only listens.
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

impl From<State> for ClientState {
    fn from(state: State) -> Self {
        match state {
            State::Swept => Self::Swept,
            State::Lagging => Self::Lagging,
            State::Closing => Self::Closing,
        }
    }
}

/// Some of a shard's connections.
///
/// A list is made from the last row to the first, because whoever moves to
/// another row while it is made moves to an earlier one: so a connection may be
/// listed twice, but is never left out.
#[derive(Debug)]
pub(super) struct Slice {
    pub clients: Vec<Client>,
    /// The rows before this one are still to be listed.
    pub before: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{self, ErrorKind, Read, Write};

    use super::*;
    use crate::chat::{Batch, Now, Room, Tim};
    use crate::config::Config;
    use crate::net::{Arrival, Settings, Stream, Table, Turn};

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
            asked: &mut Vec::new(),
        };
        let join = |table: &mut Table<_>, turn: &mut Turn<'_>, id| {
            let (peer, since_secs, message_bytes_max) = (Peer::Unix, 0, 1024);
            let (cursor, counted) = (room.end(), false);
            let arrival = Arrival { id, cursor, peer, since_secs, message_bytes_max, counted };
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
