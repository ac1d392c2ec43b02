//! `wschat mutes`.

use clap::Args;

use super::args::ControlArgs;
use super::failure::CommandResult;
use super::output::{json_line, print};
use crate::control::{ControlRequest, ModerationStatus};
use crate::zone::local_time;

#[derive(Debug, Args)]
pub struct MutesArgs {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Prints what moderators and operators have decided.
pub fn run(args: &MutesArgs) -> CommandResult {
    let decisions: ModerationStatus = args.control.ask(&ControlRequest::Mutes {})?;
    print(&if args.json { json_line(&decisions)? } else { describe(&decisions) })
}

fn describe(decisions: &ModerationStatus) -> String {
    let mut text = String::new();
    for mute in &decisions.mutes {
        let until = mute.until.map_or_else(|| "unmuted".to_owned(), local_time);
        let since = local_time(mute.since);
        text += &format!("{} since {since} until {until}, by {}\n", mute.whom, mute.by);
    }
    if decisions.locked {
        text += "the room is locked: only moderators can send messages\n";
    }
    match decisions.slow_mode_secs {
        Some(0) => text += "slow mode is off, regardless of the configuration\n",
        Some(secs) => text += &format!("slow mode: {secs} s between two messages\n"),
        None => {}
    }
    if text.is_empty() {
        text += "there are no mutes\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::{Local, TimeZone};

    use super::*;
    use crate::control::Muted;

    #[test]
    fn descriptions() {
        let nothing = ModerationStatus { locked: false, slow_mode_secs: None, mutes: Vec::new() };
        assert_eq!(describe(&nothing), "there are no mutes\n");
        let at = |secs| Local.with_ymd_and_hms(2026, 1, 2, 10, 41, secs).unwrap().to_utc();
        let mute = |whom: &str, until| {
            let (whom, by) = (whom.into(), "uid 0".into());
            Muted { whom, since: at(5), until, by }
        };
        let all = ModerationStatus {
            locked: true,
            slow_mode_secs: Some(30),
            mutes: vec![mute(r#""bob""#, None), mute("192.0.2.7", Some(at(59)))],
        };
        assert_eq!(
            describe(&all),
            format!(
                "\"bob\" since {0} until unmuted, by uid 0\n\
                 192.0.2.7 since {0} until {1}, by uid 0\n\
                 the room is locked: only moderators can send messages\n\
                 slow mode: 30 s between two messages\n",
                local_time(at(5)),
                local_time(at(59))
            )
        );
    }
}
