//! Moderation actions: the action, its target and its actor. One type for the field `cmd`
//! of a message, the control socket and the command line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::address_block::AddressBlock;
use super::name::skeletons;
use super::retracted::{Retracted, TIMS_MAX};

/// The longest mute and the slowest slow mode, in seconds: a year and a day.
pub const SECS_MAX: u32 = 31_622_400;

/// An action of a moderator or an operator.
///
/// Its JSON is that of the control socket. A message has another form in its field
/// `cmd`, see [`from_command`](Self::from_command).
///
/// # Examples
///
/// ```
/// use wschat::chat::{ModAction, Target};
/// let json = r#"{"mute":{"whom":{"name":"bob"},"secs":600}}"#;
/// let action: ModAction = serde_json::from_str(json).unwrap();
/// assert_eq!(action, ModAction::Mute { target: Target::name("bob"), secs: Some(600) });
/// assert_eq!(serde_json::to_string(&action).unwrap(), json);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ModAction {
    /// Refuse the messages of the target.
    Mute {
        /// A name or an address.
        #[serde(rename = "whom", with = "OperatorTarget")]
        target: Target,
        /// For this many seconds; without it until unmuted.
        #[serde(default)]
        secs: Option<u32>,
    },
    /// End a mute.
    Unmute {
        /// The name or the address of the mute.
        #[serde(rename = "whom", with = "OperatorTarget")]
        target: Target,
    },
    /// Close the connections of the target, which can connect again.
    Kick {
        /// A name, an address or a connection.
        #[serde(rename = "whom", with = "OperatorTarget")]
        target: Target,
    },
    /// Let only moderators send messages.
    Lock,
    /// End a lock.
    Unlock,
    /// Change how long a speaker waits between two messages.
    Slow {
        /// This many seconds, 0 for no wait; without it as the configuration says.
        #[serde(default)]
        secs: Option<u32>,
    },
    /// Ask every client to hide messages.
    Retract(Retracted),
    /// Send a message of the server.
    Say {
        /// Its text.
        #[serde(rename = "msg")]
        text: String,
    },
}

/// The form of an action in the field `cmd`, without `secs`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Command {
    Mute(String),
    Unmute(String),
    Kick(String),
    Lock(bool),
    Unlock(bool),
    Slow(Option<u32>),
    #[serde(deserialize_with = "Retracted::from_command")]
    Retract(Retracted),
}

impl ModAction {
    /// Every [`verb`](Self::verb), for a table of counters.
    pub const VERBS: [&str; 8] =
        ["mute", "unmute", "kick", "lock", "unlock", "slow", "retract", "say"];

    /// Reads the value of the field `cmd`, in JSON. Returns `None` if it is not a
    /// valid action of a moderator.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{ModAction, Target};
    /// let action = ModAction::from_command(r#"{"mute":"bob","secs":600}"#);
    /// assert_eq!(action, Some(ModAction::Mute { target: Target::name("bob"), secs: Some(600) }));
    /// assert_eq!(ModAction::from_command(r#"{"dance":true}"#), None);
    /// ```
    pub fn from_command(json: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(json).ok()?;
        let secs = match fields.remove("secs") {
            Some(secs) => Some(serde_json::from_value(secs).ok()?),
            None => None,
        };
        // With two actions in one command it is unclear which one is meant.
        let command = (fields.len() == 1).then_some(Value::Object(fields))?;
        let action = match serde_json::from_value(command).ok()? {
            Command::Mute(name) => Self::Mute { target: Target::Name(name), secs },
            _ if secs.is_some() => return None,
            Command::Unmute(name) => Self::Unmute { target: Target::Name(name) },
            Command::Kick(name) => Self::Kick { target: Target::Name(name) },
            Command::Lock(true) => Self::Lock,
            Command::Unlock(true) => Self::Unlock,
            Command::Lock(false) | Command::Unlock(false) => return None,
            Command::Slow(secs) => Self::Slow { secs },
            Command::Retract(messages) => Self::Retract(messages),
        };
        action.check().ok().map(|()| action)
    }

    /// Checks values that the type cannot exclude.
    ///
    /// # Errors
    ///
    /// The first [`InvalidModAction`] that applies.
    pub fn check(&self) -> Result<(), InvalidModAction> {
        match self {
            Self::Mute { secs: Some(0), .. } => Err(InvalidModAction::ZeroSecs),
            _ if self.secs().is_some_and(|secs| secs > SECS_MAX) => {
                Err(InvalidModAction::SecsTooLarge)
            }
            Self::Say { text } if text.trim().is_empty() => Err(InvalidModAction::EmptyText),
            Self::Retract(messages) if messages.name().is_some_and(|it| it.trim().is_empty()) => {
                Err(InvalidModAction::EmptyName)
            }
            Self::Retract(Retracted::Found { tims, .. })
                if !(1..=TIMS_MAX).contains(&tims.len()) =>
            {
                Err(InvalidModAction::TimsNumber)
            }
            _ => match self.target() {
                Some(Target::Name(name)) if name.trim().is_empty() => {
                    Err(InvalidModAction::EmptyName)
                }
                _ => Ok(()),
            },
        }
    }

    /// The name of the action in commands, logs, metrics and acknowledgements.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Mute { .. } => "mute",
            Self::Unmute { .. } => "unmute",
            Self::Kick { .. } => "kick",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Slow { .. } => "slow",
            Self::Retract(_) => "retract",
            Self::Say { .. } => "say",
        }
    }

    /// The target, for the actions that have one.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Mute { target, .. } | Self::Unmute { target } | Self::Kick { target } => {
                Some(target)
            }
            _ => None,
        }
    }

    /// The target in a log and a list, for the actions that have one.
    pub fn whom(&self) -> Option<String> {
        match self {
            Self::Retract(messages) => messages.name().map(|name| format!("{name:?}")),
            action => action.target().map(ToString::to_string),
        }
    }

    /// How the room is if the action changes nothing.
    pub const fn unchanged(&self) -> &'static str {
        match self {
            Self::Lock => "the room is locked already",
            Self::Unlock => "the room is not locked",
            Self::Slow { .. } => "slow mode is as requested already",
            _ => "nothing has changed",
        }
    }

    /// Whether it changes who can send messages from now on.
    pub const fn is_lasting(&self) -> bool {
        match self {
            Self::Mute { .. }
            | Self::Unmute { .. }
            | Self::Lock
            | Self::Unlock
            | Self::Slow { .. } => true,
            Self::Kick { .. } | Self::Retract(_) | Self::Say { .. } => false,
        }
    }

    /// The seconds, for the actions that have some.
    pub const fn secs(&self) -> Option<u32> {
        match self {
            Self::Mute { secs, .. } | Self::Slow { secs } => *secs,
            _ => None,
        }
    }
}

/// What was done, for a log and an acknowledgement. What came from a client is
/// escaped.
impl fmt::Display for ModAction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mute { target, secs: Some(secs) } => write!(out, "muted {target} for {secs} s"),
            Self::Mute { target, secs: None } => write!(out, "muted {target} until unmuted"),
            Self::Unmute { target } => write!(out, "unmuted {target}"),
            Self::Kick { target } => write!(out, "kicked {target}"),
            Self::Lock => out.write_str("locked the room: only moderators can send messages"),
            Self::Unlock => out.write_str("unlocked the room"),
            Self::Slow { secs: Some(0) } => out.write_str("switched slow mode off"),
            Self::Slow { secs: Some(secs) } => write!(out, "set slow mode to {secs} s"),
            Self::Slow { secs: None } => out.write_str("set slow mode as configured"),
            Self::Retract(messages) => write!(out, "retracted {messages}"),
            Self::Say { text } => write!(out, "said {text:?}"),
        }
    }
}

/// The target of an action. The names of the variants are part of the stored
/// [`Moderation`](super::Moderation).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Speakers with this name or one that looks like it, and the bearers of tokens
    /// with exactly this `sub`.
    Name(String),
    /// Every client at this address.
    #[serde(rename = "From")]
    Address(AddressBlock),
    /// The connection with this id.
    Connection(u64),
    /// The bearers of tokens with this `sub` only. That is what remains of the mute
    /// of a name when another name that looks like it is unmuted.
    Sub(String),
}

/// The form of a [`Target`] at the control socket.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Target", rename_all = "lowercase")]
enum OperatorTarget {
    Name(String),
    Address(
        #[serde(serialize_with = "write_address", deserialize_with = "read_address")] AddressBlock,
    ),
    #[serde(rename = "id")]
    Connection(u64),
    #[serde(skip)]
    Sub(String),
}

fn write_address<S: Serializer>(block: &AddressBlock, out: S) -> Result<S::Ok, S::Error> {
    block.first_ip().serialize(out)
}

fn read_address<'de, D: Deserializer<'de>>(json: D) -> Result<AddressBlock, D::Error> {
    core::net::IpAddr::deserialize(json).map(AddressBlock::from)
}

impl Target {
    /// The target with this name.
    pub fn name(name: &str) -> Self {
        Self::Name(name.to_owned())
    }

    /// Whether this speaker is meant, or the connection with this id.
    pub fn matches(&self, speaker: &SpeakerId<'_>, connection_id: u64) -> bool {
        match self {
            Self::Name(name) => {
                let looks_like = || {
                    let wanted = skeletons(name);
                    skeletons(speaker.usr).iter().any(|skeleton| wanted.contains(skeleton))
                };
                speaker.sub == Some(name) || (!speaker.usr.is_empty() && looks_like())
            }
            Self::Sub(sub) => speaker.sub == Some(sub),
            Self::Address(block) => *block == speaker.address,
            Self::Connection(id) => *id == connection_id,
        }
    }
}

/// The target in a log and a list. Text from a client is escaped.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(out, "{name:?}"),
            Self::Address(block) => block.fmt(out),
            Self::Connection(id) => write!(out, "connection {id}"),
            Self::Sub(sub) => write!(out, "sub {sub:?}"),
        }
    }
}

/// Who does an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A moderator, who asks in the room.
    Moderator {
        /// The name of the connection.
        usr: String,
        /// The `sub` of its token.
        sub: Option<String>,
    },
    /// A user of the machine, who asks at the control socket.
    Operator {
        /// The user id.
        uid: u32,
        /// The name of the user, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The machine, in a room on several ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
}

impl Actor {
    /// The operator with this user id.
    pub const fn operator(uid: u32) -> Self {
        Self::Operator { uid, name: None, node: None }
    }

    /// Says on which machine an operator is.
    pub fn set_node(&mut self, name: &str) {
        if let Self::Operator { node, .. } = self {
            *node = Some(name.to_owned());
        }
    }
}

/// The actor in a log and a list. Text from a client is escaped.
impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moderator { usr, sub: None } => write!(out, "{usr:?}"),
            Self::Moderator { usr, sub: Some(sub) } => write!(out, "{usr:?} (sub {sub:?})"),
            Self::Operator { uid, name, node } => {
                match name {
                    Some(name) => write!(out, "{} (uid {uid})", name.escape_debug())?,
                    None => write!(out, "uid {uid}")?,
                }
                node.iter().try_for_each(|node| write!(out, " on {}", node.escape_debug()))
            }
        }
    }
}

/// Why an action is invalid, whatever the state of the room.
#[allow(missing_docs, reason = "the texts describe the variants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModAction {
    #[error("a mute of 0 seconds has no effect; unmute ends a mute")]
    ZeroSecs,
    #[error("secs is over {SECS_MAX}, a year")]
    SecsTooLarge,
    #[error("the name is empty")]
    EmptyName,
    #[error("a list of messages to retract has 1 to {TIMS_MAX} times")]
    TimsNumber,
    #[error("the text is empty")]
    EmptyText,
}

/// Why an action was not done.
#[allow(missing_docs, reason = "the texts describe the variants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModActionError {
    #[error("this user or address is not muted")]
    NotMuted,
    #[error("the list of mutes is full; remove a mute first")]
    TooMany,
    #[error("the room has sent no message with this tim")]
    NoMessage,
    #[error("a single connection cannot be muted; mute its name or address")]
    Connection,
    #[error("the cluster cannot be reached at the moment")]
    Unavailable,
    #[error("it is not known whether it was done")]
    Unknown,
}

/// A speaker as moderation sees it.
#[derive(Clone, Copy, Debug)]
pub struct SpeakerId<'a> {
    /// The name of the message.
    pub usr: &'a str,
    /// The `sub` of the token.
    pub sub: Option<&'a str>,
    /// The address of the connection.
    pub address: AddressBlock,
    /// Whether the token makes its bearer a moderator.
    pub is_moderator: bool,
}

#[cfg(test)]
mod tests;
