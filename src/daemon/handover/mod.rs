//! Handover: one process leaves its room and its connections in systemd's file descriptor
//! store, and the next process resumes the room.
//!
//! The store compares each new descriptor with all stored ones, so storing one descriptor
//! per client would be too slow. Instead the sockets are *parked* in socket pairs, and only
//! the receiving ends are stored. Descriptor 0 is a sealed memory file with the
//! [`Snapshot`]; the others are the sockets, in the order of its rows.

pub mod fd_store;
mod parking;
mod snapshot_file;
pub mod tail_memfd;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use tracing::warn;

use crate::daemon::notify::ServiceManager;
use crate::server::{ConnectionSnapshot, Snapshot, Socket};
use crate::ws::close::Close;
use crate::ws::frame;

/// What a descriptor is, whatever the version of the snapshot: the snapshot,
const SNAPSHOT: u8 = b's';
/// a client that has received whole frames only, so that a close frame can follow,
const WHOLE: u8 = b'w';
/// or a client in the middle of a frame, or after a close frame.
const BEGUN: u8 = b'b';

/// What the previous process has left.
#[derive(Default)]
pub struct Inheritance {
    /// The room and its connections.
    pub room: Option<(Snapshot, Vec<(ConnectionSnapshot, Socket)>)>,
    /// Sockets without a usable row.
    pub orphans: Vec<ParkedSocket>,
    /// Problems, for the log.
    pub problems: Vec<String>,
}

/// A socket with the number of its row, and whether a close frame can follow.
pub struct ParkedSocket {
    row: usize,
    socket: Socket,
    whole: bool,
}

/// Leaves the room in the store. When this returns, systemd has all of it and the process
/// can exit. After an error the store is empty, and the sockets still work here.
pub fn give(
    manager: &ServiceManager,
    snapshot: &Snapshot,
    sockets: &[(Socket, bool)],
) -> io::Result<()> {
    let pairs = park(&snapshot.encode(), sockets)?;
    let numbers = 0..pairs.len() as u32;
    let stored = match fd_store::store(manager, pairs.iter().map(|pair| pair.receiver.as_fd())) {
        Ok(()) => parking::check_held(pairs),
        Err(error) => {
            // systemd may have a receiver, and the next process must not get these sockets.
            for pair in pairs {
                if let Err(error) = parking::receive(pair.receiver, |_, _, _| {}) {
                    warn!(%error, "cannot empty a socket pair: {error}");
                }
            }
            Err(error)
        }
    };
    if stored.is_err() {
        fd_store::remove(manager, fd_store::NAME, numbers);
    }
    stored
}

fn park(snapshot: &[u8], sockets: &[(Socket, bool)]) -> io::Result<Vec<parking::ParkingPair>> {
    let snapshot = snapshot_file::write(snapshot)?;
    let kind = |whole: bool| if whole { WHOLE } else { BEGUN };
    let sockets = sockets.iter().map(|(socket, whole)| (kind(*whole), socket.as_fd()));
    let all: Vec<_> = std::iter::once((SNAPSHOT, snapshot.as_fd())).chain(sockets).collect();
    parking::park(&all)
}

impl Inheritance {
    /// Receives everything from the stored `receivers`, in the order of their numbers.
    pub fn receive<'a>(
        receivers: impl Iterator<Item = &'a UnixStream>,
        feed_tail_bytes: usize,
    ) -> Self {
        let mut found = Self::default();
        let mut snapshot = None;
        let mut sockets = Vec::new();
        for receiver in receivers {
            let result = parking::receive(receiver, |number, kind, descriptor| {
                if kind == SNAPSHOT {
                    snapshot = Some(snapshot_file::read(descriptor));
                } else {
                    let (row, socket) = (number.wrapping_sub(1), descriptor.into());
                    sockets.push(ParkedSocket { row, socket, whole: kind == WHOLE });
                }
            });
            if let Err(error) = result {
                found.problems.push(format!("cannot read a stored socket pair: {error}"));
            }
        }
        let missing = || Err(io::Error::other("no snapshot was stored"));
        match snapshot.unwrap_or_else(missing) {
            Ok(snapshot) => found.assign(snapshot, sockets, feed_tail_bytes),
            Err(error) => {
                found.problems.push(format!("cannot resume the room: {error}"));
                found.orphans = sockets;
            }
        }
        found
    }

    /// Takes back a room that could not be [given](give).
    pub fn take_back(
        snapshot: Snapshot,
        sockets: Vec<(Socket, bool)>,
        feed_tail_bytes: usize,
    ) -> Self {
        let parked = |(row, (socket, whole))| ParkedSocket { row, socket, whole };
        let sockets = sockets.into_iter().enumerate().map(parked).collect();
        let mut found = Self::default();
        found.assign(snapshot, sockets, feed_tail_bytes);
        found
    }

    /// Assigns sockets to the rows of the snapshot.
    fn assign(
        &mut self,
        mut snapshot: Snapshot,
        sockets: Vec<ParkedSocket>,
        feed_tail_bytes: usize,
    ) {
        let log = snapshot.log(feed_tail_bytes);
        let rows = std::mem::take(&mut snapshot.rows);
        if rows.len() != sockets.len() {
            let (rows, sockets) = (rows.len(), sockets.len());
            self.problems.push(format!("{rows} connections were stored, but {sockets} sockets"));
        }
        let mut connections = Vec::with_capacity(sockets.len());
        for parked in sockets {
            match rows.get(parked.row).and_then(|row| ConnectionSnapshot::decode(row, &log)) {
                Some(row) => connections.push((row, parked.socket)),
                None => self.orphans.push(parked),
            }
        }
        if !self.orphans.is_empty() {
            self.problems.push(format!("invalid connections: {}", self.orphans.len()));
        }
        self.room = Some((snapshot, connections));
    }
}

/// Closes sockets without a row, with a close frame where it can follow what the client has
/// received.
pub fn close_orphans(orphans: Vec<ParkedSocket>, close: &Close) {
    let mut bytes = Vec::new();
    frame::put_close(close, &mut bytes);
    for mut orphan in orphans.into_iter().filter(|orphan| orphan.whole) {
        // Only a socket of a client that does not read takes less than these bytes.
        let _ = orphan.socket.write(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::daemon::handover::parking::ParkingPair;
    use crate::feed::Encoding;
    use crate::server::Peer;
    use crate::ws::close;

    fn row(id: u64) -> ConnectionSnapshot {
        ConnectionSnapshot {
            id,
            cursor: 0,
            peer: Peer::Unix,
            since_secs: 0,
            message_bytes_max: 16_384,
            messages: 0,
            last_frame_ago_ms: 0,
            ping_in_ms: 0,
            held: Vec::new(),
            partial: None,
            outbox: Vec::new(),
            outbox_begun: false,
            closing: None,
            notices_whole_in_ms: 0,
            name: String::new(),
            encoding: Encoding::Frames,
            event_bytes: 0,
            after_tim: 0,
            refused: 0,
            rate_limited: 0,
            received_bytes: 0,
        }
    }

    /// `count` sockets, and their other ends.
    fn sockets(count: usize) -> (Vec<(Socket, bool)>, Vec<UnixStream>) {
        let pair = |number: usize| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            ((Socket::from(ours), number.is_multiple_of(2)), theirs)
        };
        (0..count).map(pair).unzip()
    }

    /// Parks these, and receives them again.
    fn inherited(snapshot: &[u8], sockets: Vec<(Socket, bool)>) -> Inheritance {
        received(park(snapshot, &sockets).unwrap())
    }

    fn received(pairs: Vec<ParkingPair>) -> Inheritance {
        let receivers = pairs.into_iter().map(|pair| UnixStream::from(pair.receiver));
        Inheritance::receive(receivers.collect::<Vec<_>>().iter(), 65_536)
    }

    #[test]
    fn parked_sockets_are_received_in_order() {
        let (ours, theirs) = sockets(600);
        let rows = (0..600).map(|id| row(id).encode()).collect();
        let state = Snapshot { rows, last_tim: 5, ..Snapshot::default() };
        let found = inherited(&state.encode(), ours);
        assert_eq!((found.orphans.len(), found.problems.len()), (0, 0));
        let (state, connections) = found.room.unwrap();
        assert_eq!((state.last_tim, connections.len()), (5, 600));
        for ((row, mut socket), mut theirs) in connections.into_iter().zip(theirs) {
            socket.write_all(&row.id.to_le_bytes()).unwrap();
            drop(socket);
            let mut told = Vec::new();
            theirs.read_to_end(&mut told).unwrap();
            assert_eq!(told, row.id.to_le_bytes());
        }
    }

    #[test]
    fn without_a_usable_snapshot_clients_get_a_close_frame_where_possible() {
        let newer = {
            let mut bytes = Snapshot::default().encode();
            bytes[8] = 99;
            bytes
        };
        for state in [&newer[..], b"", b"rubbish"] {
            let (ours, theirs) = sockets(4);
            let found = inherited(state, ours);
            assert!(found.room.is_none() && found.problems.len() == 1);
            close_orphans(found.orphans, &close::RESTART);
            for (number, mut theirs) in theirs.into_iter().enumerate() {
                let mut told = Vec::new();
                theirs.read_to_end(&mut told).unwrap();
                let want = if number.is_multiple_of(2) { &b"\x88"[..] } else { b"" };
                assert!(told.starts_with(want) && told.is_empty() == want.is_empty(), "{told:?}");
            }
        }
    }

    #[test]
    fn an_invalid_row_and_a_missing_socket_affect_no_other_connection() {
        let (ours, _theirs) = sockets(3);
        let rows = vec![row(1).encode(), b"rubbish".to_vec(), row(3).encode(), row(4).encode()];
        let found = inherited(&Snapshot { rows, ..Snapshot::default() }.encode(), ours);
        let ids: Vec<_> = found.room.unwrap().1.iter().map(|(row, _)| row.id).collect();
        assert_eq!((ids, found.orphans.len(), found.problems.len()), (vec![1, 3], 1, 2));
    }

    #[test]
    fn a_lost_message_shifts_no_other_socket() {
        let (ours, _theirs) = sockets(2);
        let pairs = [(); 2].map(|()| ParkingPair::new().unwrap());
        let rows = (0..4).map(|id| row(id).encode()).collect();
        let snapshot = Snapshot { rows, ..Snapshot::default() }.encode();
        let snapshot = snapshot_file::write(&snapshot).unwrap();
        assert!(pairs[0].send(0, &[(SNAPSHOT, snapshot.as_fd())]).unwrap());
        // The sockets of rows 0 and 1 are lost.
        let part: Vec<_> = ours.iter().map(|(socket, _)| (WHOLE, socket.as_fd())).collect();
        assert!(pairs[1].send(3, &part).unwrap());
        let ids: Vec<_> =
            received(pairs.into()).room.unwrap().1.iter().map(|(row, _)| row.id).collect();
        assert_eq!(ids, [2, 3]);
    }
}
