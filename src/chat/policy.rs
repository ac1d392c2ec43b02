//! The rules of a room: the way from the text of a client to a request.

use super::message::{FieldValue, Message, ParsedMessage};
use super::mod_action::ModAction;
use super::notices::Refusal;
use super::rate::RateLimit;
use super::speaker::Speaker;
use super::tim::Tim;
use super::tokens::{AuthSettings, Verifier};

/// Who may send what, and how fast. Rules never change; a reload makes new ones.
pub struct Rules {
    verifier: Option<Verifier>,
    rate_limit: RateLimit,
}

/// The request of a client that can send messages.
#[derive(Debug)]
pub enum ChatRequest<'a> {
    /// Send this message.
    Say(Message<'a>),
    /// Do this. The client is a moderator with the [name](Speaker::name) of the command.
    Moderate(ModAction),
}

/// The answer of the rules to one text.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The request, or the first [`Refusal`] that applies: of the form, the token, `usr`,
    /// `msg`, the name, and for a command whether the bearer is a moderator and it is
    /// valid.
    pub request: Result<ChatRequest<'a>, Refusal>,
    /// Whether a token was verified, with any result: that can take the time of a
    /// signature.
    pub token_verified: bool,
}

impl Rules {
    /// The rules with these settings.
    pub fn new(settings: AuthSettings, rate_limit: RateLimit) -> Self {
        Self { verifier: Verifier::new(settings), rate_limit }
    }

    /// Rules that let every client send messages without a limit.
    pub fn open() -> Self {
        Self::new(AuthSettings::default(), RateLimit::default())
    }

    /// The numbers of keys for tokens and of revocations.
    pub fn counts(&self) -> (usize, usize) {
        self.verifier.as_ref().map_or((0, 0), Verifier::counts)
    }

    /// Whether a token is needed.
    pub fn needs_token(&self) -> bool {
        self.verifier.is_some()
    }

    /// The claim that makes the bearer of a token a moderator.
    pub fn moderator_claim(&self) -> Option<&str> {
        self.verifier.as_ref().and_then(Verifier::moderator_claim)
    }

    /// How fast a speaker may send.
    pub const fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    /// Reads `text` and checks what does not depend on the state of the room;
    /// [`Room::check_now`](crate::room::Room::check_now) checks the rest. `bearer` is the
    /// token that came with the text; the field `jwt` must be missing or the same then.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{Refusal, Rules, Speaker, Tim, ChatRequest, stamp};
    /// let (rules, mut speaker, now) = (Rules::open(), Speaker::default(), Tim::default());
    ///
    /// let admission = rules.admit(r#"{"usr": "ann", "msg": "hi"}"#, None, &mut speaker, now);
    /// let Ok(ChatRequest::Say(message)) = admission.request else { panic!() };
    /// let mut text = Vec::new();
    /// message.encode(&mut text);
    /// stamp(&mut text, now);
    /// assert_eq!(text, br#"{"usr":"ann","msg":"hi","tim":"1970-01-01T00:00:00.000000000Z"}"#);
    ///
    /// let admission = rules.admit(r#"{"usr": "ann"}"#, None, &mut speaker, now);
    /// assert_eq!(admission.request.unwrap_err(), Refusal::MissingMsg);
    /// ```
    pub fn admit<'a>(
        &self,
        text: &'a str,
        bearer: Option<&str>,
        speaker: &mut Speaker,
        now: Tim,
    ) -> Admission<'a> {
        let mut token_verified = false;
        let request = self.request(text, bearer, speaker, now, &mut token_verified);
        Admission { request, token_verified }
    }

    fn request<'a>(
        &self,
        text: &'a str,
        bearer: Option<&str>,
        speaker: &mut Speaker,
        now: Tim,
        token_verified: &mut bool,
    ) -> Result<ChatRequest<'a>, Refusal> {
        let mut parsed = ParsedMessage::parse(text, bearer)?;
        // Also if it is refused: a moderator may look for the sender.
        speaker.name_received(parsed.usr().unwrap_or_default());
        // Removed even if it is not checked, so that it goes no further.
        let jwt = parsed.take_jwt();
        let Some(verifier) = &self.verifier else {
            speaker.forget_token();
            return parsed.into_message().map(ChatRequest::Say);
        };
        let token = match (&jwt, bearer) {
            (FieldValue::Other, _) => return Err(Refusal::JwtInvalid),
            (FieldValue::Text(token), _) if !token.is_empty() => token,
            (_, Some(token)) if !token.is_empty() => token,
            _ => return Err(Refusal::JwtMissing),
        };
        let checked = speaker.check_token(token, verifier, now);
        *token_verified = checked.as_ref().map_or(true, |(_, is_new)| *is_new);
        let bearer = checked?.0;
        let may_use = |usr: &str| bearer.usr.as_deref().is_none_or(|only| only == usr);
        let Some(json) = parsed.cmd().filter(|_| verifier.moderator_claim().is_some()) else {
            let message = parsed.into_message()?;
            let may_use = may_use(message.usr());
            return if may_use {
                Ok(ChatRequest::Say(message))
            } else {
                Err(Refusal::NameMismatch)
            };
        };
        let (usr, has_no_msg) = parsed.into_command()?;
        if !may_use(&usr) {
            return Err(Refusal::NameMismatch);
        }
        if !bearer.is_moderator {
            return Err(Refusal::NotAModerator);
        }
        let action = ModAction::from_command(json).filter(|_| has_no_msg);
        let action = action.ok_or(Refusal::BadCommand)?;
        speaker.name_sent(&usr);
        Ok(ChatRequest::Moderate(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tokens::TokenKey;
    use jsonwebtoken::Algorithm;
    use proptest::prelude::*;

    const SENT: &str = r#"{"usr":"a","msg":"b"}"#;

    fn key() -> TokenKey {
        TokenKey::secret(None, Algorithm::HS256, b"a secret of more than thirty-two bytes").unwrap()
    }

    fn settings() -> AuthSettings {
        AuthSettings { keys: vec![key()], check_exp: true, ..AuthSettings::default() }
    }

    fn with_token() -> Rules {
        Rules::new(settings(), RateLimit::default())
    }

    fn with_moderators(bind_usr: Option<&str>) -> Rules {
        let (bind_usr, moderator_claim) = (bind_usr.map(Into::into), Some("mod".into()));
        let settings = AuthSettings { bind_usr, moderator_claim, ..settings() };
        Rules::new(settings, RateLimit::default())
    }

    fn token(claims: &str) -> String {
        let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
        key().sign(&claims).unwrap()
    }

    /// The message that is sent, the command or the code of the refusal.
    fn result(rules: &Rules, text: &str) -> String {
        let mut speaker = Speaker::default();
        match rules.admit(text, None, &mut speaker, Tim::from_nanos(1_000_000_000_000)).request {
            Ok(ChatRequest::Say(message)) => {
                let mut text = Vec::new();
                message.encode(&mut text);
                let text = String::from_utf8(text).unwrap();
                text.replace(r#","tim":"0000-00-00T00:00:00.000000000Z""#, "")
            }
            Ok(ChatRequest::Moderate(action)) => format!("{action:?} by {}", speaker.name()),
            Err(refusal) => refusal.code().into(),
        }
    }

    /// Checks the result of each text, in which a token replaces its claims `<…>`.
    #[track_caller]
    fn check(rules: &Rules, cases: &[(&str, &str)]) {
        for (text, want) in cases {
            let text = match text.split_once('<').zip(text.rsplit_once('>')) {
                Some(((before, _), (_, behind))) => {
                    let claims = &text[before.len() + 1..text.len() - behind.len() - 1];
                    [before, &token(claims), behind].concat()
                }
                None => (*text).to_owned(),
            };
            assert_eq!(result(rules, &text), *want, "{text}");
        }
    }

    #[test]
    fn the_form_comes_before_the_token_usr_msg_and_the_name() {
        check(
            &with_token(),
            &[
                (r#"{"usr":"a""#, "bad-json"),
                (r#"{"usr":"\ud800","usr":"x"}"#, "bad-json"),
                (r#"["usr","usr"]"#, "not-an-object"),
                (r#"{"usr":1,"usr":2}"#, "duplicate-field"),
                (r#"{"jwt":"x","jwt":"x"}"#, "duplicate-field"),
                (r#"{}"#, "jwt-missing"),
                (r#"{"usr":"","jwt":null}"#, "jwt-missing"),
                (r#"{"usr":1,"jwt":""}"#, "jwt-missing"),
                (r#"{"jwt":" "}"#, "jwt-invalid"),
                (r#"{"jwt":1}"#, "jwt-invalid"),
                (r#"{"jwt":true}"#, "jwt-invalid"),
                (r#"{"jwt":{}}"#, "jwt-invalid"),
                (r#"{"jwt":["<{"exp":2000}>"]}"#, "jwt-invalid"),
                (r#"{"jwt":"\ud800"}"#, "jwt-invalid"),
                (r#"{"usr":null,"jwt":"x.y.z"}"#, "jwt-invalid"),
                (r#"{"jwt":"<{"exp":999}>"}"#, "jwt-expired"),
                (r#"{"jwt":"<{"exp":2000}>"}"#, "missing-usr"),
                (r#"{"jwt":"<{"exp":2000}>","usr":" ","msg":1}"#, "missing-usr"),
                (r#"{"jwt":"<{"exp":2000}>","usr":1}"#, "bad-type"),
                (r#"{"jwt":"<{"exp":2000}>","usr":"wschat"}"#, "missing-msg"),
                (r#"{"jwt":"<{"exp":2000}>","usr":"wschat","msg":1}"#, "bad-type"),
                (r#"{"jwt":"<{"exp":2000}>","usr":"wschat","msg":"b"}"#, "name-reserved"),
                (r#"{"jwt":"<{"exp":2000}>","usr":"a","msg":"b"}"#, SENT),
                (r#"{"usr":"a","\u006a\u0077t":"<{"exp":2000}>","msg":"b"}"#, SENT),
            ],
        );
        let escaped = token(r#"{"exp":2000}"#).replace('.', "\\u002e");
        check(&with_token(), &[(&format!(r#"{{"usr":"a","msg":"b","jwt":"{escaped}"}}"#), SENT)]);
    }

    #[test]
    fn without_keys_a_token_is_removed() {
        for jwt in [r#""x""#, "null", r#""""#, "1", r#"["x"]"#, r#""\ud800""#] {
            let text = format!(r#"{{"usr":"a","jwt":{jwt},"msg":"b"}}"#);
            check(&Rules::open(), &[(&text, SENT)]);
        }
        check(&Rules::open(), &[(SENT, SENT)]);
    }

    #[test]
    fn the_bearer_may_use_only_the_name_in_the_token() {
        let settings = AuthSettings { bind_usr: Some("nick".into()), ..settings() };
        let rules = Rules::new(settings, RateLimit::default());
        for (usr, msg, want) in [
            (r#""a""#, r#""b""#, SENT),
            (r#""\u0061""#, r#""b""#, r#"{"usr":"\u0061","msg":"b"}"#),
            (r#""u7""#, r#""b""#, "name-mismatch"),
            (r#""A""#, r#""b""#, "name-mismatch"),
            (r#""a ""#, r#""b""#, "name-mismatch"),
            (r#""\u0430""#, r#""b""#, "name-mismatch"),
            (r#""wschat""#, r#""b""#, "name-reserved"),
            (r#""u7""#, "1", "bad-type"),
            (r#""""#, r#""b""#, "missing-usr"),
        ] {
            let jwt = r#""jwt":"<{"exp":2000,"sub":"u7","nick":"a"}>""#;
            check(&rules, &[(&format!(r#"{{"usr":{usr},{jwt},"msg":{msg}}}"#), want)]);
        }
        check(&rules, &[(r#"{"usr":"a","jwt":"<{"exp":2000}>","msg":"b"}"#, "jwt-invalid")]);
    }

    #[test]
    fn commands_are_for_moderators() {
        let rules = with_moderators(None);
        for (claims, rest, want) in [
            (r#","mod":true"#, r#""cmd":{"lock":true}"#, "Lock by ann"),
            (r#","mod":true"#, r#""\u0063md":{"lock":true}"#, "Lock by ann"),
            (r#","mod":true"#, r#""cmd":{"dance":true}"#, "bad-command"),
            (r#","mod":true"#, r#""cmd":null"#, "bad-command"),
            (r#","mod":true"#, r#""cmd":{"lock":true},"msg":"b""#, "bad-command"),
            ("", r#""cmd":{"lock":true}"#, "not-a-moderator"),
            ("", r#""cmd":{"lock":true},"msg":"b""#, "not-a-moderator"),
        ] {
            let text = format!(r#"{{"usr":"ann","jwt":"<{{"exp":2000{claims}}}>",{rest}}}"#);
            check(&rules, &[(&text, want)]);
        }
        check(
            &rules,
            &[
                (r#"{"usr":"ann","jwt":"x","cmd":{"lock":true}}"#, "jwt-invalid"),
                (r#"{"jwt":"<{"exp":2000,"mod":true}>","cmd":{"lock":true}}"#, "missing-usr"),
                (r#"{"usr":"Wschat","jwt":"<{"exp":2000,"mod":true}>","cmd":{}}"#, "name-reserved"),
            ],
        );
        let text = r#"{"usr":"a","jwt":"<{"exp":2000,"mod":true}>","cmd":{},"msg":"b"}"#;
        check(&with_moderators(Some("mod")), &[(text, "jwt-invalid")]);
        // Without moderators `cmd` is a field like others.
        let sent = r#"{"usr":"a","cmd":{},"msg":"b"}"#;
        check(&with_token(), &[(text, sent)]);
        check(&Rules::open(), &[(text, sent)]);
    }

    #[test]
    fn a_speaker_is_the_bearer_of_the_last_token() {
        let mut speaker = Speaker::default();
        assert_eq!((speaker.sub(), speaker.is_moderator()), (None, false));
        for (rules, claims, want) in [
            (with_moderators(None), r#"{"exp":2000,"sub":"ann","mod":true}"#, (Some("ann"), true)),
            (with_moderators(None), r#"{"exp":2000,"sub":"bob"}"#, (Some("bob"), false)),
            // Without keys the token is forgotten.
            (Rules::open(), r#"{"exp":2000,"sub":"bob"}"#, (None, false)),
        ] {
            let text = format!(r#"{{"usr":"a","jwt":"{}","msg":"b"}}"#, token(claims));
            assert!(rules.admit(&text, None, &mut speaker, Tim::default()).request.is_ok());
            assert_eq!((speaker.sub(), speaker.is_moderator()), want);
        }
    }

    #[test]
    fn the_name_is_of_the_last_message_that_was_sent_or_of_the_last_attempt() {
        let mut speaker = Speaker::default();
        for (rules, text, is_ok, name) in [
            (with_token(), r#"{"usr":"a","ms"#, false, ""),
            (with_token(), r#"{"msg":"b"}"#, false, ""),
            (with_token(), r#"{"usr":" ann\u200b "}"#, false, "ann"),
            (with_token(), r#"{"usr":"bob","msg":"b"}"#, false, "bob"),
            (with_token(), r#"{"usr":"eve","jwt":"x.y.z","msg":"b"}"#, false, "eve"),
            (with_token(), r#"{"usr":"\u200b","msg":"b"}"#, false, "eve"),
            (with_token(), r#"{"usr":7,"msg":"b"}"#, false, "eve"),
            (Rules::open(), r#"{"usr":"zoe","msg":"b"}"#, true, "zoe"),
        ] {
            let request = rules.admit(text, None, &mut speaker, Tim::default()).request;
            assert_eq!((request.is_ok(), speaker.name()), (is_ok, name), "{text}");
        }
        // Invisible characters do not hide a speaker, nor does a refused message.
        speaker.name_sent(" zoe\u{200b}");
        let request = Rules::open().admit(r#"{"usr":"ann"}"#, None, &mut speaker, Tim::default());
        assert_eq!((request.request.is_err(), speaker.name()), (true, "zoe"));
        speaker.name_sent("ann");
        assert_eq!(speaker.name(), "ann");
    }

    #[test]
    fn notices_have_a_budget() {
        let mut speaker = Speaker::default();
        assert_eq!((0..100).filter(|_| speaker.take_notice(7)).count(), 10);
        assert!(speaker.take_notice(507));
    }

    proptest! {
        #[test]
        fn a_token_goes_nowhere(
            before in "[a-z]{1,3}",
            value in prop_oneof![Just("{}"), Just("[1]"), Just("\"x\"")],
            exp in 0..3_000u64,
            spelling in prop_oneof![Just("jwt"), Just("\\u006awt"), Just("j\\u0077t")],
        ) {
            let token = token(&format!(r#"{{"exp":{exp}}}"#));
            let text = format!(r#"{{"{before}":{value},"{spelling}":"{token}","usr":"a","msg":"b"}}"#);
            let name = format!("\"{spelling}\"");
            for rules in [Rules::open(), with_token()] {
                let result = result(&rules, &text);
                prop_assert!(!result.contains(&token));
                prop_assert!(!result.contains(&name) && !result.contains("\"jwt\""));
            }
        }
    }
}
