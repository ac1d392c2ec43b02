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

/// What a client that may speak asks for.
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

    /// Rules that let everybody speak without a limit.
    pub fn open() -> Self {
        Self::new(AuthSettings::default(), RateLimit::default())
    }

    /// Whether a message must have a token.
    pub const fn needs_token(&self) -> bool {
        self.verifier.is_some()
    }

    /// The numbers of keys for tokens and of revocations.
    pub fn counts(&self) -> (usize, usize) {
        self.verifier.as_ref().map_or((0, 0), Verifier::counts)
    }

    /// How fast a speaker may send.
    pub const fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    /// Reads `text` and checks what does not depend on the state of the room;
    /// [`Room::check_now`](crate::room::Room::check_now) checks the rest.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{Refusal, Rules, Speaker, Tim, ChatRequest, stamp};
    /// let (rules, mut speaker, now) = (Rules::open(), Speaker::default(), Tim::default());
    ///
    /// let admission = rules.admit(r#"{"usr": "ann", "msg": "hi"}"#, &mut speaker, now);
    /// let Ok(ChatRequest::Say(message)) = admission.request else { panic!() };
    /// let mut text = Vec::new();
    /// message.encode(&mut text);
    /// stamp(&mut text, now);
    /// assert_eq!(text, br#"{"usr":"ann","msg":"hi","tim":"1970-01-01T00:00:00.000000000Z"}"#);
    ///
    /// let admission = rules.admit(r#"{"usr": "ann"}"#, &mut speaker, now);
    /// assert_eq!(admission.request.unwrap_err(), Refusal::MissingMsg);
    /// ```
    pub fn admit<'a>(&self, text: &'a str, speaker: &mut Speaker, now: Tim) -> Admission<'a> {
        let mut token_verified = false;
        let request = self.request(text, speaker, now, &mut token_verified);
        Admission { request, token_verified }
    }

    fn request<'a>(
        &self,
        text: &'a str,
        speaker: &mut Speaker,
        now: Tim,
        token_verified: &mut bool,
    ) -> Result<ChatRequest<'a>, Refusal> {
        let mut parsed = ParsedMessage::parse(text)?;
        // Also if it is refused: a moderator may look for the sender.
        speaker.name_received(parsed.usr().unwrap_or_default());
        // Removed even if it is not checked, so that it goes no further.
        let jwt = parsed.take_jwt();
        let Some(verifier) = &self.verifier else {
            speaker.forget_token();
            return parsed.into_message().map(ChatRequest::Say);
        };
        let bearer = match jwt {
            FieldValue::Missing | FieldValue::Null => return Err(Refusal::JwtMissing),
            FieldValue::Text(token) if token.is_empty() => return Err(Refusal::JwtMissing),
            FieldValue::Text(token) => {
                let checked = speaker.check_token(&token, verifier, now);
                *token_verified = checked.as_ref().map_or(true, |(_, is_new)| *is_new);
                checked?.0
            }
            FieldValue::Other => return Err(Refusal::JwtInvalid),
        };
        let may_use = |usr: &str| bearer.usr.as_deref().is_none_or(|only| only == usr);
        let Some(json) = parsed.cmd().filter(|_| verifier.has_moderators()) else {
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
        Rules::new(settings(), RateLimit::default())
    }

    fn token(exp: u64) -> String {
        signed(&serde_json::json!({ "exp": exp }))
    }

    fn signed(claims: &serde_json::Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn verdict(rules: &Rules, text: &str) -> String {
        let mut speaker = Speaker::default();
        match rules.admit(text, &mut speaker, Tim::from_nanos(1_000_000_000_000)).request {
            Ok(ChatRequest::Say(message)) => {
                let mut text = Vec::new();
                message.encode(&mut text);
                String::from_utf8(text).unwrap()
            }
            Ok(ChatRequest::Moderate(act)) => format!("{act:?} by {}", speaker.name()),
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
    fn the_form_comes_before_the_token_usr_msg_and_the_name() {
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
    fn without_keys_a_token_is_removed() {
        let rules = Rules::open();
        for jwt in [r#""x""#, "null", r#""""#, "1", r#"["x"]"#, r#""\ud800""#] {
            check(&rules, &format!(r#"{{"usr":"a","jwt":{jwt},"msg":"b"}}"#), "sent");
        }
        check(&rules, r#"{"usr":"a","msg":"b"}"#, "sent");
        assert!(!rules.needs_token());
        assert!(guarded().needs_token());
    }

    #[test]
    fn the_bearer_may_use_only_the_name_in_the_token() {
        let settings = AuthSettings { bind_usr: Some("nick".into()), ..settings() };
        let rules = Rules::new(settings, RateLimit::default());
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
    fn a_speaker_is_the_bearer_of_the_last_token() {
        let asking = AuthSettings { moderator_claim: Some("mod".into()), ..settings() };
        let (rules, now) = (Rules::new(asking, RateLimit::default()), Tim::default());
        let say = |claims| format!(r#"{{"usr":"a","jwt":"{}","msg":"b"}}"#, signed(&claims));
        let mut speaker = Speaker::default();
        assert_eq!((speaker.sub(), speaker.is_moderator()), (None, false));

        let text = say(serde_json::json!({ "exp": 2_000, "sub": "ann", "mod": true }));
        assert!(rules.admit(&text, &mut speaker, now).request.is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (Some("ann"), true));

        let text = say(serde_json::json!({ "exp": 2_000, "sub": "bob" }));
        assert!(rules.admit(&text, &mut speaker, now).request.is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (Some("bob"), false));

        // Without keys the token is forgotten.
        assert!(Rules::open().admit(&text, &mut speaker, now).request.is_ok());
        assert_eq!((speaker.sub(), speaker.is_moderator()), (None, false));
    }

    #[test]
    fn commands_are_for_moderators() {
        let asking = AuthSettings { moderator_claim: Some("mod".into()), ..settings() };
        let rules = Rules::new(asking, RateLimit::default());
        let plain = signed(&serde_json::json!({ "exp": 2_000 }));
        let chief = signed(&serde_json::json!({ "exp": 2_000, "mod": true }));
        let text = |jwt: &str, rest: &str| format!(r#"{{"usr":"ann","jwt":"{jwt}",{rest}}}"#);
        for (text, expected) in [
            (text(&chief, r#""cmd":{"lock":true}"#), "Lock by ann"),
            (text(&chief, r#""\u0063md":{"lock":true}"#), "Lock by ann"),
            (text(&chief, r#""cmd":{"dance":true}"#), "bad-command"),
            (text(&chief, r#""cmd":null"#), "bad-command"),
            (text(&chief, r#""cmd":{"lock":true},"msg":"b""#), "bad-command"),
            (text(&plain, r#""cmd":{"lock":true}"#), "not-a-moderator"),
            (text(&plain, r#""cmd":{"lock":true},"msg":"b""#), "not-a-moderator"),
            (text("x", r#""cmd":{"lock":true}"#), "jwt-invalid"),
            (format!(r#"{{"jwt":"{chief}","cmd":{{"lock":true}}}}"#), "missing-usr"),
            (format!(r#"{{"usr":"Wschat","jwt":"{chief}","cmd":{{}}}}"#), "name-reserved"),
        ] {
            assert_eq!(verdict(&rules, &text), expected, "{text}");
        }
        // Without moderators `cmd` is a field like others.
        let said = text(&plain, r#""cmd":{"lock":true},"msg":"b""#);
        for rules in [guarded(), Rules::open()] {
            assert!(verdict(&rules, &said).contains(r#""cmd":{"lock":true}"#));
        }
        let bound = AuthSettings {
            moderator_claim: Some("mod".into()),
            bind_usr: Some("mod".into()),
            ..settings()
        };
        let verdict =
            verdict(&Rules::new(bound, RateLimit::default()), &text(&chief, r#""cmd":{}"#));
        assert_eq!(verdict, "jwt-invalid", "the claim is not a name");
    }

    #[test]
    fn the_name_is_of_the_last_message_that_was_sent_or_of_the_last_attempt() {
        let mut speaker = Speaker::default();
        for (text, name) in [
            (r#"{"usr":"a","ms"#, ""),
            (r#"{"msg":"b"}"#, ""),
            (r#"{"usr":" ann\u200b "}"#, "ann"),
            (r#"{"usr":"bob","msg":"b"}"#, "bob"),
            (r#"{"usr":"eve","jwt":"x.y.z","msg":"b"}"#, "eve"),
            (r#"{"usr":"\u200b","msg":"b"}"#, "eve"),
            (r#"{"usr":7,"msg":"b"}"#, "eve"),
        ] {
            assert!(guarded().admit(text, &mut speaker, Tim::default()).request.is_err());
            assert_eq!(speaker.name(), name, "{text}");
        }
        let text = r#"{"usr":"zoe","msg":"b"}"#;
        assert!(Rules::open().admit(text, &mut speaker, Tim::default()).request.is_ok());
        assert_eq!(speaker.name(), "zoe");
        // Invisible characters do not hide a speaker.
        speaker.name_sent(" zoe\u{200b}");
        let text = r#"{"usr":"ann"}"#;
        assert!(Rules::open().admit(text, &mut speaker, Tim::default()).request.is_err());
        assert_eq!(speaker.name(), "zoe");
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
        fn every_text_has_a_result(text in "\\PC{0,60}") {
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
                prop_assert!(!verdict.contains(&name) && !verdict.contains("\"jwt\""));
            }
        }
    }
}
