//! Everything that the server itself says in the room, with its texts: notices that
//! a message was not sent, answers to moderators, and messages to every client.

use super::act_done::ActDone;
use super::mod_action::{ModAction, ModActionError};
use super::name::SERVER_NAME;
use super::since::Since;
use super::tim::{TIM_PLACEHOLDER, Tim, stamp};

/// Makes [`Refusal`] from rows of a variant, its code and its reason.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        /// Why a message was not sent. The variants are in the order of the checks: the
        /// notice has the first one that applies.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Every refusal, for tables of counters and for the manual page.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$name),*];

            /// The code in the field `err`, for programs. It never changes.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The reason in the field `msg`, for people.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }
        }
    };
}

refusals! {
    /// Its HTTP request has no valid length or host, or two different tokens.
    BadRequest = "bad-request", "the request is malformed, or has two different tokens";
    /// It is from a page whose origin is not listed.
    Origin = "origin", "pages of this origin cannot speak here";
    /// The body of its HTTP request is too long.
    TooLarge = "too-large", "it is too long";
    /// The content type of its HTTP request is not that of JSON.
    MediaType = "media-type", "send it with Content-Type: application/json";
    /// The server has no place for its HTTP request, or could not handle it in time.
    Unavailable = "unavailable", "the server could not handle it in time";
    /// It is in a binary frame.
    Binary = "binary", "it came as binary data; send it as text";
    /// It is not JSON, is nested too deeply, or its `usr` or `msg` is not Unicode.
    BadJson = "bad-json", "it is not valid JSON, or nested too deeply";
    /// It is JSON, but not an object.
    NotAnObject = "not-an-object", "it is not a JSON object";
    /// A name occurs twice at the top level.
    DuplicateField = "duplicate-field", "a field occurs twice";
    /// A token is required and missing.
    JwtMissing = "jwt-missing", "speaking here requires a token in the field jwt";
    /// The token is not a token, its signature is not valid, or it is not valid yet.
    JwtInvalid = "jwt-invalid", "the token is not valid here";
    /// The token is revoked.
    JwtRevoked = "jwt-revoked", "the token has been revoked";
    /// The token has expired.
    JwtExpired = "jwt-expired", "the token has expired";
    /// `usr` is missing, or nothing of it is visible.
    MissingUsr = "missing-usr", "the name, in the field usr, is missing";
    /// `msg` is missing.
    MissingMsg = "missing-msg", "the text, in the field msg, is missing";
    /// `usr` or `msg` is not a string.
    BadType = "bad-type", "the fields usr and msg must be strings";
    /// `usr` looks like the name of the server.
    NameReserved = "name-reserved", "this name belongs to the server";
    /// `usr` is not the name in the token.
    NameMismatch = "name-mismatch", "the name is not the one in the token";
    /// It is a command, and the token does not make its bearer a moderator.
    NotAModerator = "not-a-moderator", "commands are for moderators";
    /// Its command is not valid or cannot be done.
    BadCommand = "bad-command", "the command is unknown or not valid";
    /// Only moderators can send messages.
    Locked = "locked", "only moderators speak at the moment";
    /// The speaker is muted.
    Muted = "muted", "you are muted here";
    /// It came too soon after the last message, or repeats one.
    RateLimited = "rate-limited", "too fast, or the same text again";
    /// A room on several machines has lost it from sight on its way.
    Unknown = "unknown", "it is not known whether it was sent";
}

/// After so many seconds a client may repeat a message that could not be handled.
const UNAVAILABLE_WAIT_SECS: u64 = 5;

/// A refusal, with the time to wait where waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why the message was not sent.
    pub refusal: Refusal,
    /// After this many seconds the message may be sent.
    pub wait_secs: Option<u64>,
}

impl Refused {
    /// The message cannot be handled now.
    pub fn unavailable() -> Self {
        Self { refusal: Refusal::Unavailable, wait_secs: Some(UNAVAILABLE_WAIT_SECS) }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, wait_secs: None }
    }
}

impl From<ModActionError> for Refused {
    fn from(error: ModActionError) -> Self {
        match error.refusal() {
            Refusal::Unavailable => Self::unavailable(),
            refusal => refusal.into(),
        }
    }
}

impl ModActionError {
    /// The refusal whose code the notice has.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Unavailable => Refusal::Unavailable,
            Self::Unknown => Refusal::Unknown,
            Self::NotMuted | Self::TooMany | Self::NoMessage | Self::Connection => {
                Refusal::BadCommand
            }
        }
    }
}

/// Appends the notice that tells a sender why its message was not sent.
///
/// It has the form of a message, so that every client can show it, and contains
/// nothing from the client. Its `tim` is the time and has no place in the order of
/// the room.
///
/// # Examples
///
/// ```
/// use wschat::chat::{notice, Refusal, Refused, Tim};
/// let mut text = Vec::new();
/// notice(Refused { refusal: Refusal::RateLimited, wait_secs: Some(7) }, Tim::default(), &mut text);
/// assert_eq!(
///     String::from_utf8(text).unwrap(),
///     r#"{"usr":"wschat","msg":"not sent: too fast, or the same text again; wait 7 s","err":"rate-limited","wait":7,"tim":"1970-01-01T00:00:00.000000000Z"}"#
/// );
/// ```
pub fn notice(refused: Refused, now: Tim, out: &mut Vec<u8>) {
    let Refused { refusal, wait_secs } = refused;
    let (code, mut reason, mut wait) = (refusal.code(), refusal.reason().to_owned(), String::new());
    if let Some(secs) = wait_secs {
        reason += &format!("; wait {secs} s");
        wait = format!("\"wait\":{secs},");
    }
    let msg = match refusal {
        Refusal::Unknown => reason,
        _ => format!("not sent: {reason}"),
    };
    server_message(&msg, &format!("\"err\":\"{code}\",{wait}"), out);
    stamp(out, now);
}

/// How every notice of a gap begins.
const GAP_NOTICE_START: &[u8] =
    br#"{"usr":"wschat","msg":"some messages are missing","err":"gap","#;

/// Whether a text is a [`gap_notice`]. No message of a client is: its name is that of the server.
pub fn is_gap_notice(text: &[u8]) -> bool {
    text.starts_with(GAP_NOTICE_START)
}

/// Appends the notice that tells a listener that messages are missing: after the time that it
/// has sent, and before the first message that it gets.
///
/// # Examples
///
/// ```
/// use wschat::chat::{Tim, gap_notice};
/// let mut text = Vec::new();
/// gap_notice(Some("2020-08-11T22:26:58Z".parse().unwrap()), None, Tim::default(), &mut text);
/// assert_eq!(
///     String::from_utf8(text).unwrap(),
///     r#"{"usr":"wschat","msg":"some messages are missing","err":"gap","after":"2020-08-11T22:26:58.000000000Z","tim":"1970-01-01T00:00:00.000000000Z"}"#
/// );
/// ```
pub fn gap_notice(after: Option<Since>, before: Option<Tim>, now: Tim, out: &mut Vec<u8>) {
    let after = after.map_or_else(String::new, |after| format!("\"after\":\"{after}\","));
    let before = before.map_or_else(String::new, |before| format!("\"before\":\"{before}\","));
    let fields = format!("\"err\":\"gap\",{after}{before}");
    server_message("some messages are missing", &fields, out);
    stamp(out, now);
}

/// Appends the answer that tells a moderator what was done, and what it has met. If it has met
/// nothing, it is a notice; returns its refusal then.
pub fn ack(action: &ModAction, done: &ActDone, now: Tim, out: &mut Vec<u8>) -> Option<Refusal> {
    let refusal = done.met_nothing().then_some(Refusal::BadCommand);
    let text = done.text(action) + &done.numbers(action);
    let (msg, kind) = match refusal {
        Some(refusal) => (format!("not done: {text}"), format!("\"err\":\"{}\",", refusal.code())),
        None => {
            let what = if done.changed { "done: " } else { "" };
            (format!("{what}{text}"), format!("\"ack\":\"{}\",", action.verb()))
        }
    };
    let met = done.met.map_or_else(String::new, |met| format!("\"met\":{met},"));
    server_message(&msg, &format!("{kind}{met}"), out);
    stamp(out, now);
    refusal
}

/// Appends the notice that tells a moderator why nothing was done, or that this is not known.
pub fn nack(error: ModActionError, now: Tim, out: &mut Vec<u8>) {
    let Refused { refusal, wait_secs } = error.into();
    let (mut msg, mut wait) = (error.to_string(), String::new());
    if refusal != Refusal::Unknown {
        msg = format!("not done: {msg}");
    }
    if let Some(secs) = wait_secs {
        msg += &format!("; wait {secs} s");
        wait = format!("\"wait\":{secs},");
    }
    server_message(&msg, &format!("\"err\":\"{}\",{wait}", refusal.code()), out);
    stamp(out, now);
}

/// Appends a message of the server to every client. The room sets its `tim`.
pub fn announcement(text: &str, out: &mut Vec<u8>) {
    server_message(text, "", out);
}

/// Appends the message that asks every client to hide the messages `tims`, at least one. The
/// room sets its own `tim`. It does not repeat the name, which may be why they are retracted.
pub fn retraction(tims: &[Tim], out: &mut Vec<u8>) {
    let Some((first, others)) = tims.split_first() else { return };
    let mut fields = format!("\"retract\":\"{first}\",");
    if others.is_empty() {
        return server_message(&format!("retracted: {first}"), &fields, out);
    }
    let others: Vec<String> = others.iter().map(|tim| format!("\"{tim}\"")).collect();
    fields += &format!("\"also\":[{}],", others.join(","));
    server_message(&format!("retracted: {} messages", tims.len()), &fields, out);
}

/// The message with which an action is announced to every client, with a placeholder for its
/// `tim`.
pub fn announced(action: &ModAction) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    match action {
        ModAction::Retract(messages) => retraction(messages.tims(), &mut text),
        ModAction::Say { text: said } => announcement(said, &mut text),
        _ => {}
    }
    (!text.is_empty()).then_some(text)
}

/// Appends a message of the server. `fields` are the fields between `msg` and `tim`,
/// each with a comma behind it.
fn server_message(msg: &str, fields: &str, out: &mut Vec<u8>) {
    // Every string can be written as JSON.
    let msg = serde_json::to_string(msg).unwrap_or_default();
    for part in ["{\"usr\":\"", SERVER_NAME, "\",\"msg\":", &msg, ",", fields, TIM_PLACEHOLDER] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Retracted, Target};
    use serde_json::{Value, json};

    #[test]
    fn the_notice_of_a_gap_is_recognized() {
        let tim = Tim::from_nanos(7);
        for (after, before) in [(None, None), (Some(tim.into()), None), (None, Some(tim))] {
            let mut text = Vec::new();
            gap_notice(after, before, tim, &mut text);
            assert!(is_gap_notice(&text));
        }
        let mut text = Vec::new();
        announcement("some messages are missing", &mut text);
        assert!(!is_gap_notice(&text));
    }

    #[test]
    fn every_text_of_the_server_is_json() {
        let value = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            write(&mut text);
            serde_json::from_slice::<Value>(&text).unwrap()
        };
        let (zero, epoch) = ("0000-00-00T00:00:00.000000000Z", "1970-01-01T00:00:00.000000000Z");
        let codes: std::collections::HashSet<_> = Refusal::ALL.map(Refusal::code).into();
        assert_eq!(codes.len(), Refusal::ALL.len());
        for refusal in Refusal::ALL {
            let msg = match refusal {
                Refusal::Unknown => refusal.reason().to_owned(),
                _ => format!("not sent: {}", refusal.reason()),
            };
            assert_eq!(
                value(&|out| notice(refusal.into(), Tim::default(), out)),
                json!({ "usr": "wschat", "msg": msg, "err": refusal.code(), "tim": epoch })
            );
        }
        let text = "a \"quoted\"\nline \u{1f600}";
        assert_eq!(
            value(&|out| announcement(text, out)),
            json!({ "usr": "wschat", "msg": text, "tim": zero })
        );
        let say = ModAction::Say { text: text.into() };
        assert_eq!(
            value(&|out| {
                assert_eq!(ack(&say, &ActDone::changed(true), Tim::default(), out), None);
            }),
            json!({ "usr": "wschat", "msg": format!("done: said {text:?}"), "ack": "say", "tim": epoch })
        );
        assert_eq!(
            value(&|out| nack(ModActionError::NotMuted, Tim::default(), out)),
            json!({
                "usr": "wschat", "msg": "not done: this user or address is not muted",
                "err": "bad-command", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| nack(ModActionError::Unavailable, Tim::default(), out)),
            json!({
                "usr": "wschat",
                "msg": "not done: the cluster cannot be reached at the moment; wait 5 s",
                "err": "unavailable", "wait": 5, "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| nack(ModActionError::Unknown, Tim::default(), out)),
            json!({
                "usr": "wschat", "msg": "it is not known whether it was done",
                "err": "unknown", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| retraction(&[Tim::default()], out)),
            json!({
                "usr": "wschat", "msg": format!("retracted: {epoch}"), "retract": epoch, "tim": zero
            })
        );
        assert_eq!(
            value(&|out| retraction(&[Tim::default(); 3], out)),
            json!({
                "usr": "wschat", "msg": "retracted: 3 messages", "retract": epoch,
                "also": [epoch, epoch], "tim": zero
            })
        );
    }

    #[test]
    fn a_moderator_is_told_what_an_action_has_met() {
        let tim = Tim::from_nanos(1);
        let kick = ModAction::Kick { target: Target::name("b\n\"") };
        let all = ModAction::Retract(Retracted::Name("bob".into()));
        let one = ModAction::Retract(Retracted::Tim(tim));
        let silent = ActDone { silent_nodes: 2, ..ActDone::met(3) };
        let older = ActDone { changed: true, ..ActDone::met(0) };
        for (action, done, text, met) in [
            (&kick, ActDone::met(0), r#"not done: "b\n\"" is not connected"#, json!(0)),
            (&kick, ActDone::met(3), r#"done: kicked "b\n\"", connections: 3"#, json!(3)),
            (
                &kick,
                silent,
                r#"done: kicked "b\n\"", connections: 3, nodes that did not answer: 2"#,
                json!(3),
            ),
            (
                &all,
                ActDone::met(0),
                r#"not done: the room has no message of "bob" in memory that is not retracted"#,
                json!(0),
            ),
            (&all, ActDone::met(7), r#"done: retracted all of "bob", messages: 7"#, json!(7)),
            (&one, ActDone::met(1), &format!("done: retracted {tim}"), json!(1)),
            (
                &one,
                older,
                &format!("done: retracted {tim}, which the room no longer has in memory"),
                json!(0),
            ),
            (&ModAction::Lock, ActDone::changed(false), "the room is locked already", Value::Null),
            (&ModAction::Unlock, ActDone::changed(true), "done: unlocked the room", Value::Null),
        ] {
            let mut out = Vec::new();
            let refusal = ack(action, &done, tim, &mut out);
            let answer: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!((&answer["msg"], &answer["met"]), (&json!(text), &met));
            let code = refusal.map(Refusal::code);
            assert_eq!((answer["err"].as_str(), code), (code, answer["err"].as_str()));
            let ack = code.is_none().then_some(action.verb());
            assert_eq!(answer["ack"].as_str(), ack, "{text}");
        }
    }
}
