//! The only place with sockets.
//!
//! ```text
//! listener ─► door (HTTP: upgrade, page) ─► hub ─► shard: its connections
//! ```
//!
//! The listener and the door run on tokio, because they are rarely busy and
//! have many states; the shards are plain event loops, because they are not.

mod door;
mod listener;
mod settings;
mod site;
mod socket;

pub use door::{Terms, answer};
pub use listener::{Accepted, Acceptor, Listener};
pub use settings::Settings;
pub use socket::{Peer, Socket};
