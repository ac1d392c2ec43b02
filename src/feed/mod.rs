//! The feed: the append-only log of encoded messages, of which a bounded tail is in
//! memory. Pure: no socket, no clock, no lock.
//!
//! Positions are byte offsets from the first byte that the room ever sent, 64 bits wide.
//! At a *frame boundary* one frame ends and the next one starts; every piece starts and
//! ends at one.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod encoding;
mod log;
mod pieces;
mod stream_mark;
mod tail_file;

pub use encoding::{EncodedMessages, Encoding, PRESENCE_EVENT};
pub use log::Log;
pub use pieces::{Piece, Pieces, Progress, SLICES_MAX, Slices};
pub use stream_mark::{Position, StreamMark};
pub use tail_file::{RecoveredTail, RoomHistory, TailFileError, TailFileWriter};
