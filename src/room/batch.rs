//! The messages of one turn of a shard.

use super::remote::{Outcome, Submission, Ticket};
use crate::chat::{LoggedMessage, LoggedSpeaker, SpeakerId};
use crate::feed::EncodedMessages;

/// The messages of one turn of a shard, and the bytes that are reserved for them at the
/// gate.
#[derive(Debug, Default)]
pub struct Batch {
    shard: usize,
    messages: EncodedMessages,
    reserved: u64,
    /// The numbers of the messages whose senders want the text.
    wanted: Vec<(usize, u64)>,
    outcomes: Vec<(u64, Outcome)>,
    /// The sender of each message, if another machine has to know it.
    senders: Option<Vec<(u64, LoggedSpeaker)>>,
}

/// The sender of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageSender<'a> {
    /// The connection, or the message if it came by POST.
    pub id: u64,
    /// Whether it has to be told the text of its message.
    pub wants_text: bool,
    /// The sender as moderation sees it.
    pub speaker: SpeakerId<'a>,
}

impl Batch {
    /// An empty batch of this shard, whose messages are ordered in this room or by a
    /// [`RemoteOrder`](super::RemoteOrder).
    pub(super) fn new(shard: usize, is_remote: bool) -> Self {
        Self { shard, senders: is_remote.then(Vec::new), ..Self::default() }
    }

    /// Adds the message that `encode` writes, with a placeholder for its `tim`. Returns its
    /// size in bytes.
    pub fn push(&mut self, sender: MessageSender<'_>, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let MessageSender { id, wants_text, speaker } = sender;
        if let Some(senders) = &mut self.senders {
            senders.push((id, speaker.into()));
        } else if wants_text {
            self.wanted.push((self.messages.len(), id));
        }
        self.messages.push(encode);
        self.messages.newest_bytes()
    }

    /// Adds a message of the server, which nobody waits for.
    pub fn push_own(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.messages.push(encode);
    }

    /// Whether the outcome of a message is known only after the batch is published.
    pub fn is_remote(&self) -> bool {
        self.senders.is_some()
    }

    /// What became of messages whose senders wait for it.
    pub fn take_outcomes(&mut self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.outcomes)
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn messages_mut(&mut self) -> &mut EncodedMessages {
        &mut self.messages
    }

    pub(super) fn reserve(&mut self, bytes: u64) {
        self.reserved += bytes;
    }

    pub(super) fn take_reserved(&mut self) -> u64 {
        std::mem::take(&mut self.reserved)
    }

    /// The messages are published: notes what their senders want to know, and empties the
    /// batch.
    pub(super) fn settle(&mut self) {
        let Self { messages, wanted, outcomes, .. } = self;
        let sent = |(number, id): (usize, u64)| {
            (id, Outcome::Sent(messages.text(number).unwrap_or_default().to_vec().into()))
        };
        outcomes.extend(wanted.drain(..).map(sent));
        messages.clear();
    }

    /// Empties the batch, for another machine. `reserved` is what the messages have reserved
    /// together.
    pub(super) fn take_submissions(&mut self, reserved: u64) -> Vec<Submission> {
        let (shard, count) = (self.shard, self.messages.len() as u64);
        let senders = self.senders.as_mut().map(std::mem::take).unwrap_or_default();
        let submission = |(number, (id, speaker)): (usize, (u64, LoggedSpeaker))| {
            let text = self.messages.text(number).unwrap_or_default().to_vec();
            // The first one has the rest of the division.
            let rest = if number == 0 { reserved % count } else { 0 };
            let ticket = Ticket { shard, id, reserved: reserved / count + rest };
            Submission { message: LoggedMessage { text, speaker: Some(speaker) }, ticket }
        };
        let submissions = senders.into_iter().enumerate().map(submission).collect();
        self.messages.clear();
        submissions
    }
}
