//! The rows of version 2, before messages could wait: how their bytes lie, for ever.
//! All else of that version is as in the next one.

use serde::Deserialize;

use crate::server::Peer;
use crate::server::snapshot::{AfterClose, Snapshot};
use crate::ws::Partial;

/// As [`crate::server::snapshot::ConnectionSnapshot`], without the messages that wait.
#[derive(Deserialize)]
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
    name: String,
}

/// The state with rows as they are today. What cannot be understood stays so.
pub(crate) fn renewed(old: Snapshot) -> Snapshot {
    let rows =
        old.rows.iter().map(|bytes| match postcard::from_bytes::<ConnectionSnapshot>(bytes) {
            Ok(row) => crate::server::snapshot::ConnectionSnapshot::from(row).encode(),
            Err(_) => Vec::new(),
        });
    Snapshot { rows: rows.collect(), ..old }
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
            name: old.name,
        }
    }
}
