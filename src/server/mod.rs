//! The only place with sockets of the room: from a new connection to its messages.
//!
//! ```text
//! listening_socket ─► acceptor ─► http::server ─► pool ─► shard: its connections
//! ```
//!
//! The shards are plain event loops, for speed. Everything before them runs on tokio: it is
//! rarely busy, and has many states.
//!
//! - `listening_socket`, `acceptor`: bind and accept
//! - `http`: the WebSocket handshake, the chat page, error responses
//! - `admission`: which connections are admitted
//! - `socket`: a connection's socket, and its peer
//! - `posting`: messages that were sent by POST, on their way to a shard
//! - `pool`: the shards as the rest of the daemon sees them
//! - `shared`: what the pool and its shards share
//! - `shard`: a thread with its connections: reads messages, sends the feed
//! - `settings`: what a reload changes
//! - `moderate`: carries out moderation actions
//! - `kick`, `recently_kicked`: closing connections; those who were kicked, if they come back
//! - `presence`, `tell_presence`: when the listeners are told the state of the room; telling it
//! - `retract`: retracting all messages of a name
//! - `ordered`: what a log of several machines does with the room
//! - `client_list`, `client_filter`, `client_page`, `top_list`, `listing`: the rows of
//!   `wschat clients` and `wschat top`
//! - `client_log`: log lines about clients that are refused or disconnected
//! - `counters`: the figures of status and metrics
//! - `reporting`: what the HTTP server and the daemon add to them, and to the log about clients
//! - `histogram`: its histograms
//! - `snapshot`, `handover`: the room on its way to the next process

#![deny(clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod acceptor;
mod admission;
mod client_filter;
mod client_list;
mod client_log;
mod client_page;
mod counters;
mod handover;
mod histogram;
mod http;
mod kick;
mod listening_socket;
mod listing;
mod moderate;
mod ordered;
mod pool;
mod posting;
mod presence;
mod recently_kicked;
mod reporting;
mod retract;
mod settings;
mod shard;
mod shared;
mod snapshot;
mod socket;
mod tell_presence;
mod top_list;

pub use acceptor::Acceptor;
pub use admission::connection_counts::{ConnectionCounts, ConnectionPermit};
pub use admission::epoll_watches::{EpollWatches, WatchUse};
pub(crate) use admission::handshake_slots::HandshakeSlots;
pub use admission::rejection::Rejection;
pub use client_filter::{AddressFilter, AddressFilterError, ClientFilter};
pub use client_list::{ClientChunk, ClientRow};
pub use client_log::{ClientEvent, ClientLog, CloseReason};
pub use client_page::{Page, SortKey};
pub use counters::{Counter, Counters};
pub use histogram::{Histogram, HistogramKind, Histograms};
pub(crate) use http::handshake_stream::register_socket;
pub(crate) use http::host_check::check_host;
pub(crate) use http::http11_reader::Http11Reader;
pub use http::server::HttpServer;
pub use listening_socket::ListeningSocket;
pub use pool::{ShardPool, SlowestListener, Totals};
pub use recently_kicked::KickedSpeaker;
pub use settings::Settings;
pub use shard::cold_state::NewConnection;
pub use shard::connection::{FeedState, Stream};
pub use shard::table::{FeedPosition, PendingAction, Table, Turn};
pub use snapshot::{ConnectionSnapshot, Snapshot, SnapshotError};
pub use socket::{Peer, Socket};
pub use top_list::{AddressRow, AddressSum, TopKey};
