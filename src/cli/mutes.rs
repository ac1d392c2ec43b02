//! `wschat mutes`: who is muted, and what else is decided.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use super::ask::print;
use super::{ControlArgs, Exit, Failure, Outcome};
use crate::control::{Decisions, Request};
use crate::zone;

/// The options of `mutes`.
#[derive(Debug, Clone, Args)]
pub struct MutesArgs {
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Prints what is decided.
///
/// # Errors
///
/// No answer; standard output that cannot be written.
pub fn run(args: &MutesArgs) -> Outcome {
    let asked = args.control.ask(&Request::Mutes {});
    let decisions: Decisions = asked.map_err(|error| args.control.failure(error))?;
    let text = if args.json {
        let line = serde_json::to_string(&decisions);
        line.map_err(|error| Failure::new(Exit::Unavailable, "answer", error))? + "\n"
    } else {
        words(&decisions)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// For people: a line for each mute, and for all else that is not as usual.
fn words(decisions: &Decisions) -> String {
    let local = |at: DateTime<Utc>| at.with_timezone(zone::here()).format("%F %T").to_string();
    let mut text = String::new();
    for muted in &decisions.mutes {
        let until = muted.until.map_or_else(|| "unmuted".to_owned(), local);
        text += &format!(
            "{} since {} until {until}, by {}\n",
            muted.whom,
            local(muted.since),
            muted.by
        );
    }
    if decisions.locked {
        text += "the room is locked: only moderators speak\n";
    }
    match decisions.slow_mode_secs {
        Some(0) => text += "slow mode is off, whatever the configuration says\n",
        Some(secs) => text += &format!("slow mode: {secs} s between two messages\n"),
        None => {}
    }
    if text.is_empty() {
        text += "nobody is muted\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::{Local, TimeZone};

    use super::*;
    use crate::control::Muted;

    #[test]
    fn what_is_decided_in_words() {
        let nothing = Decisions { locked: false, slow_mode_secs: None, mutes: Vec::new() };
        assert_eq!(words(&nothing), "nobody is muted\n");
        let at = |secs| Local.with_ymd_and_hms(2026, 1, 2, 10, 41, secs).unwrap().to_utc();
        let mute = |whom: &str, until| Muted {
            whom: whom.into(),
            since: at(5),
            until,
            by: "uid 0".into(),
        };
        let all = Decisions {
            locked: true,
            slow_mode_secs: Some(30),
            mutes: vec![mute(r#""bob""#, None), mute("192.0.2.7", Some(at(59)))],
        };
        assert_eq!(
            words(&all),
            "\"bob\" since 2026-01-02 10:41:05 until unmuted, by uid 0\n\
             192.0.2.7 since 2026-01-02 10:41:05 until 2026-01-02 10:41:59, by uid 0\n\
             the room is locked: only moderators speak\n\
             slow mode: 30 s between two messages\n"
        );
    }
}
