//! What a typed line means.

use std::path::PathBuf;

/// What a typed line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say it.
    Say(String),
    /// Speak under another name.
    Name(String),
    /// Speak with the token in that file.
    Token(PathBuf),
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
            ("help", "") => Self::Help,
            ("quit", "") => Self::Quit,
            (word, _) => Self::Unknown(format!("no command /{word}; //{word} says it")),
        }
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
        check("/name", Command::Unknown("/name NAME: which name?".into()));
        check("/token ", Command::Unknown("/token FILE: which file?".into()));
        check("/usr/bin", Command::Unknown("no command /usr/bin; //usr/bin says it".into()));
    }
}
