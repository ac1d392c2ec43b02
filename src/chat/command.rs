//! What a moderator asks for in the field `cmd` of a message.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::mod_action::{ModAction, Target};

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
/// use wschat::chat::{ModAction, Target, command};
/// let act = command(r#"{"mute":"bob","secs":600}"#);
/// assert_eq!(act, Some(ModAction::Mute(Target::name("bob"), Some(600))));
/// assert_eq!(command(r#"{"dance":true}"#), None);
/// ```
pub fn command(json: &str) -> Option<ModAction> {
    let mut fields: Map<String, Value> = serde_json::from_str(json).ok()?;
    let secs = match fields.remove("secs") {
        Some(secs) => Some(serde_json::from_value(secs).ok()?),
        None => None,
    };
    // Of two verbs neither is what was meant.
    let verb = (fields.len() == 1).then_some(Value::Object(fields))?;
    let act = match serde_json::from_value(verb).ok()? {
        Verb::Mute(name) => ModAction::Mute(target(&name)?, secs),
        _ if secs.is_some() => return None,
        Verb::Unmute(name) => ModAction::Unmute(target(&name)?),
        Verb::Kick(name) => ModAction::Kick(target(&name)?),
        Verb::Lock(true) => ModAction::Lock,
        Verb::Unlock(true) => ModAction::Unlock,
        Verb::Lock(false) | Verb::Unlock(false) => return None,
        Verb::Slow(secs) => ModAction::Slow(secs),
        Verb::Retract(tim) => ModAction::Retract(tim.parse().ok()?),
    };
    match act {
        // Nobody is muted for no time at all.
        ModAction::Mute(_, Some(0)) => None,
        ModAction::Mute(_, Some(secs)) | ModAction::Slow(Some(secs)) if secs > SECS_MAX => None,
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
            (r#"{"mute":"bob"}"#, Some(ModAction::Mute(bob(), None))),
            (r#"{"secs":1,"mute":" bob "}"#, Some(ModAction::Mute(Target::name(" bob "), Some(1)))),
            (r#"{"mute":"bob","secs":0}"#, None),
            (r#"{"mute":"bob","secs":-1}"#, None),
            (r#"{"mute":"bob","secs":"60"}"#, None),
            (r#"{"mute":"bob","secs":31622401}"#, None),
            (r#"{"mute":" "}"#, None),
            (r#"{"mute":7}"#, None),
            (r#"{"mute":"bob","why":"spam"}"#, None),
            (r#"{"mute":"bob","kick":"bob"}"#, None),
            (r#"{"unmute":"bob"}"#, Some(ModAction::Unmute(bob()))),
            (r#"{"kick":"bob"}"#, Some(ModAction::Kick(bob()))),
            (r#"{"kick":"bob","secs":5}"#, None),
            (r#"{"lock":true}"#, Some(ModAction::Lock)),
            (r#"{"lock":false}"#, None),
            (r#"{"unlock":true}"#, Some(ModAction::Unlock)),
            (r#"{"slow":30}"#, Some(ModAction::Slow(Some(30)))),
            (r#"{"slow":0}"#, Some(ModAction::Slow(Some(0)))),
            (r#"{"slow":null}"#, Some(ModAction::Slow(None))),
            (r#"{"slow":1.5}"#, None),
            (
                r#"{"retract":"1970-01-01T00:00:00.000000007Z"}"#,
                Some(ModAction::Retract(Tim::from_nanos(7))),
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
