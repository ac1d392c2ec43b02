//! What a node wants done.

use bytes::Bytes;

use super::codec::BadRecord;
use super::reader::Divergence;
use super::record::LoggedAct;
use crate::chat::{Refused, Tim};
use crate::cluster::engine::{AwayReason, Connection, Publish};
use crate::feed::{Position, StreamMark};

/// What a node wants done. The order matters.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Publish a record.
    Publish(Publish),
    /// All messages since this time follow, and none before it. Comes once, before the first
    /// [`Append`](Self::Append), if the node was started without a mark.
    CompleteSince(Tim),
    /// Append messages, with their `tim`, to the feed, and store the mark with them. There can
    /// be none.
    Append {
        /// The messages.
        messages: Vec<Bytes>,
        /// How far the log was read.
        mark: StreamMark,
        /// Whether they were in the stream before the node started. If somebody listens
        /// already, they are not for the feed.
        is_backlog: bool,
    },
    /// Do a moderation action, before the next call of [`Node::pop`](super::Node::pop), and store the mark.
    Act {
        /// The action.
        act: LoggedAct,
        /// Its time, which is also that of its message if it has one.
        tim: Tim,
        /// How far the log was read.
        mark: StreamMark,
        /// Who waits for it, if it is from this node.
        ticket: Option<T>,
        /// Whether it was in the stream before the node started.
        is_backlog: bool,
    },
    /// Messages are missing here in the feed.
    Gap {
        /// The `tim` of the last message before; `None` if there was none.
        after: Option<Tim>,
        /// The `tim` of the next message; `None` if none is there yet.
        before: Option<Tim>,
    },
    /// Tell a sender what became of its message: its text as everybody gets it, or why it was
    /// not sent ([`Refusal::Unknown`](crate::chat::Refusal::Unknown): whether it was sent is not known).
    Settle(T, Result<Bytes, Refused>),
    /// Messages can be sent from now on, or not. Comes at each change.
    Availability(Result<Connection, AwayReason>),
    /// Something to log.
    Report(Report),
}

/// Something that an operator has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A record is not valid, and was skipped.
    Bad(Position, BadRecord),
    /// Two nodes have computed different times for the same message.
    Divergence(Divergence),
    /// Records are missing before this place.
    Hole(Position),
    /// No node has told the `tim` at this place, so this one has set it by the stream time.
    Alone(Position),
}
