//! What an operator may know of a connection, and how it is collected.

use super::socket::Peer;

/// One connection, as it was when its shard was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id, which grows in the order of joining.
    pub id: u64,
    /// Who it is.
    pub peer: Peer,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// Messages of it that were sent to the room.
    pub messages: u32,
    /// Bytes of the feed that it has not been sent yet.
    pub behind_bytes: u64,
    /// How it is fed.
    pub state: ClientState,
}

/// How a connection is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    /// By every sweep.
    Swept,
    /// As soon as its socket takes bytes again.
    Lagging,
    /// No more: its close frame is on the way.
    Closing,
}

/// Some of a shard's connections.
///
/// A list is made from the last row to the first, because whoever moves to
/// another row while it is made moves to an earlier one: so a connection may be
/// listed twice, but is never left out.
#[derive(Debug)]
pub(super) struct Slice {
    pub clients: Vec<Client>,
    /// The rows before this one are still to be listed.
    pub before: usize,
}
