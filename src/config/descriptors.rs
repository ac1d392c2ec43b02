//! What the limit of open files leaves for clients.

/// Descriptors that are no client of the room: listeners, files, logs, those who
/// ask at the control socket and for metrics.
const RESERVED: u64 = 64;
/// What a shard has: its event queue, and what wakes it.
const PER_SHARD: u64 = 2;
/// A room that is full leaves this part of what clients may have to those at the
/// door, who want to be told so,
const DOOR_PART: usize = 64;
/// and never less than this.
pub const DOOR_MIN: usize = 16;

/// How many clients a process with that limit and so many shards can have, in the
/// room and at its door; none is no limit.
pub fn clients(limit: Option<u64>, shards: usize) -> usize {
    let reserved = RESERVED.saturating_add(PER_SHARD.saturating_mul(shards as u64));
    let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(reserved));
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// How many of so many clients can be in the room.
///
/// # Examples
///
/// ```
/// use wschat::config::descriptors::{clients, members};
/// assert_eq!(members(clients(Some(20_000), 2)), 19_621);
/// assert_eq!(members(clients(Some(512), 2)), 428);
/// ```
pub fn members(clients: usize) -> usize {
    clients.saturating_sub((clients / DOOR_PART).max(DOOR_MIN)).max(1)
}
