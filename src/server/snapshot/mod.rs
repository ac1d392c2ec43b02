//! What one process hands over to the next: the room and every connection, as
//! versioned, checksummed bytes. Pure.
//!
//! ```text
//! "wschat\0\0" | version u32 | SHA-256 of the body | body: postcard of Snapshot
//! ```
//!
//! Each connection is a byte string of its own in the body, so that one which
//! cannot be understood costs no other.
//!
//! A field is only ever added, taken away or changed together with a new
//! version; [`Snapshot::decode`] reads every version released so far. So a change
//! takes: the structs of the old version kept as they were in a module of their
//! own, with a `From` into the new ones; `VERSION` one higher; the test
//! `every_version_so_far_is_read`, which tells how to record a state of the new
//! version in tests/handover, where those of the old ones stay for ever.

mod v1;
mod v2;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::chat::{AccountSnapshot, Moderation, Tim};
use crate::feed::{Log, Piece};
use crate::server::shard::connection::{AfterClose, DETACHED};
use crate::server::socket::Peer;
use crate::ws::Partial;
use crate::ws::frame;

const MAGIC: &[u8; 8] = b"wschat\0\0";
const VERSION: u32 = 3;
/// No room gets as far in ten thousand years.
const POSITION_MAX: u64 = 1 << 62;
const HEADER_BYTES: usize = MAGIC.len() + 4 + 32;

/// All that a room is, but for the sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The newest `tim`, in nanoseconds since the Unix epoch.
    pub last_tim: u64,
    /// Where the tail of the feed begins.
    pub tail_start: u64,
    /// How many messages were sent before it.
    pub messages_before: u64,
    /// The tail: whole frames, with the number of messages in them.
    pub tail: Vec<(u32, Vec<u8>)>,
    /// The id of the next connection.
    pub next_id: u64,
    /// The most listeners there ever were.
    pub listeners_peak: u64,
    /// How often the room was handed over before.
    pub restarts_survived: u64,
    /// When the room was first opened, in seconds since the Unix epoch.
    pub started_secs: u64,
    /// What was counted so far, over all shards, by name.
    pub counters: Vec<(String, u64)>,
    /// What moderators and operators have decided.
    pub moderation: Moderation,
    /// What speakers have used up of their budgets.
    pub account_snapshots: Vec<AccountSnapshot>,
    /// A [`ConnectionSnapshot`] for each socket, in the sockets' order.
    pub rows: Vec<Vec<u8>>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionSnapshot {
    /// Its id.
    pub id: u64,
    /// Its position in the feed; `u64::MAX` if it gets no more of it.
    pub cursor: u64,
    /// Who it is.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The longest message that it may send, in bytes.
    pub message_bytes_max: u32,
    /// How many messages of it were sent to the room.
    pub messages: u32,
    /// How long ago a frame of it came.
    pub last_frame_ago_ms: u64,
    /// When its next ping is due.
    pub ping_in_ms: u64,
    /// Messages that came and wait to be handled, each as a text frame; with their
    /// tokens.
    pub held: Vec<u8>,
    /// What of its stream is begun.
    pub partial: Option<Partial>,
    /// What waits to be written besides the feed: own frames, behind the rest of
    /// a frame that is begun.
    pub outbox: Vec<u8>,
    /// Whether it begins with such a rest, of a frame of the feed or an own one.
    pub outbox_begun: bool,
    /// If it is closing: how long it has left, and what follows.
    pub closing: Option<(u64, AfterClose)>,
    /// Notices that it may still get, as a [`Bucket`](crate::chat::Bucket)
    /// counts them: milliseconds until the budget is whole.
    pub notices_whole_in_ms: u64,
    /// The name of its last message; empty if it only listened.
    pub name: String,
}

/// Why a state is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin as a state does, or ends too early.
    #[error("not a state of wschat")]
    Foreign,
    /// Another version of wschat wrote it.
    #[error("a state of version {0}, this is version {VERSION}")]
    Version(u32),
    /// It was damaged on the way.
    #[error("the checksum is wrong")]
    Checksum,
    /// The checksum is right, the content is not.
    #[error("the content makes no sense")]
    Content,
}

impl Snapshot {
    /// The bytes of this state.
    pub fn encode(&self) -> Vec<u8> {
        // Plain structs in memory: there is nothing that cannot be written.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(digest(&SHA256, &body).as_ref());
        out.extend_from_slice(&body);
        out
    }

    /// The state that `bytes` hold.
    ///
    /// # Errors
    ///
    /// Why they hold none that this version can use.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(SnapshotError::Foreign);
        };
        let Some((version, rest)) = rest.split_first_chunk::<4>() else {
            return Err(SnapshotError::Foreign);
        };
        let Some((checksum, body)) = rest.split_first_chunk::<32>() else {
            return Err(SnapshotError::Foreign);
        };
        if magic != MAGIC {
            return Err(SnapshotError::Foreign);
        }
        let version = u32::from_le_bytes(*version);
        if !(1..=VERSION).contains(&version) {
            return Err(SnapshotError::Version(version));
        }
        if digest(&SHA256, body).as_ref() != checksum {
            return Err(SnapshotError::Checksum);
        }
        let read = match version {
            1 => postcard::from_bytes::<v1::Snapshot>(body).map(Self::from),
            2 => postcard::from_bytes(body).map(v2::renewed),
            _ => postcard::from_bytes(body),
        };
        let state = read.map_err(|_| SnapshotError::Content)?;
        if state.is_sound() { Ok(state) } else { Err(SnapshotError::Content) }
    }

    /// Whether a feed can be made of it: its pieces are whole frames, and its
    /// positions and numbers leave room to go on.
    fn is_sound(&self) -> bool {
        let whole = |(_, bytes): &(u32, Vec<u8>)| !bytes.is_empty() && are_whole(bytes);
        let far = |n: u64| n > POSITION_MAX;
        !far(self.tail_start)
            && !far(self.messages_before)
            && !far(self.next_id)
            && self.tail.iter().all(whole)
    }

    /// Takes the tail of the feed over.
    pub fn set_log(&mut self, log: &Log) {
        let oldest = log.pieces().iter().next();
        self.tail_start = oldest.map_or(log.end(), |piece| piece.start);
        self.messages_before = oldest.map_or(log.messages(), |piece| piece.messages_before);
        let copy = |piece: &Piece| (piece.messages, piece.bytes.to_vec());
        self.tail = log.pieces().iter().map(copy).collect();
    }

    /// The feed that goes on where this one ended.
    pub fn log(&self, feed_tail_bytes: usize) -> Log {
        let mut log = Log::resume(feed_tail_bytes, self.tail_start, self.messages_before);
        for (messages, bytes) in &self.tail {
            log.append(bytes, *messages);
        }
        log
    }

    /// The newest `tim` of the room.
    pub fn last_tim(&self) -> Tim {
        Tim::from_nanos(self.last_tim)
    }
}

impl ConnectionSnapshot {
    /// The bytes of this row.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The row that `bytes` hold, if it is one that can stand in a room whose
    /// feed is `log`.
    pub fn decode(bytes: &[u8], log: &Log) -> Option<Self> {
        let row: Self = postcard::from_bytes(bytes).ok()?;
        let start = log.pieces().start().unwrap_or(log.end());
        let in_feed = (start..=log.end()).contains(&row.cursor);
        let detached = row.cursor == DETACHED && row.closing.is_some();
        let in_order = match row.outbox_begun {
            // An own frame is only begun at a frame boundary of the feed.
            true => row.has_whole_frames_of(log),
            false => are_whole(&row.outbox),
        };
        let understood = (in_feed && in_order) || detached;
        (understood && are_whole(&row.held)).then_some(row)
    }

    /// Whether a close frame can follow what the client has: that is whole
    /// frames, and none of them a close frame.
    pub fn takes_close(&self, log: &Log) -> bool {
        let closed = self.closing.is_some() && self.outbox.is_empty();
        !closed && !self.outbox_begun && self.has_whole_frames_of(log)
    }

    /// Whether the outbox holds whole frames only. That of a connection that is
    /// out of the feed may begin with the rest of a frame of it, which not every
    /// version has said.
    pub(crate) fn has_whole_outbox(&self) -> bool {
        let out_of_feed = self.cursor == DETACHED && !self.outbox.is_empty();
        !self.outbox_begun && !out_of_feed && are_whole(&self.outbox)
    }

    /// Whether the cursor is at a frame boundary of the feed. What is not in the
    /// feed is none, but for its end.
    fn has_whole_frames_of(&self, log: &Log) -> bool {
        let at_boundary = |piece: &Piece| {
            let offset = (self.cursor - piece.start) as usize;
            frame::place(&piece.bytes, offset).frame_end == offset
        };
        let at_end = [log.end(), DETACHED].contains(&self.cursor);
        at_end || log.pieces().at(self.cursor).is_some_and(at_boundary)
    }
}

/// Whether these are whole server frames, if any.
fn are_whole(mut bytes: &[u8]) -> bool {
    while let Some((_, behind)) = frame::split(bytes) {
        bytes = behind;
    }
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{AccountKey, Actor, AddressBlock, ModAction, Target};
    use crate::ws::Fragments;
    use proptest::prelude::*;

    fn row() -> ConnectionSnapshot {
        ConnectionSnapshot {
            id: 7,
            cursor: 3,
            peer: Peer::Tcp(([127, 0, 0, 1], 4711).into()),
            since_secs: 1,
            message_bytes_max: 16_384,
            messages: 2,
            last_frame_ago_ms: 3,
            ping_in_ms: 4,
            held: b"\x81\x02{}".to_vec(),
            partial: Some(Partial { frame: b"\x81".to_vec(), message: None }),
            outbox: b"\x8a\x00".to_vec(),
            outbox_begun: false,
            closing: Some((5000, AfterClose::AwaitClose)),
            notices_whole_in_ms: 500,
            name: "ann".into(),
        }
    }

    fn state() -> Snapshot {
        Snapshot {
            last_tim: 1,
            tail_start: 0,
            messages_before: 0,
            tail: vec![(1, b"\x81\x01a".to_vec()), (2, b"\x81\x01b\x81\x01c".to_vec())],
            next_id: 8,
            rows: vec![row().encode()],
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let state = state();
        let read = Snapshot::decode(&state.encode()).unwrap();
        assert_eq!(read, state);
        let log = read.log(65_536);
        assert_eq!((log.end(), log.messages()), (9, 3));
        assert_eq!(ConnectionSnapshot::decode(&read.rows[0], &log), Some(row()));
        let mut again = Snapshot { tail: Vec::new(), ..read };
        again.set_log(&log);
        assert_eq!(again, state);
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_refused() {
        let good = state().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(Snapshot::decode(&bad).is_err(), "byte {at}");
            assert!(Snapshot::decode(&good[..at]).is_err(), "cut at {at}");
        }
        let mut newer = good;
        newer[8] = 99;
        assert_eq!(Snapshot::decode(&newer), Err(SnapshotError::Version(99)));
    }

    /// What the newest state in tests/handover holds: a message in two pieces, one client
    /// that has everything and is in the middle of sending, one that is leaving.
    fn recorded() -> Snapshot {
        let pieces = [(1, &b"\x81\x05first"[..]), (2, b"\x81\x06second\x81\x05third")];
        let mut state = Snapshot {
            last_tim: 1_785_000_000_000_000_001,
            tail_start: 100,
            messages_before: 7,
            tail: pieces.iter().map(|(messages, bytes)| (*messages, bytes.to_vec())).collect(),
            next_id: 12,
            listeners_peak: 3,
            restarts_survived: 4,
            started_secs: 1_784_000_000,
            counters: vec![("messages".into(), 10), ("bad-json".into(), 1)],
            account_snapshots: vec![AccountSnapshot {
                who: AccountKey::Sub("u7".into()),
                whole_in_us: 5,
                said: vec![(6, 7)],
            }],
            ..Snapshot::default()
        };
        let (by, bob) = (Actor::Operator { uid: 0 }, Target::name("bob"));
        let there = Target::Address(AddressBlock([1; 16]));
        for act in [
            ModAction::Mute { target: bob, secs: Some(600) },
            ModAction::Mute { target: there, secs: None },
            ModAction::Slow { secs: Some(30) },
        ] {
            state.moderation.decide(&act, &by, state.last_tim()).unwrap();
        }
        let sending = ConnectionSnapshot {
            cursor: 122,
            partial: Some(Partial {
                frame: b"\x80\x85\x01".to_vec(),
                message: Some(Fragments { text: true, bytes: b"{\"usr\":".to_vec() }),
            }),
            closing: None,
            ..row()
        };
        let leaving = ConnectionSnapshot {
            id: 8,
            cursor: u64::MAX,
            peer: Peer::Unix,
            partial: None,
            outbox: b"\x02\x03\xe8".to_vec(),
            outbox_begun: true,
            closing: Some((4000, AfterClose::AwaitEnd)),
            ..row()
        };
        state.rows = vec![sending.encode(), leaving.encode()];
        state
    }

    /// What of a state the older versions had no place for is not there.
    fn known_to(version: u32, mut state: Snapshot) -> Snapshot {
        let log = state.log(65_536);
        let older = |bytes: &Vec<u8>| {
            let row = ConnectionSnapshot::decode(bytes, &log).unwrap();
            let name = if version < 2 { String::new() } else { row.name };
            let held = if version < 3 { Vec::new() } else { row.held };
            ConnectionSnapshot { name, held, ..row }.encode()
        };
        state.rows = state.rows.iter().map(older).collect();
        if version < 2 {
            state.moderation = Moderation::default();
            state.account_snapshots.clear();
        }
        state
    }

    /// A failure here says that the next release cannot go on with the room of
    /// this one: see the module's doc. `RECORD_STATE=1` records the state of a
    /// version that has none yet.
    #[test]
    fn every_version_so_far_is_read() {
        let path = |version: u32| {
            format!("{}/tests/handover/v{version}.state", env!("CARGO_MANIFEST_DIR"))
        };
        if std::env::var_os("RECORD_STATE").is_some() && !std::fs::exists(path(VERSION)).unwrap() {
            std::fs::write(path(VERSION), recorded().encode()).unwrap();
        }
        for version in 1..=VERSION {
            let bytes = std::fs::read(path(version)).unwrap();
            let state = Snapshot::decode(&bytes).unwrap();
            let log = state.log(65_536);
            assert!(state.rows.iter().all(|row| ConnectionSnapshot::decode(row, &log).is_some()));
            assert_eq!((log.end(), log.messages()), (122, 10), "version {version}");
            assert_eq!(state, known_to(version, recorded()), "version {version}");
        }
        // The newest is written as it was, too: nothing has changed unnoticed.
        assert_eq!(std::fs::read(path(VERSION)).unwrap(), recorded().encode());
    }

    #[test]
    fn a_feed_that_cannot_be_is_refused() {
        let refused = |change: fn(&mut Snapshot)| {
            let mut state = state();
            change(&mut state);
            assert_eq!(Snapshot::decode(&state.encode()), Err(SnapshotError::Content), "{state:?}");
        };
        refused(|state| state.tail[0].1.clear());
        refused(|state| state.tail[0].1 = b"\x81\x02a".to_vec());
        refused(|state| state.tail[1].1.push(0x81));
        refused(|state| state.tail[0].1 = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec());
        refused(|state| state.tail_start = u64::MAX);
        refused(|state| state.messages_before = u64::MAX);
        refused(|state| state.next_id = u64::MAX);
    }

    #[test]
    fn a_row_that_contradicts_itself_is_none() {
        let mut log = Log::resume(65_536, 100, 5);
        log.append(b"\x81\x05first", 1);
        let whole = b"\x8a\x00\x81\x02hi";
        for (cursor, outbox, outbox_begun, want) in [
            (100, &whole[..], false, true),
            (103, whole, false, true),
            (103, whole, true, false),
            (107, whole, true, true),
            (100, b"\x8a\x05half", false, false),
            (100, b"\x8a\x05half", true, true),
            (DETACHED, b"\x8a\x05half", false, true),
        ] {
            let outbox = outbox.to_vec();
            let bytes = ConnectionSnapshot { cursor, outbox, outbox_begun, ..row() }.encode();
            assert_eq!(
                ConnectionSnapshot::decode(&bytes, &log).is_some(),
                want,
                "{cursor} {outbox_begun}"
            );
        }
    }

    #[test]
    fn a_cursor_that_is_not_in_the_feed_is_at_no_frame_boundary() {
        let mut log = Log::resume(65_536, 100, 5);
        log.append(b"\x81\x05first", 1);
        for (cursor, want) in
            [(99, false), (100, true), (101, false), (107, true), (108, false), (DETACHED, true)]
        {
            let row = ConnectionSnapshot { cursor, closing: None, ..row() };
            assert_eq!(row.takes_close(&log), want, "{cursor}");
        }
    }

    #[test]
    fn a_cursor_outside_the_tail_is_no_row() {
        let log = Log::resume(65_536, 100, 5);
        for (cursor, closing, want) in [
            (100, None, true),
            (99, None, false),
            (101, None, false),
            (u64::MAX, None, false),
            (u64::MAX, Some((1, AfterClose::Drop)), true),
        ] {
            let bytes = ConnectionSnapshot { cursor, closing, ..row() }.encode();
            assert_eq!(ConnectionSnapshot::decode(&bytes, &log).is_some(), want, "{cursor}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Snapshot::decode(&bytes);
            let _ = ConnectionSnapshot::decode(&bytes, &Log::new(65_536));
        }
    }
}
