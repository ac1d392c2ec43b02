//! The log of a room on several machines. Pure: no socket, no clock, no lock.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod action;
mod clock;
mod codec;
mod flight;
mod node;
mod outgoing;
mod reader;
mod record;
mod stream_time;

pub use action::{Action, Report};
pub use clock::LogClock;
pub use codec::{BadRecord, Headers, PUBLISHER, decode, encode};
pub use node::Node;
pub use reader::Divergence;
pub use record::{Body, LoggedAct, Publisher, Record};
