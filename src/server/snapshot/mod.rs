//! What one process hands over to the next: the room and every connection, as
//! versioned bytes with a checksum. Pure.
//!
//! ```text
//! "wschat\0\0" | version u32 | SHA-256 of the body | body: postcard of Snapshot
//! ```
//!
//! Each connection is a byte string of its own in the body. So a connection that
//! cannot be decoded does not affect the others.
//!
//! A change of a field needs a new version, and [`Snapshot::decode`] reads every
//! version released so far: describe the old layout in `older`, increment
//! `VERSION`, and record a state of the new version in tests/handover with
//! `RECORD_STATE=1` and the test `every_version_so_far_is_read`. The recorded
//! states of older versions stay.

mod codec;
mod older;
mod state;
#[cfg(test)]
mod tests;

pub use codec::SnapshotError;
pub(crate) use state::DETACHED;
pub use state::{ConnectionSnapshot, Snapshot};
