//! Acts of moderation in the words of the control socket.
//!
//! ```text
//! {"do":"moderate","act":{"mute":{"whom":{"name":"bob"},"secs":600}}}
//! {"ok":{"done":"muted \"bob\" for 600 s","connections":0}}
//! {"do":"moderate","act":{"kick":{"whom":{"id":7}}}}
//! {"do":"moderate","act":"lock"}
//! ```

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::chat::{ModAction, SECS_MAX, Target};
use crate::control::protocol::{Code, ControlError};

/// What an operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModerateRequest {
    /// Let nothing that somebody says be sent.
    Mute {
        /// Who; no single connection.
        whom: TargetSpec,
        /// For how many seconds; if it is not said, until unmuted.
        #[serde(default)]
        secs: Option<u32>,
    },
    /// Let somebody speak again.
    Unmute {
        /// Who.
        whom: TargetSpec,
    },
    /// Close somebody's connections.
    Kick {
        /// Who.
        whom: TargetSpec,
    },
    /// Let only moderators speak.
    Lock,
    /// Let everybody speak again.
    Unlock,
    /// Let everybody wait between two messages.
    Slow {
        /// So many seconds, 0 for not at all; if it is not said, as configured.
        #[serde(default)]
        secs: Option<u32>,
    },
    /// Tell everybody not to show a message any more.
    Retract {
        /// The message's `tim`.
        tim: String,
    },
    /// Say something in the server's name.
    Say {
        /// What.
        msg: String,
    },
}

/// Whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSpec {
    /// Whoever uses this name or one that looks like it, or a token with this
    /// `sub`.
    Name(String),
    /// Whoever comes from this address; of an IPv6 one from its /64.
    Address(IpAddr),
    /// The connection with this id.
    Id(u64),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderated {
    /// In words.
    pub done: String,
    /// Connections that were closed.
    pub connections: usize,
}

/// What is decided now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Whether only moderators speak.
    pub locked: bool,
    /// The seconds between two messages, where they are not as configured.
    pub slow_mode_secs: Option<u32>,
    /// Who is muted.
    pub mutes: Vec<Muted>,
}

/// Somebody who is muted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    /// A name, in quotes and escaped, or an address.
    pub whom: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; if it is not said, until unmuted.
    pub until: Option<DateTime<Utc>>,
    /// Who did it.
    pub by: String,
}

impl TryFrom<ModerateRequest> for ModAction {
    type Error = ControlError;

    fn try_from(deed: ModerateRequest) -> Result<Self, ControlError> {
        Ok(match deed {
            ModerateRequest::Mute { secs: Some(0), .. } => {
                return Err(bad("a mute of 0 seconds is none; unmute ends one"));
            }
            ModerateRequest::Mute { whom, secs } => Self::Mute(whom.try_into()?, within(secs)?),
            ModerateRequest::Unmute { whom } => Self::Unmute(whom.try_into()?),
            ModerateRequest::Kick { whom } => Self::Kick(whom.try_into()?),
            ModerateRequest::Lock => Self::Lock,
            ModerateRequest::Unlock => Self::Unlock,
            ModerateRequest::Slow { secs } => Self::Slow(within(secs)?),
            ModerateRequest::Retract { tim } => match tim.parse() {
                Ok(tim) => Self::Retract(tim),
                Err(error) => return Err(bad(&format!("tim: {error}"))),
            },
            ModerateRequest::Say { msg } if msg.trim().is_empty() => {
                return Err(bad("there is nothing to say"));
            }
            ModerateRequest::Say { msg } => Self::Say(msg),
        })
    }
}

impl TryFrom<TargetSpec> for Target {
    type Error = ControlError;

    fn try_from(whom: TargetSpec) -> Result<Self, ControlError> {
        match whom {
            TargetSpec::Name(name) if name.trim().is_empty() => Err(bad("the name is empty")),
            TargetSpec::Name(name) => Ok(Self::name(&name)),
            TargetSpec::Address(ip) => Ok(Self::From(ip.into())),
            TargetSpec::Id(id) => Ok(Self::Connection(id)),
        }
    }
}

fn within(secs: Option<u32>) -> Result<Option<u32>, ControlError> {
    match secs {
        Some(secs) if secs > SECS_MAX => Err(bad(&format!("secs is over {SECS_MAX}, a year"))),
        secs => Ok(secs),
    }
}

fn bad(what: &str) -> ControlError {
    ControlError::new(Code::BadRequest, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Request, parse};

    fn act(json: &str) -> Result<ModAction, ControlError> {
        let line = format!(r#"{{"do":"moderate","act":{json}}}"#);
        let request = parse(line.as_bytes())?;
        let again = parse(serde_json::to_string(&request).unwrap().as_bytes());
        assert_eq!(again.as_ref(), Ok(&request), "{json}");
        let Request::Moderate { act } = request else { panic!("{json}") };
        act.try_into()
    }

    #[test]
    fn what_an_operator_can_want() {
        let bob = || Target::name("bob");
        let there = "192.0.2.7".parse::<IpAddr>().unwrap();
        for (json, want) in [
            (r#"{"mute":{"whom":{"name":"bob"},"secs":600}}"#, ModAction::Mute(bob(), Some(600))),
            (r#"{"mute":{"whom":{"name":" bob "}}}"#, ModAction::Mute(Target::name(" bob "), None)),
            (
                r#"{"mute":{"whom":{"address":"192.0.2.7"}}}"#,
                ModAction::Mute(Target::From(there.into()), None),
            ),
            (r#"{"unmute":{"whom":{"name":"bob"}}}"#, ModAction::Unmute(bob())),
            (r#"{"kick":{"whom":{"id":7}}}"#, ModAction::Kick(Target::Connection(7))),
            (r#""lock""#, ModAction::Lock),
            (r#""unlock""#, ModAction::Unlock),
            (r#"{"slow":{"secs":30}}"#, ModAction::Slow(Some(30))),
            (r#"{"slow":{}}"#, ModAction::Slow(None)),
            (r#"{"say":{"msg":"hi"}}"#, ModAction::Say("hi".into())),
        ] {
            assert_eq!(act(json), Ok(want), "{json}");
        }
    }

    #[test]
    fn what_an_operator_cannot_want() {
        for json in [
            r#""dance""#,
            r#"{"mute":{}}"#,
            r#"{"mute":{"whom":{}}}"#,
            r#"{"mute":{"whom":{"name":"bob","id":7}}}"#,
            r#"{"mute":{"whom":{"name":" "}}}"#,
            r#"{"mute":{"whom":{"address":"bob"}}}"#,
            r#"{"mute":{"whom":{"name":"bob"},"secs":0}}"#,
            r#"{"mute":{"whom":{"name":"bob"},"secs":31622401}}"#,
            r#"{"mute":{"whom":{"name":"bob"},"why":"spam"}}"#,
            r#"{"slow":{"secs":-1}}"#,
            r#"{"retract":{"tim":"now"}}"#,
            r#"{"say":{"msg":" "}}"#,
        ] {
            assert_eq!(act(json).map_err(|fault| fault.err), Err(Code::BadRequest), "{json}");
        }
    }
}
