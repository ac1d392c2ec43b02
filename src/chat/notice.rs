//! What a sender is told whose message was not sent: codes and words.

use super::message::{NAME_OF_SERVER, TIM_LAST, stamp};
use super::moderation::{Act, ActError};
use super::tim::Tim;

/// Why a message was not sent. The order of the variants is the order of the
/// checks: the first that applies is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It came in a binary frame.
    Binary,
    /// It is not JSON, nests too deeply, or `usr` or `msg` is not Unicode.
    BadJson,
    /// It is JSON, but not an object.
    NotAnObject,
    /// A name stands twice at the top level.
    DuplicateField,
    /// A token is needed and none is there.
    JwtMissing,
    /// The token does not verify, is not valid yet, or is no token at all.
    JwtInvalid,
    /// The token verifies, but it has been taken back.
    JwtRevoked,
    /// The token verifies, but its time is over.
    JwtExpired,
    /// `usr` is not there, or nothing but white space.
    MissingUsr,
    /// `msg` is not there.
    MissingMsg,
    /// `usr` or `msg` is not a string.
    BadType,
    /// `usr` is the name of the server.
    NameReserved,
    /// `usr` is not the name that the token prescribes.
    NameMismatch,
    /// It has a command, and its token makes nobody a moderator.
    NotAModerator,
    /// Its command is none, or cannot be carried out.
    BadCommand,
    /// Only moderators speak now.
    Locked,
    /// The speaker is muted.
    Muted,
    /// It came too soon after the last one, or says the same again.
    RateLimited,
}

/// A message that was not sent, and what else there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// In how many seconds another one may be, if time changes it.
    pub wait_secs: Option<u64>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, wait_secs: None }
    }
}

impl Refusal {
    /// Every refusal once, for tables of counters and for the manual page.
    pub const ALL: [Self; 18] = [
        Self::Binary,
        Self::BadJson,
        Self::NotAnObject,
        Self::DuplicateField,
        Self::JwtMissing,
        Self::JwtInvalid,
        Self::JwtRevoked,
        Self::JwtExpired,
        Self::MissingUsr,
        Self::MissingMsg,
        Self::BadType,
        Self::NameReserved,
        Self::NameMismatch,
        Self::NotAModerator,
        Self::BadCommand,
        Self::Locked,
        Self::Muted,
        Self::RateLimited,
    ];

    /// The code in `err`, for programs; it never changes.
    pub const fn code(self) -> &'static str {
        self.words().0
    }

    /// The reason in `msg`, for people.
    pub const fn reason(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Binary => ("binary", "it came as binary data; send it as text"),
            Self::BadJson => ("bad-json", "it is not valid JSON, or nested too deeply"),
            Self::NotAnObject => ("not-an-object", "it is not a JSON object"),
            Self::DuplicateField => ("duplicate-field", "a field is there twice"),
            Self::JwtMissing => ("jwt-missing", "speaking here takes a token, in the field jwt"),
            Self::JwtInvalid => ("jwt-invalid", "the token is not valid here"),
            Self::JwtRevoked => ("jwt-revoked", "the token has been revoked"),
            Self::JwtExpired => ("jwt-expired", "the token has expired"),
            Self::MissingUsr => ("missing-usr", "the name, in the field usr, is missing"),
            Self::MissingMsg => ("missing-msg", "the text, in the field msg, is missing"),
            Self::BadType => ("bad-type", "the fields usr and msg have to be strings"),
            Self::NameReserved => ("name-reserved", "this name belongs to the server"),
            Self::NameMismatch => ("name-mismatch", "the name is not the one in the token"),
            Self::NotAModerator => ("not-a-moderator", "commands are for moderators"),
            Self::BadCommand => ("bad-command", "the command is not one, or cannot be done"),
            Self::Locked => ("locked", "only moderators speak at the moment"),
            Self::Muted => ("muted", "you are muted here"),
            Self::RateLimited => ("rate-limited", "too fast, or the same again"),
        }
    }
}

/// Appends the text of the notice that tells a sender why.
///
/// It has the shape of a message, so that every client can show it, and holds
/// nothing of what was sent. Its `tim` is the time, not a place in the room's
/// order.
///
/// # Examples
///
/// ```
/// use wschat::chat::{notice, Refusal, Refused, Tim};
/// let mut text = Vec::new();
/// notice(Refused { refusal: Refusal::RateLimited, wait_secs: Some(7) }, Tim::default(), &mut text);
/// assert_eq!(
///     String::from_utf8(text).unwrap(),
///     r#"{"usr":"wschat","msg":"not sent: too fast, or the same again; wait 7 s","err":"rate-limited","wait":7,"tim":"1970-01-01T00:00:00.000000000Z"}"#
/// );
/// ```
pub fn notice(refused: Refused, now: Tim, out: &mut Vec<u8>) {
    let Refused { refusal, wait_secs } = refused;
    let (mut words, mut field) = (String::new(), String::new());
    if let Some(secs) = wait_secs {
        (words, field) = (format!("; wait {secs} s"), format!("\"wait\":{secs},"));
    }
    // No reason and no code holds anything that JSON would have to escape.
    for part in [
        "{\"usr\":\"",
        NAME_OF_SERVER,
        "\",\"msg\":\"not sent: ",
        refusal.reason(),
        &words,
        "\",\"err\":\"",
        refusal.code(),
        "\",",
        &field,
        TIM_LAST,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    stamp(out, now);
}

/// Appends the text that tells a moderator what was done.
pub fn receipt(act: &Act, now: Tim, out: &mut Vec<u8>) {
    let msg = json(&format!("done: {act}"));
    let parts = ["{\"usr\":\"", NAME_OF_SERVER, "\",\"msg\":", &msg, ",\"ack\":\"", act.verb()];
    for part in parts.into_iter().chain(["\",", TIM_LAST]) {
        out.extend_from_slice(part.as_bytes());
    }
    stamp(out, now);
}

/// Appends the notice that tells a moderator why nothing was done.
pub fn complaint(error: ActError, now: Tim, out: &mut Vec<u8>) {
    let msg = json(&format!("not done: {error}"));
    let code = Refusal::BadCommand.code();
    let parts = ["{\"usr\":\"", NAME_OF_SERVER, "\",\"msg\":", &msg, ",\"err\":\"", code];
    for part in parts.into_iter().chain(["\",", TIM_LAST]) {
        out.extend_from_slice(part.as_bytes());
    }
    stamp(out, now);
}

/// Appends what the server itself says to everybody, but for its `tim`.
pub fn announcement(words: &str, out: &mut Vec<u8>) {
    for part in ["{\"usr\":\"", NAME_OF_SERVER, "\",\"msg\":", &json(words), ",", TIM_LAST] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends what tells everybody not to show the message `tim` any more, but for
/// its own `tim`.
pub fn retraction(tim: Tim, out: &mut Vec<u8>) {
    let tim = tim.to_string();
    for part in [
        "{\"usr\":\"",
        NAME_OF_SERVER,
        "\",\"msg\":\"retracted: ",
        &tim,
        "\",\"retract\":\"",
        &tim,
        "\",",
        TIM_LAST,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The words as a JSON string.
fn json(words: &str) -> String {
    // A string can always be written.
    serde_json::to_string(words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_is_a_message_with_a_code() {
        let now: Tim = "2020-08-11T22:26:58.118678679Z".parse().unwrap();
        for refusal in Refusal::ALL {
            let mut text = Vec::new();
            notice(refusal.into(), now, &mut text);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let expected = serde_json::json!({
                "usr": "wschat",
                "msg": format!("not sent: {}", refusal.reason()),
                "err": refusal.code(),
                "tim": "2020-08-11T22:26:58.118678679Z",
            });
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn what_the_server_says_is_json() {
        let words = "a \"quoted\"\nline \u{1f600}";
        let value = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            write(&mut text);
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        let zero = "0000-00-00T00:00:00.000000000Z";
        let epoch = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(
            value(&|out| announcement(words, out)),
            serde_json::json!({"usr": "wschat", "msg": words, "tim": zero})
        );
        assert_eq!(
            value(&|out| receipt(&Act::Say(words.into()), Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": format!("done: said {words:?}"), "ack": "say", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| complaint(ActError::NotMuted, Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": "not done: nobody of that name is muted",
                "err": "bad-command", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| retraction(Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": format!("retracted: {epoch}"), "retract": epoch, "tim": zero
            })
        );
    }

    #[test]
    fn all_has_every_refusal_in_its_place() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index, "{refusal:?}");
        }
    }

    #[test]
    fn codes_differ() {
        let codes: std::collections::HashSet<_> = Refusal::ALL.map(Refusal::code).into();
        assert_eq!(codes.len(), Refusal::ALL.len());
    }
}
