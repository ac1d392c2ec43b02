//! `wschat mute`, `unmute`, `kick`, `lock`, `unlock`, `slow`, `retract`, `say`:
//! what a moderator does in the room, done by an operator.

use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;

use super::ask::print;
use super::{ControlArgs, Outcome};
use crate::chat::{ModAction, Target, Tim};
use crate::control::{Moderated, Request};

/// Whom a command is about.
#[derive(Debug, Clone, Args)]
#[group(id = "who", required = true, multiple = false)]
pub struct WhomArgs {
    /// Whoever uses this name or one that looks like it, or a token with this sub
    #[arg(value_name = "NAME", group = "who")]
    pub name: Option<String>,
    /// Whoever comes from this address; of an IPv6 one from its /64
    #[arg(long, value_name = "IP", group = "who")]
    pub address: Option<IpAddr>,
}

impl WhomArgs {
    fn target(&self) -> Target {
        match (self.address, &self.name) {
            (Some(address), _) => Target::Address(address.into()),
            // The parser has seen to it that there is one.
            (None, name) => Target::Name(name.clone().unwrap_or_default()),
        }
    }
}

/// The options of `mute`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
It is told how long it has to wait when it tries to speak. A mute outlives a
restart and a crash; `wschat mutes` lists them.

    wschat mute bob --for 10m
    wschat mute --address 192.0.2.7")]
pub struct MuteArgs {
    /// Who.
    #[command(flatten)]
    pub whom: WhomArgs,
    /// For so long (600, 10m, 1h 30m) instead of until unmuted
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<Seconds>,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The options of `unmute`.
#[derive(Debug, Clone, Args)]
pub struct UnmuteArgs {
    /// Who.
    #[command(flatten)]
    pub whom: WhomArgs,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The options of `kick`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Nothing keeps whoever was kicked from coming back; a mute or a revoked token
does. Its connections are closed with 1008, kicked.")]
pub struct KickArgs {
    /// Who.
    #[command(flatten)]
    pub whom: WhomArgs,
    /// The one connection with this id, as `wschat clients` lists it
    #[arg(long, value_name = "ID", group = "who")]
    pub id: Option<u64>,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The options of `slow`.
#[derive(Debug, Clone, Args)]
pub struct SlowArgs {
    /// Time between two messages of a speaker (30, 1m), `off`, or `configured`
    #[arg(value_name = "TIME")]
    pub pause: Pause,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The options of `retract`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Pages and terminal clients then hide the message or mark it. Who has read it has
read it, and the record of messages keeps both.")]
pub struct RetractArgs {
    /// The tim of the message
    #[arg(value_name = "TIM")]
    pub tim: Tim,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The options of `say`.
#[derive(Debug, Clone, Args)]
pub struct SayArgs {
    /// What to say in the name of the server
    #[arg(value_name = "TEXT", required = true)]
    pub text: Vec<String>,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// A time in whole seconds: a number of them, or as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(u32);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(secs) = text.parse() {
            return Ok(Self(secs));
        }
        let time = humantime::parse_duration(text)
            .map_err(|_| "not a time like 600, 10m or 1h 30m".to_owned())?;
        u32::try_from(time.as_secs()).map(Self).map_err(|_| "longer than a year".to_owned())
    }
}

/// What slow mode is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// So long.
    For(Seconds),
    /// As the configuration says.
    Configured,
}

impl FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::For(Seconds(0))),
            "configured" => Ok(Self::Configured),
            time => time.parse().map(Self::For),
        }
    }
}

/// `wschat mute`.
///
/// # Errors
///
/// No answer, or why nothing was done; so it is with all commands here.
pub fn mute(args: &MuteArgs) -> Outcome {
    let secs = args.time.map(|Seconds(secs)| secs);
    have_done(&args.control, ModAction::Mute { target: args.whom.target(), secs })
}

/// `wschat unmute`.
///
/// # Errors
///
/// As [`mute`].
pub fn unmute(args: &UnmuteArgs) -> Outcome {
    have_done(&args.control, ModAction::Unmute { target: args.whom.target() })
}

/// `wschat kick`: exit code 1 if there was nobody to kick.
///
/// # Errors
///
/// As [`mute`].
pub fn kick(args: &KickArgs) -> Outcome {
    let target = args.id.map_or_else(|| args.whom.target(), Target::Connection);
    let moderated = ask(&args.control, ModAction::Kick { target })?;
    print(&format!("{}, connections: {}\n", moderated.done, moderated.connections))?;
    Ok(ExitCode::from(u8::from(moderated.connections == 0)))
}

/// `wschat lock`.
///
/// # Errors
///
/// As [`mute`].
pub fn lock(args: &ControlArgs) -> Outcome {
    have_done(args, ModAction::Lock)
}

/// `wschat unlock`.
///
/// # Errors
///
/// As [`mute`].
pub fn unlock(args: &ControlArgs) -> Outcome {
    have_done(args, ModAction::Unlock)
}

/// `wschat slow`.
///
/// # Errors
///
/// As [`mute`].
pub fn slow(args: &SlowArgs) -> Outcome {
    let secs = match args.pause {
        Pause::For(Seconds(secs)) => Some(secs),
        Pause::Configured => None,
    };
    have_done(&args.control, ModAction::Slow { secs })
}

/// `wschat retract`.
///
/// # Errors
///
/// As [`mute`].
pub fn retract(args: &RetractArgs) -> Outcome {
    have_done(&args.control, ModAction::Retract { tim: args.tim })
}

/// `wschat say`.
///
/// # Errors
///
/// As [`mute`].
pub fn say(args: &SayArgs) -> Outcome {
    have_done(&args.control, ModAction::Say { text: args.text.join(" ") })
}

/// Has it done, and prints what was done.
fn have_done(control: &ControlArgs, action: ModAction) -> Outcome {
    print(&format!("{}\n", ask(control, action)?.done))?;
    Ok(ExitCode::SUCCESS)
}

fn ask(control: &ControlArgs, act: ModAction) -> Result<Moderated, super::Failure> {
    control.ask(&Request::Moderate { act }).map_err(|error| control.failure(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, want) in [("600", Some(600)), ("10m", Some(600)), ("1h 30m", Some(5400))] {
            assert_eq!(text.parse().ok(), want.map(Seconds), "{text}");
        }
        for text in ["", "soon", "-1", "200years", "1.5"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
        assert_eq!("off".parse(), Ok(Pause::For(Seconds(0))));
        assert_eq!("configured".parse(), Ok(Pause::Configured));
        assert_eq!("1m".parse(), Ok(Pause::For(Seconds(60))));
    }
}
