//! Snapshots of every version, damaged ones and contradictory ones.

use proptest::prelude::*;

use super::codec::VERSION;
use super::*;
use crate::chat::{Actor, AddressBlock, ModAction, Moderation, Target, Tim};
use crate::feed::{Encoding, Log, Position, StreamMark};
use crate::room::{AccountKey, AccountSnapshot};
use crate::server::socket::Peer;
use crate::ws::close::AfterClose;
use crate::ws::{DecoderState, PartialMessage};

fn connection() -> ConnectionSnapshot {
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
        partial: Some(DecoderState { frame: b"\x81".to_vec(), message: None }),
        outbox: b"\x8a\x00".to_vec(),
        outbox_begun: false,
        closing: Some((5000, AfterClose::AwaitClose)),
        notices_whole_in_ms: 500,
        name: "ann".into(),
        encoding: Encoding::Frames,
        event_bytes: 0,
        after_tim: 0,
        refused: 5,
        rate_limited: 3,
        received_bytes: 4000,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        last_tim: 1,
        tail: vec![(1, b"\x81\x01a".to_vec()), (2, b"\x81\x01b\x81\x01c".to_vec())],
        next_id: 8,
        rows: vec![connection().encode()],
        ..Snapshot::default()
    }
}

/// A feed from position 100 to 107 with one frame.
fn one_frame() -> Log {
    let mut log = Log::resume(65_536, 100, 5, Tim::default());
    log.append(b"\x81\x05first", 1);
    log
}

fn is_decoded(connection: &ConnectionSnapshot, log: &Log) -> bool {
    ConnectionSnapshot::decode(&connection.encode(), log).is_some()
}

#[test]
fn a_decoded_snapshot_equals_the_encoded_one() {
    let snapshot = snapshot();
    let decoded = Snapshot::decode(&snapshot.encode()).unwrap();
    assert_eq!(decoded, snapshot);
    let log = decoded.log(65_536);
    assert_eq!((log.end(), log.messages()), (9, 3));
    assert_eq!(ConnectionSnapshot::decode(&decoded.rows[0], &log), Some(connection()));
    let mut again = Snapshot { tail: Vec::new(), ..decoded };
    again.set_log(&log);
    assert_eq!(again, snapshot);
}

#[test]
fn a_damaged_or_newer_snapshot_is_refused() {
    let good = snapshot().encode();
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

/// The content of the newest recorded state in tests/handover: three messages in two
/// pieces, a client that has sent part of a message, and one that is closing.
fn recorded() -> Snapshot {
    let pieces = [(1, &b"\x81\x05first"[..]), (2, b"\x81\x06second\x81\x05third")];
    let mut snapshot = Snapshot {
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
            key: AccountKey::Sub("u7".into()),
            full_in_us: 5,
            sent_ago: vec![(6, 7)],
        }],
        complete_since: 1_784_999_999_000_000_000,
        stream_mark: Some(StreamMark {
            position: Position { created: 1_784_000_000_000_000_000, sequence: 4711 },
            tim: Tim::from_nanos(1_785_000_000_000_000_001),
            newest: Tim::from_nanos(1_785_000_000_000_000_002),
        }),
        crashes_survived: 2,
        needed_token: Some(true),
        ..Snapshot::default()
    };
    for action in [
        ModAction::Mute { target: Target::name("bob"), secs: Some(600) },
        ModAction::Mute { target: Target::Address(AddressBlock([1; 16])), secs: None },
        ModAction::Slow { secs: Some(30) },
    ] {
        let now = snapshot.last_tim();
        snapshot.moderation.apply(&action, &Actor::operator(0), now).unwrap();
    }
    let sending = ConnectionSnapshot {
        cursor: 122,
        partial: Some(DecoderState {
            frame: b"\x80\x85\x01".to_vec(),
            message: Some(PartialMessage { text: true, bytes: b"{\"usr\":".to_vec() }),
        }),
        closing: None,
        ..connection()
    };
    let closing = ConnectionSnapshot {
        id: 8,
        cursor: DETACHED,
        peer: Peer::Unix,
        partial: None,
        outbox: b"\x02\x03\xe8".to_vec(),
        outbox_begun: true,
        closing: Some((4000, AfterClose::AwaitEnd)),
        ..connection()
    };
    snapshot.rows = vec![sending.encode(), closing.encode()];
    snapshot
}

/// The part of a snapshot that this version has fields for.
fn known_to(version: u32, mut snapshot: Snapshot) -> Snapshot {
    let log = snapshot.log(65_536);
    for bytes in &mut snapshot.rows {
        let mut connection = ConnectionSnapshot::decode(bytes, &log).unwrap();
        if version < 2 {
            connection.name.clear();
        }
        if version < 3 {
            connection.held.clear();
        }
        if version < 6 {
            connection =
                ConnectionSnapshot { refused: 0, rate_limited: 0, received_bytes: 0, ..connection };
        }
        *bytes = connection.encode();
    }
    if version < 7 {
        snapshot.needed_token = None;
    }
    if version < 6 {
        snapshot.crashes_survived = 0;
    }
    if version < 5 {
        snapshot.stream_mark = None;
    }
    if version < 4 {
        snapshot.complete_since = snapshot.last_tim;
    }
    if version < 2 {
        snapshot.moderation = Moderation::default();
        snapshot.account_snapshots.clear();
    }
    snapshot
}

/// If this fails, the next release cannot continue the room of this one: see the
/// documentation of the module. `RECORD_STATE=1` records the state of a version that
/// has none yet.
#[test]
fn every_version_so_far_is_read() {
    let path =
        |version: u32| format!("{}/tests/handover/v{version}.state", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RECORD_STATE").is_some() && !std::fs::exists(path(VERSION)).unwrap() {
        std::fs::write(path(VERSION), recorded().encode()).unwrap();
    }
    for version in 1..=VERSION {
        let snapshot = Snapshot::decode(&std::fs::read(path(version)).unwrap()).unwrap();
        let log = snapshot.log(65_536);
        let mut rows = snapshot.rows.iter();
        assert!(rows.all(|row| ConnectionSnapshot::decode(row, &log).is_some()));
        assert_eq!((log.end(), log.messages()), (122, 10), "version {version}");
        assert_eq!(snapshot, known_to(version, recorded()), "version {version}");
    }
    // The newest version is also written as before.
    assert_eq!(std::fs::read(path(VERSION)).unwrap(), recorded().encode());
}

#[test]
fn an_impossible_feed_is_refused() {
    let refused = |change: fn(&mut Snapshot)| {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        let decoded = Snapshot::decode(&snapshot.encode());
        assert_eq!(decoded, Err(SnapshotError::Content), "{snapshot:?}");
    };
    refused(|snapshot| snapshot.tail[0].1.clear());
    refused(|snapshot| snapshot.tail[0].1 = b"\x81\x02a".to_vec());
    refused(|snapshot| snapshot.tail[1].1.push(0x81));
    refused(|snapshot| {
        snapshot.tail[0].1 = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    });
    refused(|snapshot| snapshot.tail_start = u64::MAX);
    refused(|snapshot| snapshot.messages_before = u64::MAX);
    refused(|snapshot| snapshot.next_id = u64::MAX);
}

#[test]
fn a_connection_that_contradicts_the_feed_or_itself_is_refused() {
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
        let connection = ConnectionSnapshot { cursor, outbox, outbox_begun, ..connection() };
        assert_eq!(is_decoded(&connection, &one_frame()), want, "{cursor} {outbox_begun}");
    }
    for (cursor, closing, want) in [
        (100, None, true),
        (99, None, false),
        (101, None, false),
        (DETACHED, None, false),
        (DETACHED, Some((1, AfterClose::Drop)), true),
    ] {
        let connection = ConnectionSnapshot { cursor, closing, ..connection() };
        assert_eq!(
            is_decoded(&connection, &Log::resume(65_536, 100, 5, Tim::default())),
            want,
            "{cursor}"
        );
    }
}

#[test]
fn a_close_frame_follows_only_at_a_frame_boundary() {
    for (cursor, want) in
        [(99, false), (100, true), (101, false), (107, true), (108, false), (DETACHED, true)]
    {
        let connection = ConnectionSnapshot { cursor, closing: None, ..connection() };
        assert_eq!(connection.takes_close(&one_frame()), want, "{cursor}");
    }
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Snapshot::decode(&bytes);
        let _ = ConnectionSnapshot::decode(&bytes, &Log::new(65_536));
    }
}
