//! The commands of a moderator, for operators: `wschat mute` and others.

use std::net::{IpAddr, Ipv6Addr};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::args::ControlArgs;
use super::failure::CommandResult;
use super::output::print;
use crate::chat::{AddressBlock, ModAction, Retracted, Target, Tim};
use crate::control::{ControlRequest, ModerateReply};

/// The subcommands that moderate the room.
#[derive(Debug, Subcommand)]
pub enum ModerateCommand {
    /// Mute a name or an address: the room sends none of its messages
    #[command(after_help = "\
A muted sender gets a notice with the remaining time. Mutes survive a restart and
a crash; `wschat mutes` lists them.

    wschat mute bob --for 10m
    wschat mute --address 192.0.2.7")]
    Mute {
        #[command(flatten)]
        target: TargetArgs,
        /// Mute for this time (600, 10m, 1h 30m) instead of until unmuted
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        secs: Option<u32>,
        #[command(flatten)]
        control: ControlArgs,
    },
    /// End the mutes of a name or an address; exits 1 if it is not muted
    Unmute {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        control: ControlArgs,
    },
    /// Close the connections of a name or an address; exits 1 if there are none
    #[command(after_help = "\
The close code is 1008, the reason is \"kicked\". The client can connect again; to
prevent it from sending messages, mute it or revoke its token.")]
    Kick {
        #[command(flatten)]
        target: TargetArgs,
        /// The connection with this id, as listed by `wschat clients`
        #[arg(long, value_name = "ID", group = "who")]
        id: Option<u64>,
        #[command(flatten)]
        control: ControlArgs,
    },
    /// Allow only moderators to send messages
    Lock(ControlArgs),
    /// Allow everyone to send messages again
    Unlock(ControlArgs),
    /// Make everyone except moderators wait between two messages
    Slow {
        /// Time between two messages of a sender (30, 1m), `off`, or `configured`
        #[arg(value_name = "TIME", value_parser = slow)]
        action: ModAction,
        #[command(flatten)]
        control: ControlArgs,
    },
    /// Tell every client to hide a message, or all of a name; exits 1 if there is none
    #[command(after_help = "\
Web pages and terminal clients then hide the message or mark it as retracted. The
record of messages keeps the message and its retraction.

With --all-of the messages are those that the room has in memory (see
limits.feed_tail_bytes). To prevent further ones, mute the name first.")]
    Retract {
        /// The tim of the message
        #[arg(value_name = "TIM", required_unless_present = "all_of")]
        tim: Option<Tim>,
        /// All messages of this name, or a name that looks like it, that the room still has
        #[arg(long, value_name = "NAME", conflicts_with = "tim")]
        all_of: Option<String>,
        #[command(flatten)]
        control: ControlArgs,
    },
    /// Send a message to everyone in the name of the server
    Say {
        /// The text of the message
        #[arg(value_name = "TEXT", required = true)]
        text: Vec<String>,
        #[command(flatten)]
        control: ControlArgs,
    },
}

/// The target of a command.
#[derive(Debug, Args)]
#[group(id = "who", required = true, multiple = false)]
pub struct TargetArgs {
    /// All clients that use this name, a name that looks like it, or a token with this sub
    #[arg(value_name = "NAME", group = "who")]
    name: Option<String>,
    /// All clients from this IPv4 address, or from the /64 of this IPv6 address
    #[arg(long, value_name = "IP", group = "who", value_parser = address)]
    address: Option<AddressBlock>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        match (args.address, args.name) {
            (Some(block), _) => Self::Address(block),
            // The group guarantees that there is a name.
            (None, name) => Self::Name(name.unwrap_or_default()),
        }
    }
}

/// Sends the request and prints what the daemon did.
pub fn run(command: ModerateCommand) -> CommandResult {
    let (act, control) = action(command);
    let needs_some = matches!(act, ModAction::Kick { .. } | ModAction::Retract(Retracted::Name(_)));
    let reply: ModerateReply = control.ask(&ControlRequest::Moderate { act })?;
    let ModerateReply { mut done, connections, messages, silent_nodes } = reply;
    if !needs_some {
        return print(&format!("{done}\n"));
    }
    for (what, number) in [
        ("connections", connections),
        ("messages", messages),
        ("nodes that did not answer", silent_nodes as u64),
    ] {
        if number > 0 {
            done += &format!(", {what}: {number}");
        }
    }
    print(&format!("{done}\n"))?;
    Ok(ExitCode::from(u8::from(connections + messages == 0)))
}

fn action(command: ModerateCommand) -> (ModAction, ControlArgs) {
    match command {
        ModerateCommand::Mute { target, secs, control } => {
            (ModAction::Mute { target: target.into(), secs }, control)
        }
        ModerateCommand::Unmute { target, control } => {
            (ModAction::Unmute { target: target.into() }, control)
        }
        ModerateCommand::Kick { target, id, control } => {
            let target = id.map_or_else(|| target.into(), Target::Connection);
            (ModAction::Kick { target }, control)
        }
        ModerateCommand::Lock(control) => (ModAction::Lock, control),
        ModerateCommand::Unlock(control) => (ModAction::Unlock, control),
        ModerateCommand::Slow { action, control } => (action, control),
        ModerateCommand::Retract { tim, all_of, control } => {
            // One of them is there.
            let name = Retracted::Name(all_of.unwrap_or_default());
            (ModAction::Retract(tim.map_or(name, Retracted::Tim)), control)
        }
        ModerateCommand::Say { text, control } => {
            (ModAction::Say { text: text.join(" ") }, control)
        }
    }
}

/// An IP address, or the /64 of an IPv6 address, as `wschat mutes` and `wschat top` show it.
fn address(text: &str) -> Result<AddressBlock, &'static str> {
    let parsed = match text.strip_suffix("/64") {
        Some(network) => network.parse().map(|ip: Ipv6Addr| IpAddr::V6(ip)),
        None => text.parse(),
    };
    match parsed {
        Ok(ip) if ip.to_canonical() == ip || !text.ends_with("/64") => Ok(ip.into()),
        _ => Err("not an IP address without a port, or the /64 of an IPv6 address"),
    }
}

/// A number of seconds, or a time like `1h 30m`.
fn seconds(text: &str) -> Result<u32, &'static str> {
    if let Ok(secs) = text.parse() {
        return Ok(secs);
    }
    let time = humantime::parse_duration(text).map_err(|_| "not a time like 600, 10m or 1h 30m")?;
    u32::try_from(time.as_secs()).map_err(|_| "longer than a year")
}

fn slow(text: &str) -> Result<ModAction, &'static str> {
    let secs = match text {
        "off" => Some(0),
        "configured" => None,
        time => Some(seconds(time)?),
    };
    Ok(ModAction::Slow { secs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("::/64", "::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), want, "{text}");
        }
        for text in
            ["", "unix", "192.0.2.7:80", "192.0.2.0/24", "192.0.2.7/64", "2001:db8::/48", "/64"]
        {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(address("::ffff:192.0.2.7/64").is_err(), "the /64 of many IPv4 addresses");
    }

    #[test]
    fn times() {
        for (text, want) in [("600", 600), ("10m", 600), ("1h 30m", 5400)] {
            assert_eq!(seconds(text), Ok(want), "{text}");
        }
        for text in ["", "soon", "-1", "200years", "1.5"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        for (text, secs) in [("off", Some(0)), ("configured", None), ("1m", Some(60))] {
            assert_eq!(slow(text), Ok(ModAction::Slow { secs }), "{text}");
        }
    }
}
