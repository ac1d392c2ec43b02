//! A record: what one message of the stream contains.

use serde::{Deserialize, Serialize};

use crate::chat::{Actor, LoggedMessage, ModAction, Tim};
use crate::feed::StreamMark;

/// Who has published a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publisher {
    /// The name of the node.
    pub node: String,
    /// A number that each process of a node chooses at random.
    pub incarnation: u64,
    /// The number of the record; each process counts from 1.
    pub number: u64,
}

/// What one message of the stream contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who has published it.
    pub publisher: Publisher,
    /// What the publisher had read; `None` if it had read nothing.
    pub after: Option<StreamMark>,
    /// The stream time after which nobody sends it any more.
    pub by: Tim,
    /// What it is about.
    pub body: Body,
}

impl Record {
    /// Whether its publisher asks the other nodes for the clock.
    pub(super) fn asks(&self) -> bool {
        self.after.is_none() && self.body == Body::Empty
    }
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Messages for all listeners, in this order.
    Messages(Vec<LoggedMessage>),
    /// A moderation action.
    Act(LoggedAct),
    /// Nothing: it only moves the stream time on.
    Empty,
}

/// A moderation action in a record. What lasts of it applies to the records behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedAct {
    /// The action; never one for a single connection.
    pub action: ModAction,
    /// Who has requested it.
    pub actor: Actor,
}
