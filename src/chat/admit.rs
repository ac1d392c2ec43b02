//! Admission: the one way from a client's text to a message.

use super::auth::{AuthSettings, Verified, Verifier};
use super::limits::NoticeBudget;
use super::message::{Draft, Member, Message};
use super::notice::Refusal;
use super::tim::Tim;

/// Who may say what. It never changes; a reload makes new ones.
pub struct Rules {
    verifier: Option<Verifier>,
}

impl Rules {
    /// The rules under these settings.
    pub fn new(settings: &AuthSettings<'_>) -> Self {
        Self { verifier: Verifier::new(settings) }
    }

    /// The rules of a room in which everybody may speak.
    pub const fn open() -> Self {
        Self { verifier: None }
    }

    /// Whether speaking takes a token.
    pub const fn needs_token(&self) -> bool {
        self.verifier.is_some()
    }

    /// The message in `text`, if it may be sent.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] that applies: form, token, `usr`, `msg`, name.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{Refusal, Rules, Speaker, Tim, stamp};
    /// let (rules, mut speaker, now) = (Rules::open(), Speaker::default(), Tim::default());
    ///
    /// let message = rules.admit(r#"{"usr": "ann", "msg": "hi"}"#, &mut speaker, now).unwrap();
    /// let mut text = Vec::new();
    /// message.encode(&mut text);
    /// stamp(&mut text, now);
    /// assert_eq!(text, br#"{"usr":"ann","msg":"hi","tim":"1970-01-01T00:00:00.000000000Z"}"#);
    ///
    /// let refusal = rules.admit(r#"{"usr": "ann"}"#, &mut speaker, now).unwrap_err();
    /// assert_eq!(refusal, Refusal::MissingMsg);
    /// ```
    pub fn admit<'a>(
        &self,
        text: &'a str,
        speaker: &mut Speaker,
        now: Tim,
    ) -> Result<Message<'a>, Refusal> {
        let mut draft = Draft::parse(text)?;
        // Taken out here, whether or not it is looked at: it goes no further.
        let jwt = draft.take_jwt();
        if let Some(verifier) = &self.verifier {
            match jwt {
                Member::Missing | Member::Null => return Err(Refusal::JwtMissing),
                Member::Text(token) if token.is_empty() => return Err(Refusal::JwtMissing),
                Member::Text(token) => verifier.check(&token, &mut speaker.facts().token, now)?,
                Member::Other => return Err(Refusal::JwtInvalid),
            }
        }
        draft.finish()
    }
}

/// What the room remembers of one connection. Who only listens costs a pointer.
#[derive(Default)]
pub struct Speaker {
    facts: Option<Box<Facts>>,
}

#[derive(Default)]
struct Facts {
    /// The last token that verified on this connection.
    token: Option<Verified>,
    notices: NoticeBudget,
}

impl Speaker {
    /// Whether the speaker may get another notice at `now_ms`, milliseconds of
    /// a clock that does not step back; if so, one is taken from its budget.
    pub fn take_notice(&mut self, now_ms: u64) -> bool {
        self.facts().notices.take(now_ms)
    }

    fn facts(&mut self) -> &mut Facts {
        self.facts.get_or_insert_default()
    }
}
