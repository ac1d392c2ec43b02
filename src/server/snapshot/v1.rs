//! The state as version 0.3.0 of wschat wrote it: how its bytes lie, for ever.

use serde::{Deserialize, Serialize};

use crate::server::Peer;
use crate::server::snapshot::AfterClose;
use crate::ws::Partial;

/// As [`crate::server::snapshot::Snapshot`], before there was moderation.
#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    last_tim: u64,
    tail_start: u64,
    messages_before: u64,
    tail: Vec<(u32, Vec<u8>)>,
    next_id: u64,
    listeners_peak: u64,
    restarts_survived: u64,
    started_secs: u64,
    counters: Vec<(String, u64)>,
    rows: Vec<Vec<u8>>,
}

/// As [`crate::server::snapshot::ConnectionSnapshot`], before it had a name.
#[derive(Serialize, Deserialize)]
struct ConnectionSnapshot {
    id: u64,
    cursor: u64,
    peer: Peer,
    since_secs: u64,
    message_bytes_max: u32,
    messages: u32,
    last_frame_ago_ms: u64,
    ping_in_ms: u64,
    partial: Option<Partial>,
    outbox: Vec<u8>,
    outbox_begun: bool,
    closing: Option<(u64, AfterClose)>,
    notices_whole_in_ms: u64,
}

impl From<Snapshot> for crate::server::snapshot::Snapshot {
    fn from(old: Snapshot) -> Self {
        Self {
            last_tim: old.last_tim,
            tail_start: old.tail_start,
            messages_before: old.messages_before,
            tail: old.tail,
            next_id: old.next_id,
            listeners_peak: old.listeners_peak,
            restarts_survived: old.restarts_survived,
            started_secs: old.started_secs,
            counters: old.counters,
            rows: old.rows.into_iter().map(row).collect(),
            ..Self::default()
        }
    }
}

impl From<ConnectionSnapshot> for crate::server::snapshot::ConnectionSnapshot {
    fn from(old: ConnectionSnapshot) -> Self {
        Self {
            id: old.id,
            cursor: old.cursor,
            peer: old.peer,
            since_secs: old.since_secs,
            message_bytes_max: old.message_bytes_max,
            messages: old.messages,
            last_frame_ago_ms: old.last_frame_ago_ms,
            ping_in_ms: old.ping_in_ms,
            held: Vec::new(),
            partial: old.partial,
            outbox: old.outbox,
            outbox_begun: old.outbox_begun,
            closing: old.closing,
            notices_whole_in_ms: old.notices_whole_in_ms,
            name: String::new(),
        }
    }
}

/// The bytes of a row as they are today. What cannot be understood stays so.
fn row(bytes: Vec<u8>) -> Vec<u8> {
    match postcard::from_bytes::<ConnectionSnapshot>(&bytes) {
        Ok(old) => crate::server::snapshot::ConnectionSnapshot::from(old).encode(),
        Err(_) => Vec::new(),
    }
}
