//! How many clients the limit of open files allows.

/// Descriptors that are not for clients of the room: listening sockets, files, logs, and the
/// clients of the control socket and of the metrics.
const RESERVED: u64 = 64;
/// Descriptors of a shard: its epoll instance and its waker.
const PER_SHARD: u64 = 2;
/// The share of the client descriptors that a full room leaves to connections whose handshake
/// is not finished, so that they get a response.
const HANDSHAKES_SHARE: usize = 64;
/// The least number of such connections.
pub const HANDSHAKES_MIN: usize = 16;

/// The number of descriptors for clients, WebSockets and handshakes together. `None` means
/// that there is no limit.
pub fn clients_max(limit: Option<u64>, shards: usize) -> usize {
    let reserved = RESERVED.saturating_add(PER_SHARD.saturating_mul(shards as u64));
    let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(reserved));
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// The number of WebSockets among so many clients.
///
/// # Examples
///
/// ```
/// use wschat::descriptors::{clients_max, websockets_max};
/// assert_eq!(websockets_max(clients_max(Some(20_000), 2)), 19_621);
/// assert_eq!(websockets_max(clients_max(Some(512), 2)), 428);
/// ```
pub fn websockets_max(clients: usize) -> usize {
    clients.saturating_sub((clients / HANDSHAKES_SHARE).max(HANDSHAKES_MIN)).max(1)
}

/// The number of descriptors for so many WebSockets.
///
/// # Examples
///
/// ```
/// use wschat::descriptors::{clients_max, descriptors_for, websockets_max};
/// let needed = descriptors_for(100_000, 2);
/// assert_eq!(websockets_max(clients_max(Some(needed), 2)), 100_000);
/// ```
pub fn descriptors_for(websockets: u64, shards: usize) -> u64 {
    let share = HANDSHAKES_SHARE as u64;
    let handshakes = (websockets.saturating_sub(1) / (share - 1)).max(HANDSHAKES_MIN as u64);
    let reserved = RESERVED.saturating_add(PER_SHARD.saturating_mul(shards as u64));
    websockets.saturating_add(handshakes).saturating_add(reserved)
}
