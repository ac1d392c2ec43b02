//! Why a message is not sent: codes and words.

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
    /// `usr` is not there, or nothing of it is visible.
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

#[cfg(test)]
mod tests {
    use super::*;

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
