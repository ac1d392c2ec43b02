//! The only place with sockets.
//!
//! ```text
//! listener ─► door (HTTP: upgrade, page) ─► hub ─► shard: its connections
//! ```
//!
//! The listener and the door run on tokio, because they are rarely busy and
//! have many states; the shards are plain event loops, because they are not.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod addresses;
mod barred;
mod clients;
mod connection;
mod crowd;
mod door;
mod guest;
mod handover;
mod http;
mod hub;
mod listener;
mod moderate;
mod proxy;
mod settings;
mod shard;
mod site;
mod socket;
mod state;
mod table;
mod watches;

pub use barred::Barred;
pub use clients::{Client, ClientKey, ClientState, Page};
pub use connection::{Arrival, Stream};
pub use crowd::{Crowd, Place};
pub use door::{Door, Terms, answer};
pub use guest::Guest;
pub use http::{Http11, check_host};
pub use hub::{Hub, Seat, Totals};
pub use listener::{Acceptor, Listener};
pub use settings::Settings;
pub use socket::{Peer, Socket};
pub use state::{Row, State, StateError};
pub use table::{Asked, Position, Table, Tally, Turn};
pub use watches::{Need, Watches};

/// What is in the mutex, also after a panic: it is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
