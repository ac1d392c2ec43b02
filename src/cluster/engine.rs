//! The engine: the stream as the rest of the program sees it. Its task does all that can wait;
//! the driver sends [`Publish`] to a bounded queue and receives [`EngineEvent`]s.

use std::fmt;

use bytes::Bytes;

use crate::chat::Tim;
use crate::feed::Position;

/// A record to be published, exactly once or never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The number of the record, of this process.
    pub number: u64,
    /// Its header fields.
    pub headers: Vec<(&'static str, String)>,
    /// Its payload.
    pub payload: Bytes,
}

/// What the engine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// The stream can be used: the server and the stream were verified, and a consumer delivers
    /// from the record behind the last [`Delivery`], or where it was told to start.
    Connected(Connection),
    /// The connection is lost, the consumer sends no heartbeat, or the stream cannot be used;
    /// the reason for the log and for the status. Comes once for each [`EngineEvent::Connected`],
    /// and again whenever the reason changes.
    Away(AwayReason),
    /// A record, in the order of the stream. If its sequence is not the one behind the last,
    /// what is between them is lost for good.
    Delivered(Delivery),
    /// The consumer is alive, and has delivered all that the stream has.
    Heartbeat,
    /// What became of a publish: the server has stored it at this sequence, or has refused it.
    /// A publish without an answer gets no such event.
    Acknowledged {
        /// The number of the record.
        number: u64,
        /// The sequence, or why it is certain that it was not stored.
        stored: Result<u64, String>,
    },
}

/// A connection that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The name or the address of the server, for the status.
    pub server: String,
    /// The most bytes of header and payload of one message.
    pub max_payload: usize,
    /// The place of the newest record; its sequence is 0 if there has been none.
    pub newest: Position,
    /// The sequence of the oldest record; one more than the newest if there is none.
    pub first_sequence: u64,
    /// The first record that the consumer delivers.
    pub from_sequence: u64,
    /// The time of the stream's server when it was asked.
    pub time: Tim,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its place.
    pub position: Position,
    /// The time at which the stream has stored it.
    pub time: Tim,
    /// The value of each header field that starts with `Wschat-`.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub payload: Bytes,
}

/// Why the engine cannot be used. The text names what to do, and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwayReason {
    /// The servers cannot be reached, or do not answer; it will be tried again.
    Unreachable(String),
    /// The server or the stream is not as it has to be; it will be tried again.
    Unusable(String),
    /// The stream can be used, but this node has to read something before; it ends by itself.
    Reading(String),
}

impl fmt::Display for AwayReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Unusable(why) | Self::Reading(why) => out.write_str(why),
        }
    }
}
