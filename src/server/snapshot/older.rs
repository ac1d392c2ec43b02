//! The layouts of older versions. postcard writes the fields of a struct one after
//! the other, so a tuple describes a layout too.

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
    let (last_tim, tail_start, messages_before, tail, next_id, ..) = room;
    let (.., listeners_peak, restarts_survived, started_secs, counters) = room;
    let row = |(head, tail)| connection(head, tail, String::new());
    Ok(Snapshot {
        last_tim,
        tail_start,
        messages_before,
        tail,
        next_id,
        listeners_peak,
        restarts_survived,
        started_secs,
        counters,
        rows: rows.iter().map(|bytes| renew(postcard::from_bytes(bytes).map(row))).collect(),
        ..Snapshot::default()
    })
}

/// Version 2: connections have no messages that wait.
pub(super) fn decode_v2(body: &[u8]) -> postcard::Result<Snapshot> {
    let mut snapshot: Snapshot = postcard::from_bytes(body)?;
    let row = |(head, tail, name)| connection(head, tail, name);
    for bytes in &mut snapshot.rows {
        *bytes = renew(postcard::from_bytes(bytes).map(row));
    }
    Ok(snapshot)
}

/// The connection in the newest version. One that cannot be decoded is empty, and so
/// cannot be decoded later either.
fn renew(connection: postcard::Result<ConnectionSnapshot>) -> Vec<u8> {
    connection.map_or_else(|_| Vec::new(), |connection| connection.encode())
}

fn connection(head: Head, tail: Tail, name: String) -> ConnectionSnapshot {
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
        held: Vec::new(),
        partial,
        outbox,
        outbox_begun,
        closing,
        notices_whole_in_ms,
        name,
    }
}
