//! Acts of moderation: what is done, to whom, by whom.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chat::name::looks;
use crate::chat::rate::AddressBlock;
use crate::chat::tim::Tim;

/// An act of moderation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModAction {
    /// Nothing that they say is sent, for so many seconds, or until unmuted.
    Mute(Target, Option<u32>),
    /// They may speak again.
    Unmute(Target),
    /// Their connections are closed; nothing keeps them from coming back.
    Kick(Target),
    /// Only moderators speak.
    Lock,
    /// Everybody may speak again.
    Unlock,
    /// Seconds that everybody has to wait between two messages; none is what
    /// the configuration says.
    Slow(Option<u32>),
    /// The message of this `tim` should not be shown any more.
    Retract(Tim),
    /// The server says this.
    Say(String),
}

impl ModAction {
    /// Every [`verb`](Self::verb), for a table of counters.
    pub const VERBS: [&str; 8] =
        ["mute", "unmute", "kick", "lock", "unlock", "slow", "retract", "say"];

    /// What it is called, in a command and in a log.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Mute(..) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Kick(_) => "kick",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Slow(_) => "slow",
            Self::Retract(_) => "retract",
            Self::Say(_) => "say",
        }
    }

    /// Whom it is about, if it is about somebody.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Mute(target, _) | Self::Unmute(target) | Self::Kick(target) => Some(target),
            _ => None,
        }
    }

    /// The seconds that it names.
    pub const fn secs(&self) -> Option<u32> {
        match self {
            Self::Mute(_, secs) | Self::Slow(secs) => *secs,
            _ => None,
        }
    }
}

/// What was done, for a log and for who did it; what came from a client is
/// escaped.
impl fmt::Display for ModAction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mute(target, Some(secs)) => write!(out, "muted {target} for {secs} s"),
            Self::Mute(target, None) => write!(out, "muted {target} until unmuted"),
            Self::Unmute(target) => write!(out, "unmuted {target}"),
            Self::Kick(target) => write!(out, "kicked {target}"),
            Self::Lock => out.write_str("locked the room: only moderators speak"),
            Self::Unlock => out.write_str("unlocked the room"),
            Self::Slow(Some(0)) => out.write_str("switched slow mode off"),
            Self::Slow(Some(secs)) => write!(out, "set slow mode to {secs} s"),
            Self::Slow(None) => out.write_str("set slow mode as configured"),
            Self::Retract(tim) => write!(out, "retracted {tim}"),
            Self::Say(words) => write!(out, "said {words:?}"),
        }
    }
}

/// Whom an act is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Whoever uses this name or one that looks like it, and the bearer of
    /// tokens with this `sub`, which is compared to the letter.
    Name(String),
    /// Whoever comes from there.
    From(AddressBlock),
    /// The one connection with this id.
    Connection(u64),
    /// The bearer of tokens with this `sub` alone: what is left of a mute when one
    /// of a name that looks like it has ended.
    Sub(String),
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A moderator of this name, whose token has this `sub`.
    Moderator {
        /// As in the message.
        usr: String,
        /// As in the token.
        sub: Option<String>,
    },
    /// A user of the machine, through the control socket.
    Operator {
        /// The user's number.
        uid: u32,
    },
}

/// Why an act was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModActionError {
    /// Nobody of that name is muted.
    #[error("nobody of that name is muted")]
    NotMuted,
    /// There are as many mutes as there may be.
    #[error("as many are muted as can be; unmute some first")]
    TooMany,
    /// No message had this `tim`.
    #[error("the room has had no message of this time")]
    NoMessage,
    /// A mute is about a name or an address.
    #[error("a single connection cannot be muted; mute its name or address")]
    Connection,
}

/// Somebody who wants to speak, as moderation sees it.
#[derive(Clone, Copy, Debug)]
pub struct SpeakerId<'a> {
    /// Under which name.
    pub usr: &'a str,
    /// The `sub` of its token.
    pub sub: Option<&'a str>,
    /// Where it comes from.
    pub from: AddressBlock,
    /// Whether its token makes it a moderator.
    pub is_moderator: bool,
}

impl Target {
    /// Whoever has that name.
    pub fn name(name: &str) -> Self {
        Self::Name(name.to_owned())
    }

    /// Whether that is who speaks so, on the connection of that id.
    pub fn is(&self, voice: &SpeakerId<'_>, id: Option<u64>) -> bool {
        match self {
            Self::Name(name) => {
                let looks_like = || {
                    let wanted = looks(name);
                    looks(voice.usr).iter().any(|look| wanted.contains(look))
                };
                voice.sub == Some(name) || (!voice.usr.is_empty() && looks_like())
            }
            Self::Sub(sub) => voice.sub == Some(sub),
            Self::From(block) => *block == voice.from,
            Self::Connection(wanted) => id == Some(*wanted),
        }
    }
}

/// As a log and a list name them; what came from a client is escaped.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(out, "{name:?}"),
            Self::From(block) => block.fmt(out),
            Self::Connection(id) => write!(out, "connection {id}"),
            Self::Sub(sub) => write!(out, "sub {sub:?}"),
        }
    }
}

/// As a log and a list name them; what came from a client is escaped.
impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moderator { usr, sub: None } => write!(out, "{usr:?}"),
            Self::Moderator { usr, sub: Some(sub) } => write!(out, "{usr:?} (sub {sub:?})"),
            Self::Operator { uid } => write!(out, "uid {uid}"),
        }
    }
}
