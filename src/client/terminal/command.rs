//! What a typed line means.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What a typed line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say it.
    Say(String),
    /// Speak under another name.
    Name(String),
    /// Speak with the token in that file.
    Token(PathBuf),
    /// Have the server do this, as a moderator.
    Moderate(Value),
    /// Have the server take back the message of that time.
    Retract(String),
    /// Show what can be typed.
    Help,
    /// Leave.
    Quit,
    /// Not understood, and why, in words for people.
    Unknown(String),
}

/// What `/help` shows.
pub const HELP: &[&str] = &[
    "/name NAME    speak under another name",
    "/token FILE   speak with the token in a file",
    "/quit         leave, as Ctrl-D on an empty line does",
    "/mute NAME [SECS], /unmute NAME, /kick NAME, /retract TIME, /slow [SECS], /lock, /unlock: for moderators",
    "//text        say a text that begins with a slash",
    "Enter sends, Alt-Enter begins another line; Up and Down bring back what was typed",
];

impl Command {
    /// Understands a line. A paste of several lines is never a command: it may
    /// be code that begins with a slash.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::client::Command;
    /// assert_eq!(Command::parse("/name petr"), Command::Name("petr".into()));
    /// assert_eq!(Command::parse("//name"), Command::Say("/name".into()));
    /// ```
    pub fn parse(line: &str) -> Self {
        if line.contains('\n') {
            return Self::Say(line.to_owned());
        }
        let Some(command) = line.strip_prefix('/') else { return Self::Say(line.to_owned()) };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("name", "") => Self::Unknown("/name NAME: which name?".into()),
            ("name", name) => Self::Name(name.to_owned()),
            ("token", "") => Self::Unknown("/token FILE: which file?".into()),
            ("token", file) => Self::Token(file.into()),
            ("mute" | "unmute" | "kick", "") => Self::Unknown(format!("/{word} NAME: whom?")),
            ("mute", rest) => Self::Moderate(mute(rest)),
            ("unmute" | "kick", name) => Self::Moderate(json!({ word: name })),
            ("lock" | "unlock", "") => Self::Moderate(json!({ word: true })),
            ("slow", "") => Self::Moderate(json!({ "slow": null })),
            ("slow", secs) => match secs.parse::<u32>() {
                Ok(secs) => Self::Moderate(json!({ "slow": secs })),
                Err(_) => Self::Unknown("/slow SECS: a whole number, 0 for none".into()),
            },
            ("retract", "") => Self::Unknown("/retract TIME: which message?".into()),
            ("retract", time) => Self::Retract(time.to_owned()),
            ("help", "") => Self::Help,
            ("quit", "") => Self::Quit,
            (word, _) => Self::Unknown(format!("no command /{word}; //{word} says it")),
        }
    }
}

/// A name, and for how many seconds if the last word is a number.
fn mute(rest: &str) -> Value {
    match rest.rsplit_once(' ').map(|(name, secs)| (name.trim_end(), secs.parse::<u32>())) {
        Some((name, Ok(secs))) => json!({ "mute": name, "secs": secs }),
        _ => json!({ "mute": rest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, want: Command| assert_eq!(Command::parse(line), want, "{line:?}");
        check("hello", Command::Say("hello".into()));
        check(" /quit", Command::Say(" /quit".into()));
        check("//usr/bin", Command::Say("/usr/bin".into()));
        check("/usr\n/bin", Command::Say("/usr\n/bin".into()));
        check("/name Petr Veliký ", Command::Name("Petr Veliký".into()));
        check("/token /run/my token", Command::Token("/run/my token".into()));
        check("/quit", Command::Quit);
        check("/help", Command::Help);
        let moderate = |line: &str, cmd: Value| check(line, Command::Moderate(cmd));
        moderate("/mute bob", json!({"mute": "bob"}));
        moderate("/mute Bob the  Builder 600", json!({"mute": "Bob the  Builder", "secs": 600}));
        moderate("/mute user 7 600", json!({"mute": "user 7", "secs": 600}));
        moderate("/unmute bob 7", json!({"unmute": "bob 7"}));
        moderate("/kick bob", json!({"kick": "bob"}));
        moderate("/lock", json!({"lock": true}));
        moderate("/unlock ", json!({"unlock": true}));
        moderate("/slow 0", json!({"slow": 0}));
        moderate("/slow", json!({"slow": null}));
        check("/slow down", Command::Unknown("/slow SECS: a whole number, 0 for none".into()));
        check("/kick", Command::Unknown("/kick NAME: whom?".into()));
        check("/lock it", Command::Unknown("no command /lock; //lock says it".into()));
        check("/retract 22:26:58", Command::Retract("22:26:58".into()));
        check("/name", Command::Unknown("/name NAME: which name?".into()));
        check("/token ", Command::Unknown("/token FILE: which file?".into()));
        check("/usr/bin", Command::Unknown("no command /usr/bin; //usr/bin says it".into()));
    }
}
