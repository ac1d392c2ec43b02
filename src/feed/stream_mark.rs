//! How far a room on several machines has read the stream that orders its messages.

use serde::{Deserialize, Serialize};

use crate::chat::Tim;

/// A place in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// When the stream was created, in nanoseconds since the Unix epoch. It tells a stream from
    /// another one of the same name.
    pub created: u64,
    /// The sequence number of a message in the stream; the first one has 1.
    pub sequence: u64,
}

/// The newest record of the stream that a room has read, and what follows from all records up
/// to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMark {
    /// Its place.
    pub position: Position,
    /// The `tim` of the last message up to this place.
    pub tim: Tim,
    /// The greatest stream time up to this place.
    pub newest: Tim,
}
