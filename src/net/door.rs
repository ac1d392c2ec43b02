//! The HTTP door: a request comes in, an answer goes out, and a connection
//! that was answered with an upgrade goes on to a shard.
//!
//! Every request has a connection of its own: the door is for opening a
//! WebSocket and for the few files of the page, and a place at it is scarce.

mod answer;

pub use answer::{Terms, answer};
