//! The feed: the append-only log of encoded frames, with a bounded tail kept
//! in memory. Pure: no socket, no clock, no lock.
//!
//! Positions are byte offsets from the first byte that the room ever sent; they
//! are 64 bits wide and never wrap. A position at which one frame ends and the
//! next begins is a *frame boundary*; appends are whole frames, so a piece
//! begins and ends at one.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod encoding;
mod log;
mod pieces;

pub use encoding::EncodedMessages;
pub use log::Log;
pub use pieces::{Piece, Pieces, SLICES_MAX, Slices};
