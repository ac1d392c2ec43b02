//! The rows of version 2, before messages could wait: how their bytes lie, for ever.
//! All else of that version is as in the next one.

use serde::Deserialize;

use super::{AfterClose, State};
use crate::net::Peer;
use crate::wire::Partial;

/// As [`super::Row`], without the messages that wait.
#[derive(Deserialize)]
struct Row {
    id: u64,
    cursor: u64,
    peer: Peer,
    since_secs: u64,
    message_bytes_max: u32,
    messages: u32,
    heard_ago_ms: u64,
    ping_in_ms: u64,
    partial: Option<Partial>,
    outbox: Vec<u8>,
    outbox_begun: bool,
    closing: Option<(u64, AfterClose)>,
    notices_whole_in_ms: u64,
    name: String,
}

/// The state with rows as they are today. What cannot be understood stays so.
pub(super) fn renewed(old: State) -> State {
    let rows = old.rows.iter().map(|bytes| match postcard::from_bytes::<Row>(bytes) {
        Ok(row) => super::Row::from(row).encode(),
        Err(_) => Vec::new(),
    });
    State { rows: rows.collect(), ..old }
}

impl From<Row> for super::Row {
    fn from(old: Row) -> Self {
        Self {
            id: old.id,
            cursor: old.cursor,
            peer: old.peer,
            since_secs: old.since_secs,
            message_bytes_max: old.message_bytes_max,
            messages: old.messages,
            heard_ago_ms: old.heard_ago_ms,
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
