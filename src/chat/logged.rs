//! Messages on their way through a log that several machines read: with all that moderation
//! has to know of their senders, because each machine decides at their place in the log.

use serde::{Deserialize, Serialize};

use super::address_block::AddressBlock;
use super::mod_action::SpeakerId;

/// A message that waits for its place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedMessage {
    /// The encoded message, with a placeholder for its `tim`.
    #[serde(with = "serde_bytes")]
    pub text: Vec<u8>,
    /// Who has sent it; `None` for the server itself, which nothing restricts.
    pub speaker: Option<LoggedSpeaker>,
}

/// Who has sent a message, as moderation sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedSpeaker {
    /// The name of the message.
    pub usr: String,
    /// The `sub` of the token.
    pub sub: Option<String>,
    /// The address of the connection.
    pub address: AddressBlock,
    /// Whether the token makes its bearer a moderator.
    pub is_moderator: bool,
}

impl LoggedSpeaker {
    /// The speaker as moderation sees it.
    pub fn id(&self) -> SpeakerId<'_> {
        let Self { usr, sub, address, is_moderator } = self;
        SpeakerId { usr, sub: sub.as_deref(), address: *address, is_moderator: *is_moderator }
    }
}

impl From<SpeakerId<'_>> for LoggedSpeaker {
    fn from(speaker: SpeakerId<'_>) -> Self {
        let SpeakerId { usr, sub, address, is_moderator } = speaker;
        Self { usr: usr.to_owned(), sub: sub.map(str::to_owned), address, is_moderator }
    }
}
