//! RFC 6455 as bytes: what a client sent becomes events, what the server says
//! becomes frames. Pure: no socket, no clock.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod close;
mod decoder;
pub mod frame;

pub use decoder::{Event, Fragments, Inbound, Partial, Then, Violation};
