//! What a moderator asks for in the field `cmd` of a message.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::act::{Act, Target};

/// The longest mute and the slowest slow mode, in seconds: a year and a day.
pub const SECS_MAX: u32 = 31_622_400;

/// The one field of a command, beside `secs`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Mute(String),
    Unmute(String),
    Kick(String),
    Lock(bool),
    Unlock(bool),
    Slow(Option<u32>),
    Retract(String),
}

/// The act that the JSON text `json` asks for, if it asks for one.
///
/// # Examples
///
/// ```
/// use wschat::chat::{Act, Target, command};
/// let act = command(r#"{"mute":"bob","secs":600}"#);
/// assert_eq!(act, Some(Act::Mute(Target::name("bob"), Some(600))));
/// assert_eq!(command(r#"{"dance":true}"#), None);
/// ```
pub fn command(json: &str) -> Option<Act> {
    let mut fields: Map<String, Value> = serde_json::from_str(json).ok()?;
    let secs = match fields.remove("secs") {
        Some(secs) => Some(serde_json::from_value(secs).ok()?),
        None => None,
    };
    // Of two verbs neither is what was meant.
    let verb = (fields.len() == 1).then_some(Value::Object(fields))?;
    let act = match serde_json::from_value(verb).ok()? {
        Verb::Mute(name) => Act::Mute(target(&name)?, secs),
        _ if secs.is_some() => return None,
        Verb::Unmute(name) => Act::Unmute(target(&name)?),
        Verb::Kick(name) => Act::Kick(target(&name)?),
        Verb::Lock(true) => Act::Lock,
        Verb::Unlock(true) => Act::Unlock,
        Verb::Lock(false) | Verb::Unlock(false) => return None,
        Verb::Slow(secs) => Act::Slow(secs),
        Verb::Retract(tim) => Act::Retract(tim.parse().ok()?),
    };
    match act {
        // Nobody is muted for no time at all.
        Act::Mute(_, Some(0)) => None,
        Act::Mute(_, Some(secs)) | Act::Slow(Some(secs)) if secs > SECS_MAX => None,
        act => Some(act),
    }
}

fn target(name: &str) -> Option<Target> {
    (!name.trim().is_empty()).then(|| Target::name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Tim;
    use proptest::prelude::*;

    #[test]
    fn commands_and_what_is_none() {
        let bob = || Target::name("bob");
        for (json, want) in [
            (r#"{"mute":"bob"}"#, Some(Act::Mute(bob(), None))),
            (r#"{"secs":1,"mute":" bob "}"#, Some(Act::Mute(Target::name(" bob "), Some(1)))),
            (r#"{"mute":"bob","secs":0}"#, None),
            (r#"{"mute":"bob","secs":-1}"#, None),
            (r#"{"mute":"bob","secs":"60"}"#, None),
            (r#"{"mute":"bob","secs":31622401}"#, None),
            (r#"{"mute":" "}"#, None),
            (r#"{"mute":7}"#, None),
            (r#"{"mute":"bob","why":"spam"}"#, None),
            (r#"{"mute":"bob","kick":"bob"}"#, None),
            (r#"{"unmute":"bob"}"#, Some(Act::Unmute(bob()))),
            (r#"{"kick":"bob"}"#, Some(Act::Kick(bob()))),
            (r#"{"kick":"bob","secs":5}"#, None),
            (r#"{"lock":true}"#, Some(Act::Lock)),
            (r#"{"lock":false}"#, None),
            (r#"{"unlock":true}"#, Some(Act::Unlock)),
            (r#"{"slow":30}"#, Some(Act::Slow(Some(30)))),
            (r#"{"slow":0}"#, Some(Act::Slow(Some(0)))),
            (r#"{"slow":null}"#, Some(Act::Slow(None))),
            (r#"{"slow":1.5}"#, None),
            (
                r#"{"retract":"1970-01-01T00:00:00.000000007Z"}"#,
                Some(Act::Retract(Tim::from_nanos(7))),
            ),
            (r#"{"retract":"yesterday"}"#, None),
            (r#"{"say":"hi"}"#, None),
            ("{}", None),
            ("[]", None),
            (r#""lock""#, None),
            ("null", None),
        ] {
            assert_eq!(command(json), want, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(json in "\\PC{0,40}") {
            command(&json);
            command(&format!(r#"{{"mute":{json}}}"#));
        }
    }
}
