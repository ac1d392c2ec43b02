//! What a server of the room sends over a connection, part by part.

/// A longer part is an error of the server, in bytes.
pub const BYTES_MAX: usize = 4 << 20;

/// A frame of a WebSocket, or an event or a comment of an event stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A message or a notice.
    Text(&'a [u8]),
    Ping(&'a [u8]),
    /// The close code (1005 if there is none) and the reason.
    Close(u16, &'a [u8]),
    /// A pong, a comment, or the delay of an event stream.
    Ignored,
}

/// The first part in some bytes and its length; `None` if it is incomplete.
pub type Parsed<'a> = Result<Option<(Part<'a>, usize)>, InvalidPart>;

/// The room sends no such part.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidPart;
