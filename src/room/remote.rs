//! The seam between a room and a log that orders the messages of several machines.

use std::fmt;

use bytes::Bytes;

use crate::chat::{ActDone, Actor, LoggedMessage, ModAction, ModActionError, Refused};

/// Orders the messages and the moderation actions of this room together with those of other
/// machines. What comes back is passed to [`Room::append_ordered`](super::Room::append_ordered).
pub trait RemoteOrder: fmt::Debug + Send + Sync {
    /// Takes messages, in this order. The shard of each is told its [`Outcome`] once. Must not
    /// block.
    fn submit(&self, messages: Vec<Submission>);

    /// Takes a moderation action. Must not block.
    fn submit_act(&self, act: ModAction, actor: Actor, reply: ActReply);
}

/// A message that is to be ordered.
#[derive(Debug)]
pub struct Submission {
    /// The message and its sender.
    pub message: LoggedMessage,
    /// Who is told what became of it.
    pub ticket: Ticket,
}

/// The sender of a message, for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard.
    pub shard: usize,
    /// The connection, or the message if it came by POST.
    pub id: u64,
    /// The bytes that are reserved for it at the gate.
    pub reserved: u64,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent, with this text.
    Sent(Bytes),
    /// It was not sent, or it is not known whether it was.
    Refused(Refused),
}

/// Receives what became of a moderation action, or why it was not carried out.
pub type ActReply = Box<dyn FnOnce(Result<ActDone, ModActionError>) + Send>;
