//! What a sender is told whose message was not sent: codes and words.

use super::message::{NAME_OF_SERVER, TIM_LAST, stamp};
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
}

impl Refusal {
    /// Every refusal once, for tables of counters and for the manual page.
    pub const ALL: [Self; 13] = [
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
        }
    }
}

/// Appends the text of the notice that tells a sender about `refusal`.
///
/// It has the shape of a message, so that every client can show it, and holds
/// nothing of what was sent. Its `tim` is the time, not a place in the room's
/// order.
///
/// # Examples
///
/// ```
/// use wschat::chat::{notice, Refusal, Tim};
/// let mut text = Vec::new();
/// notice(Refusal::NotAnObject, Tim::default(), &mut text);
/// assert_eq!(
///     String::from_utf8(text).unwrap(),
///     r#"{"usr":"wschat","msg":"not sent: it is not a JSON object","err":"not-an-object","tim":"1970-01-01T00:00:00.000000000Z"}"#
/// );
/// ```
pub fn notice(refusal: Refusal, now: Tim, out: &mut Vec<u8>) {
    // No reason and no code holds anything that JSON would have to escape.
    for part in [
        "{\"usr\":\"",
        NAME_OF_SERVER,
        "\",\"msg\":\"not sent: ",
        refusal.reason(),
        "\",\"err\":\"",
        refusal.code(),
        "\",",
        TIM_LAST,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    stamp(out, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_is_a_message_with_a_code() {
        let now: Tim = "2020-08-11T22:26:58.118678679Z".parse().unwrap();
        for refusal in Refusal::ALL {
            let mut text = Vec::new();
            notice(refusal, now, &mut text);
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
