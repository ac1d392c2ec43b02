//! RFC 6455 as bytes: what a client sends is decoded into events, what the server sends
//! is encoded as frames. Pure: no socket, no clock.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod close;
mod decoder;
pub mod frame;
mod header;

pub use close::Violation;
pub use decoder::{Decoder, DecoderState, Event, PartialMessage};
