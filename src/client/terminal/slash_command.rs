//! Parses typed lines: messages and commands like `/name petr`.

use std::path::PathBuf;

use serde_json::{Value, json};

/// A typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlashCommand {
    /// Not a command, but a message.
    Message(String),
    /// Use another name.
    Name(String),
    /// Use the token in this file.
    Token(PathBuf),
    /// Send this command of a moderator.
    Moderate(Value),
    /// Retract the message with this `tim` or this time of day, of this name if there is one.
    Retract(String, Option<String>),
    Help,
    Quit,
    /// A mistake, described for the user.
    Invalid(String),
}

/// The lines that `/help` shows.
pub const HELP: &[&str] = &[
    "/name NAME   use another name",
    "/token FILE  use the token in this file",
    "/quit        exit, like Ctrl-D on an empty line",
    "//text       send a text that begins with a slash",
    "Moderators: /mute NAME [SECS], /unmute NAME, /kick NAME,",
    "  /retract TIME [NAME] (a message), /retract NAME (all),",
    "  /slow [SECS], /lock, /unlock",
    "Enter sends, Alt-Enter starts a new line, Tab completes a",
    "name, Up and Down show earlier lines",
];

impl SlashCommand {
    /// Parses a line. Pasted text of several lines is never a command: it may be
    /// code that starts with a slash.
    pub fn parse(line: &str) -> Self {
        let Some(command) = line.strip_prefix('/').filter(|_| !line.contains('\n')) else {
            return Self::Message(line.to_owned());
        };
        if command.starts_with('/') {
            return Self::Message(command.to_owned());
        }
        let (word, argument) = command.split_once(' ').unwrap_or((command, ""));
        match (word, argument.trim()) {
            ("name" | "mute" | "unmute" | "kick", "") => {
                Self::Invalid(format!("/{word} needs a NAME"))
            }
            ("token", "") => Self::Invalid("/token needs a FILE".into()),
            ("retract", "") => Self::Invalid("/retract needs a TIME or a NAME".into()),
            ("name", name) => Self::Name(name.to_owned()),
            ("token", file) => Self::Token(file.into()),
            ("mute", argument) => Self::Moderate(mute(argument)),
            ("unmute" | "kick", name) => Self::Moderate(json!({ word: name })),
            ("lock" | "unlock", "") => Self::Moderate(json!({ word: true })),
            ("slow", "") => Self::Moderate(json!({ "slow": null })),
            ("slow", secs) => match secs.parse::<u32>() {
                Ok(secs) => Self::Moderate(json!({ "slow": secs })),
                Err(_) => Self::Invalid("/slow needs a whole number of seconds, 0 for off".into()),
            },
            ("retract", argument) => retract(argument),
            ("help", "") => Self::Help,
            ("quit", "") => Self::Quit,
            (word, _) => Self::Invalid(format!("no command /{word}; to send it, type //{word}")),
        }
    }
}

/// A name, followed by a number of seconds if the last word is a number.
fn mute(argument: &str) -> Value {
    match argument.rsplit_once(' ').map(|(name, secs)| (name.trim_end(), secs.parse::<u32>())) {
        Some((name, Ok(secs))) => json!({ "mute": name, "secs": secs }),
        _ => json!({ "mute": argument }),
    }
}

/// A time, a time and a name, or a name.
fn retract(argument: &str) -> SlashCommand {
    let (time, name) = argument.split_once(' ').unwrap_or((argument, ""));
    if !is_time(time) {
        return SlashCommand::Moderate(json!({ "retract": { "name": argument } }));
    }
    let name = Some(name.trim()).filter(|name| !name.is_empty());
    SlashCommand::Retract(time.to_owned(), name.map(str::to_owned))
}

/// Whether somebody means a time of day or a `tim`, and perhaps has mistyped it.
fn is_time(word: &str) -> bool {
    let is_of_tim = |c: char| c.is_ascii_digit() || ":-.TZ".contains(c);
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.contains(':')
        && word.chars().all(is_of_tim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        use SlashCommand::*;
        let check = |line: &str, want| assert_eq!(SlashCommand::parse(line), want, "{line:?}");
        let message = |line: &str, text: &str| check(line, Message(text.into()));
        message("hello", "hello");
        message(" /quit", " /quit");
        message("//usr/bin", "/usr/bin");
        message("/usr\n/bin", "/usr\n/bin");
        check("/name Petr Veliký ", Name("Petr Veliký".into()));
        check("/token /run/my token", Token("/run/my token".into()));
        check("/retract 22:26:58", Retract("22:26:58".into(), None));
        check("/retract 22:26:58  Ann Lee ", Retract("22:26:58".into(), Some("Ann Lee".into())));
        let tim = "2020-08-11T22:26:58.118678679Z";
        check(&format!("/retract {tim}"), Retract(tim.into(), None));
        check("/retract 22:26", Retract("22:26".into(), None));
        check("/quit", Quit);
        check("/help", Help);
        let moderate = |line: &str, cmd: Value| check(line, Moderate(cmd));
        moderate("/mute bob", json!({"mute": "bob"}));
        moderate("/mute Bob the  Builder 600", json!({"mute": "Bob the  Builder", "secs": 600}));
        moderate("/mute user 7 600", json!({"mute": "user 7", "secs": 600}));
        moderate("/unmute bob 7", json!({"unmute": "bob 7"}));
        moderate("/kick bob", json!({"kick": "bob"}));
        for name in ["bob", "Ann Lee", "7", "bob 22:26:58", "a:b", "2nd: Ann"] {
            moderate(&format!("/retract {name}"), json!({"retract": {"name": name}}));
        }
        moderate("/lock", json!({"lock": true}));
        moderate("/unlock ", json!({"unlock": true}));
        moderate("/slow 0", json!({"slow": 0}));
        moderate("/slow", json!({"slow": null}));
        let invalid = |line: &str, why: &str| check(line, Invalid(why.into()));
        invalid("/slow down", "/slow needs a whole number of seconds, 0 for off");
        invalid("/kick", "/kick needs a NAME");
        invalid("/retract ", "/retract needs a TIME or a NAME");
        invalid("/name", "/name needs a NAME");
        invalid("/token ", "/token needs a FILE");
        invalid("/lock it", "no command /lock; to send it, type //lock");
        invalid("/usr/bin", "no command /usr/bin; to send it, type //usr/bin");
    }

    /// With a message, the status line and the input line on a terminal of 60 columns, 12 rows.
    #[test]
    fn the_help_fits() {
        assert!(HELP.len() <= 9);
        for line in HELP {
            assert!("-- ".len() + line.len() <= 60, "{line}");
        }
    }
}
