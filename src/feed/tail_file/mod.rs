//! The tail file: the newest messages of the feed, in a form that the next process can verify
//! after a crash. The caller stores the bytes.
//!
//! ```text
//! mark | history | ring of records
//! mark:    magic, where the oldest record starts, where the newest one ends and starts, how far
//!          the stream of a cluster was read, CRC-32
//! history: what the room has survived, written once, CRC-32
//! record:  length u32, number of messages u32, CRC-32, WebSocket frames
//! ```
//!
//! A record is written first, and then the mark that covers it. Records are overwritten only
//! after a mark no longer covers them. So if the process ends during any write, all that the
//! mark covers is complete. A kill cannot divide the write of a mark: the kernel copies so few
//! bytes of one page at once.
//!
//! The mark covers a batch as a whole, and the place in the stream that belongs to it: the next
//! process reads the stream on from there, and no message is missing or comes twice.
//!
//! Offsets count all bytes that were ever written to the ring; a byte is at its offset modulo
//! the size of the ring. The checksum of a record includes its offset, so a record of an
//! earlier round is not valid.

mod format;
mod recovered;
#[cfg(test)]
mod tests;
mod writer;

pub use format::RoomHistory;
pub use recovered::{RecoveredTail, TailFileError};
pub use writer::TailFileWriter;
