//! Admission: the one way from a client's text to a message.

use super::auth::{AuthSettings, Bearer, Verified, Verifier};
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
    pub fn new(settings: AuthSettings) -> Self {
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
        let Some(verifier) = &self.verifier else {
            speaker.forget();
            return draft.finish();
        };
        let bearer = match jwt {
            Member::Missing | Member::Null => return Err(Refusal::JwtMissing),
            Member::Text(token) if token.is_empty() => return Err(Refusal::JwtMissing),
            Member::Text(token) => verifier.check(&token, &mut speaker.facts().token, now)?,
            Member::Other => return Err(Refusal::JwtInvalid),
        };
        let message = draft.finish()?;
        match &bearer.usr {
            Some(usr) if **usr != *message.usr() => Err(Refusal::NameMismatch),
            _ => Ok(message),
        }
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
    /// A speaker that goes on with this budget. A token that it shows is
    /// verified anew.
    pub fn resume(notices: NoticeBudget) -> Self {
        Self { facts: Some(Box::new(Facts { token: None, notices })) }
    }

    /// What is left of its budget of notices.
    pub fn notices(&self) -> NoticeBudget {
        self.facts.as_ref().map(|facts| facts.notices).unwrap_or_default()
    }

    /// Whether the speaker may get another notice at `now_ms`, milliseconds of
    /// a clock that does not step back; if so, one is taken from its budget.
    pub fn take_notice(&mut self, now_ms: u64) -> bool {
        self.facts().notices.take(now_ms)
    }

    /// The claim `sub` of the last token that verified: who it is, whatever the
    /// name of the message. None where no token has it, or none is needed.
    pub fn sub(&self) -> Option<&str> {
        self.bearer()?.sub.as_deref()
    }

    /// Whether the last token that verified makes its bearer a moderator.
    pub fn is_moderator(&self) -> bool {
        self.bearer().is_some_and(|bearer| bearer.is_moderator)
    }

    fn bearer(&self) -> Option<&Bearer> {
        Some(&self.facts.as_ref()?.token.as_ref()?.bearer)
    }

    /// Forgets who it is, since nobody asks any more.
    fn forget(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.token = None;
        }
    }

    fn facts(&mut self) -> &mut Facts {
        self.facts.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::TokenKey;
    use super::*;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use proptest::prelude::*;

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

    fn settings() -> AuthSettings {
        AuthSettings {
            keys: vec![TokenKey::secret(None, Algorithm::HS256, SECRET).unwrap()],
            check_exp: true,
            ..AuthSettings::default()
        }
    }

    fn guarded() -> Rules {
        Rules::new(settings())
    }

    fn token(exp: u64) -> String {
        signed(&serde_json::json!({ "exp": exp }))
    }

    fn signed(claims: &serde_json::Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn verdict(rules: &Rules, text: &str) -> String {
        match rules.admit(text, &mut Speaker::default(), Tim::from_nanos(1_000_000_000_000)) {
            Ok(message) => {
                let mut text = Vec::new();
                message.encode(&mut text);
                String::from_utf8(text).unwrap()
            }
            Err(refusal) => refusal.code().into(),
        }
    }

    #[track_caller]
    fn check(rules: &Rules, text: &str, expected: &str) {
        let verdict = verdict(rules, text);
        if expected == "sent" {
            let sent = r#"{"usr":"a","msg":"b","tim":"0000-00-00T00:00:00.000000000Z"}"#;
            assert_eq!(verdict, sent, "{text}");
        } else {
            assert_eq!(verdict, expected, "{text}");
        }
    }

    #[test]
    fn first_the_form_then_the_token_then_usr_then_msg_then_the_name() {
        let rules = guarded();
        let (good, old) = (token(2_000), token(999));
        for (text, expected) in [
            (r#"{"usr":"a""#.into(), "bad-json"),
            (r#"{"usr":"\ud800","usr":"x"}"#.into(), "bad-json"),
            (r#"["usr","usr"]"#.into(), "not-an-object"),
            (r#"{"usr":1,"usr":2}"#.into(), "duplicate-field"),
            (r#"{"jwt":"x","jwt":"x"}"#.into(), "duplicate-field"),
            (r#"{}"#.into(), "jwt-missing"),
            (r#"{"usr":"","jwt":null}"#.into(), "jwt-missing"),
            (r#"{"usr":1,"jwt":""}"#.into(), "jwt-missing"),
            (r#"{"jwt":" "}"#.into(), "jwt-invalid"),
            (r#"{"jwt":1}"#.into(), "jwt-invalid"),
            (r#"{"jwt":true}"#.into(), "jwt-invalid"),
            (r#"{"jwt":{}}"#.into(), "jwt-invalid"),
            (format!(r#"{{"jwt":["{good}"]}}"#), "jwt-invalid"),
            (r#"{"jwt":"\ud800"}"#.into(), "jwt-invalid"),
            (r#"{"usr":null,"jwt":"x.y.z"}"#.into(), "jwt-invalid"),
            (format!(r#"{{"jwt":"{old}"}}"#), "jwt-expired"),
            (format!(r#"{{"jwt":"{good}"}}"#), "missing-usr"),
            (format!(r#"{{"jwt":"{good}","usr":" ","msg":1}}"#), "missing-usr"),
            (format!(r#"{{"jwt":"{good}","usr":1}}"#), "bad-type"),
            (format!(r#"{{"jwt":"{good}","usr":"wschat"}}"#), "missing-msg"),
            (format!(r#"{{"jwt":"{good}","usr":"wschat","msg":1}}"#), "bad-type"),
            (format!(r#"{{"jwt":"{good}","usr":"wschat","msg":"b"}}"#), "name-reserved"),
            (format!(r#"{{"jwt":"{good}","usr":"a","msg":"b"}}"#), "sent"),
            (format!(r#"{{"usr":"a","\u006a\u0077t":"{good}","msg":"b"}}"#), "sent"),
            (
                format!(r#"{{"usr":"a","msg":"b","jwt":"{}"}}"#, good.replace('.', "\\u002e")),
                "sent",
            ),
        ] {
            check(&rules, &text, expected);
        }
    }

    #[test]
    fn where_everybody_may_speak_a_token_is_dropped() {
        let rules = Rules::open();
        for jwt in [r#""x""#, "null", r#""""#, "1", r#"["x"]"#, r#""\ud800""#] {
            check(&rules, &format!(r#"{{"usr":"a","jwt":{jwt},"msg":"b"}}"#), "sent");
        }
        check(&rules, r#"{"usr":"a","msg":"b"}"#, "sent");
        assert!(!rules.needs_token());
        assert!(guarded().needs_token());
    }

    #[test]
    fn a_name_that_is_bound_is_the_only_one() {
        let rules = Rules::new(AuthSettings { bind_usr: Some("nick".into()), ..settings() });
        let good = signed(&serde_json::json!({ "exp": 2_000, "sub": "u7", "nick": "a" }));
        let text = |usr: &str, msg| format!(r#"{{"usr":{usr},"jwt":"{good}","msg":{msg}}}"#);
        for (usr, msg, expected) in [
            (r#""a""#, r#""b""#, "sent"),
            (r#""u7""#, r#""b""#, "name-mismatch"),
            (r#""A""#, r#""b""#, "name-mismatch"),
            (r#""a ""#, r#""b""#, "name-mismatch"),
            (r#""\u0430""#, r#""b""#, "name-mismatch"),
            (r#""wschat""#, r#""b""#, "name-reserved"),
            (r#""u7""#, "1", "bad-type"),
            (r#""""#, r#""b""#, "missing-usr"),
        ] {
            check(&rules, &text(usr, msg), expected);
        }
        let escaped = text(r#""\u0061""#, r#""b""#);
        assert!(verdict(&rules, &escaped).starts_with(r#"{"usr":"\u0061""#));
        check(
            &rules,
            &format!(r#"{{"usr":"a","jwt":"{}","msg":"b"}}"#, token(2_000)),
            "jwt-invalid",
        );
    }

    #[test]
    fn a_speaker_is_who_the_last_token_says() {
        let asking = AuthSettings { moderator_claim: Some("mod".into()), ..settings() };
        let (rules, now) = (Rules::new(asking), Tim::default());
        let say = |claims| format!(r#"{{"usr":"a","jwt":"{}","msg":"b"}}"#, signed(&claims));
        let mut speaker = Speaker::default();
        assert_eq!((speaker.sub(), speaker.is_moderator()), (None, false));

        let text = say(serde_json::json!({ "exp": 2_000, "sub": "ann", "mod": true }));
        assert!(rules.admit(&text, &mut speaker, now).is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (Some("ann"), true));

        let text = say(serde_json::json!({ "exp": 2_000, "sub": "bob" }));
        assert!(rules.admit(&text, &mut speaker, now).is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (Some("bob"), false));

        // Where everybody may speak, nobody has shown who it is.
        assert!(Rules::open().admit(&text, &mut speaker, now).is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (None, false));
    }

    #[test]
    fn who_only_listens_costs_a_pointer() {
        assert_eq!(size_of::<Speaker>(), 8);
        let mut speaker = Speaker::default();
        let text = r#"{"usr":"a","msg":"b"}"#;
        assert!(Rules::open().admit(text, &mut speaker, Tim::default()).is_ok());
        assert!(speaker.facts.is_none());
    }

    #[test]
    fn the_notices_of_a_speaker_have_a_budget() {
        let mut speaker = Speaker::default();
        assert_eq!((0..100).filter(|_| speaker.take_notice(7)).count(), 10);
        assert!(speaker.take_notice(507));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,60}") {
            verdict(&Rules::open(), &text);
            verdict(&guarded(), &text);
            verdict(&guarded(), &format!(r#"{{"jwt":"{text}"}}"#));
        }

        #[test]
        fn a_token_goes_nowhere(
            before in "[a-z]{1,3}",
            value in prop_oneof![Just("{}"), Just("[1]"), Just("\"x\"")],
            exp in 0..3_000u64,
            spelling in prop_oneof![Just("jwt"), Just("\\u006awt"), Just("j\\u0077t")],
        ) {
            let token = token(exp);
            let text = format!(r#"{{"{before}":{value},"{spelling}":"{token}","usr":"a","msg":"b"}}"#);
            let name = format!("\"{spelling}\"");
            for rules in [Rules::open(), guarded()] {
                let verdict = verdict(&rules, &text);
                prop_assert!(!verdict.contains(&token));
                prop_assert!(!verdict.contains(&name));
            }
        }
    }
}
