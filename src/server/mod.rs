//! The only place with sockets.
//!
//! ```text
//! listener ─► door (HTTP: upgrade, page) ─► hub ─► shard: its connections
//! ```
//!
//! The listener and the door run on tokio, because they are rarely busy and
//! have many states; the shards are plain event loops, because they are not.

#![deny(clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::sync::{Mutex, MutexGuard, PoisonError};

mod admission;
mod client_list;
mod counters;
mod handover;
mod http;
mod listener;
mod moderate;
mod pool;
mod settings;
mod shard;
mod snapshot;
mod socket;

pub use admission::epoll_watches::{EpollWatches, Need};
pub use admission::handshake_slots::{HandshakeSlot, HandshakeSlots};
pub use admission::rejection::Rejection;
pub use client_list::{Client, ClientKey, ClientState, Page};
pub use counters::Counters;
pub use http::handshake_stream::HandshakeStream;
pub use http::request::{Http11, check_host};
pub use http::{AnswerOptions, HttpServer, answer};
pub use listener::{Acceptor, Listener};
pub use pool::{ConnectionPermit, ShardPool, Totals};
pub use settings::Settings;
pub use shard::connection::{NewConnection, Stream};
pub use shard::table::{FeedPosition, PendingAction, Table, Turn};
pub use snapshot::{ConnectionSnapshot, Snapshot, SnapshotError};
pub use socket::{Peer, Socket};

/// What is in the mutex, also after a panic: it is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
