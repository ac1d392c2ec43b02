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

use super::protocol::{Code, Fault};
use crate::chat::{Act, SECS_MAX, Target};

/// What an operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deed {
    /// Let nothing that somebody says be sent.
    Mute {
        /// Who; no single connection.
        whom: Whom,
        /// For how many seconds; if it is not said, until unmuted.
        #[serde(default)]
        secs: Option<u32>,
    },
    /// Let somebody speak again.
    Unmute {
        /// Who.
        whom: Whom,
    },
    /// Close somebody's connections.
    Kick {
        /// Who.
        whom: Whom,
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
pub enum Whom {
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

impl TryFrom<Deed> for Act {
    type Error = Fault;

    fn try_from(deed: Deed) -> Result<Self, Fault> {
        Ok(match deed {
            Deed::Mute { secs: Some(0), .. } => {
                return Err(bad("a mute of 0 seconds is none; unmute ends one"));
            }
            Deed::Mute { whom, secs } => Self::Mute(whom.try_into()?, within(secs)?),
            Deed::Unmute { whom } => Self::Unmute(whom.try_into()?),
            Deed::Kick { whom } => Self::Kick(whom.try_into()?),
            Deed::Lock => Self::Lock,
            Deed::Unlock => Self::Unlock,
            Deed::Slow { secs } => Self::Slow(within(secs)?),
            Deed::Retract { tim } => match tim.parse() {
                Ok(tim) => Self::Retract(tim),
                Err(error) => return Err(bad(&format!("tim: {error}"))),
            },
            Deed::Say { msg } if msg.trim().is_empty() => {
                return Err(bad("there is nothing to say"));
            }
            Deed::Say { msg } => Self::Say(msg),
        })
    }
}

impl TryFrom<Whom> for Target {
    type Error = Fault;

    fn try_from(whom: Whom) -> Result<Self, Fault> {
        match whom {
            Whom::Name(name) if name.trim().is_empty() => Err(bad("the name is empty")),
            Whom::Name(name) => Ok(Self::name(&name)),
            Whom::Address(ip) => Ok(Self::From(ip.into())),
            Whom::Id(id) => Ok(Self::Connection(id)),
        }
    }
}

fn within(secs: Option<u32>) -> Result<Option<u32>, Fault> {
    match secs {
        Some(secs) if secs > SECS_MAX => Err(bad(&format!("secs is over {SECS_MAX}, a year"))),
        secs => Ok(secs),
    }
}

fn bad(what: &str) -> Fault {
    Fault::new(Code::BadRequest, what)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Request, parse};
    use super::*;

    fn act(json: &str) -> Result<Act, Fault> {
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
            (r#"{"mute":{"whom":{"name":"bob"},"secs":600}}"#, Act::Mute(bob(), Some(600))),
            (r#"{"mute":{"whom":{"name":" bob "}}}"#, Act::Mute(Target::name(" bob "), None)),
            (
                r#"{"mute":{"whom":{"address":"192.0.2.7"}}}"#,
                Act::Mute(Target::From(there.into()), None),
            ),
            (r#"{"unmute":{"whom":{"name":"bob"}}}"#, Act::Unmute(bob())),
            (r#"{"kick":{"whom":{"id":7}}}"#, Act::Kick(Target::Connection(7))),
            (r#""lock""#, Act::Lock),
            (r#""unlock""#, Act::Unlock),
            (r#"{"slow":{"secs":30}}"#, Act::Slow(Some(30))),
            (r#"{"slow":{}}"#, Act::Slow(None)),
            (r#"{"say":{"msg":"hi"}}"#, Act::Say("hi".into())),
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
