//! The layouts of older versions. postcard writes the fields of a struct one after
//! the other, so a tuple describes a layout too.

use serde::de::DeserializeOwned;

use crate::chat::{Moderation, Tim};
use crate::feed::Encoding;
use crate::room::AccountSnapshot;
use crate::server::snapshot::state::{ConnectionSnapshot, Snapshot};
use crate::server::socket::Peer;
use crate::ws::DecoderState;
use crate::ws::close::AfterClose;

/// The fields of [`Snapshot`] up to `counters`.
type Room = (u64, u64, u64, Vec<(u32, Vec<u8>)>, u64, u64, u64, u64, Vec<(String, u64)>);
/// The fields of [`ConnectionSnapshot`] up to `ping_in_ms`.
type Head = (u64, u64, Peer, u64, u32, u32, u64, u64);
/// The fields of [`ConnectionSnapshot`] from `partial` to `notices_whole_in_ms`.
type Tail = (Option<DecoderState>, Vec<u8>, bool, Option<(u64, AfterClose)>, u64);

/// Version 1 (wschat 0.3.0): no moderation, no accounts; connections have no name.
pub(super) fn decode_v1(body: &[u8]) -> postcard::Result<Snapshot> {
    let (room, rows): (Room, Vec<Vec<u8>>) = postcard::from_bytes(body)?;
    let row = |(head, tail)| connection(head, Vec::new(), tail, String::new());
    Ok(snapshot(room, renewed(&rows, row)))
}

/// Version 2: connections have no messages that wait.
pub(super) fn decode_v2(body: &[u8]) -> postcard::Result<Snapshot> {
    decode_later(body, |(head, tail, name)| connection(head, Vec::new(), tail, name))
}

/// Version 3: every connection is a WebSocket, and no time is known since which the tail is
/// complete.
pub(super) fn decode_v3(body: &[u8]) -> postcard::Result<Snapshot> {
    decode_later(body, |(head, held, tail, name)| connection(head, held, tail, name))
}

/// Version 4: every room is on one machine. The connections are those of version 5.
pub(super) fn decode_v4(body: &[u8]) -> postcard::Result<Snapshot> {
    type Later = (Room, Moderation, Vec<AccountSnapshot>, Vec<Vec<u8>>, u64);
    let (room, moderation, account_snapshots, rows, complete_since): Later =
        postcard::from_bytes(body)?;
    let room = snapshot(room, with_zeros(rows));
    Ok(Snapshot { moderation, account_snapshots, complete_since, ..room })
}

/// Version 5: nothing is known of crashes, of refused messages and of received bytes. These are
/// the last fields, so they follow as zeros.
pub(super) fn decode_v5(body: &[u8]) -> postcard::Result<Snapshot> {
    let snapshot = decode_v6(&[body, &[0]].concat())?;
    Ok(Snapshot { rows: with_zeros(snapshot.rows), ..snapshot })
}

/// Version 6: whether a token was needed is not known. This is the last field.
pub(super) fn decode_v6(body: &[u8]) -> postcard::Result<Snapshot> {
    postcard::from_bytes(&[body, &[0]].concat())
}

/// Connections of version 5 with the fields that it lacks.
fn with_zeros(mut rows: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    rows.iter_mut().for_each(|row| row.extend([0; 3]));
    rows
}

fn decode_later<Row: DeserializeOwned>(
    body: &[u8],
    row: impl Fn(Row) -> ConnectionSnapshot,
) -> postcard::Result<Snapshot> {
    type Later = (Room, Moderation, Vec<AccountSnapshot>, Vec<Vec<u8>>);
    let (room, moderation, account_snapshots, rows): Later = postcard::from_bytes(body)?;
    Ok(Snapshot { moderation, account_snapshots, ..snapshot(room, renewed(&rows, row)) })
}

fn snapshot(room: Room, rows: Vec<Vec<u8>>) -> Snapshot {
    let (last_tim, tail_start, messages_before, tail, next_id, ..) = room;
    let (.., listeners_peak, restarts_survived, started_secs, counters) = room;
    let mut snapshot = Snapshot {
        last_tim,
        tail_start,
        messages_before,
        tail,
        next_id,
        listeners_peak,
        restarts_survived,
        started_secs,
        counters,
        rows,
        ..Snapshot::default()
    };
    // Nothing is known of what was sent before the first message of the tail.
    let first = snapshot.log(usize::MAX).pieces().first_after(Tim::default());
    snapshot.complete_since = first.map_or(last_tim, |(_, tim)| tim.nanos().saturating_sub(1));
    snapshot
}

/// The connections in the newest version. One that cannot be decoded is empty, and so cannot
/// be decoded later either.
fn renewed<Row: DeserializeOwned>(
    rows: &[Vec<u8>],
    row: impl Fn(Row) -> ConnectionSnapshot,
) -> Vec<Vec<u8>> {
    let renew = |bytes: &Vec<u8>| Some(row(postcard::from_bytes(bytes).ok()?).encode());
    rows.iter().map(|bytes| renew(bytes).unwrap_or_default()).collect()
}

fn connection(head: Head, held: Vec<u8>, tail: Tail, name: String) -> ConnectionSnapshot {
    let (id, cursor, peer, since_secs, message_bytes_max, ..) = head;
    let (.., messages, last_frame_ago_ms, ping_in_ms) = head;
    let (partial, outbox, outbox_begun, closing, notices_whole_in_ms) = tail;
    ConnectionSnapshot {
        id,
        cursor,
        peer,
        since_secs,
        message_bytes_max,
        messages,
        last_frame_ago_ms,
        ping_in_ms,
        held,
        partial,
        outbox,
        outbox_begun,
        closing,
        notices_whole_in_ms,
        name,
        encoding: Encoding::Frames,
        event_bytes: 0,
        after_tim: 0,
        refused: 0,
        rate_limited: 0,
        received_bytes: 0,
    }
}
