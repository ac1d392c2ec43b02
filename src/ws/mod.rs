//! RFC 6455 as bytes: what a client sent becomes events, what the server says
//! becomes frames. Pure: no socket, no clock.

pub mod close;
mod decoder;
pub mod frame;

pub use decoder::{Event, Fragments, Inbound, Partial, Then, Violation};
