//! Admission: the one way from a client's text to a message.

use std::sync::Arc;

use crate::chat::auth::{AuthSettings, Bearer, Verified, Verifier};
use crate::chat::bucket::{Bucket, Fill};
use crate::chat::message::{Member, Message, ParsedMessage};
use crate::chat::mod_action::{ModAction, SpeakerId};
use crate::chat::name::shown;
use crate::chat::rate::{Account, AccountKey, AddressBlock, RateLimit};
use crate::chat::refusal::Refusal;
use crate::chat::tim::Tim;

/// How many notices one connection gets: ten at once, then two a second. The rest
/// is silence, so that a client that sends nonsense cannot make the server speak
/// as fast as itself.
pub const NOTICES: Fill = Fill { interval_us: 500_000, burst: 10 };

/// Who may say what, and how fast. It never changes; a reload makes new ones.
pub struct Rules {
    verifier: Option<Verifier>,
    pace: RateLimit,
}

/// What somebody who may speak wants.
#[derive(Debug)]
pub enum ChatRequest<'a> {
    /// To say this.
    Say(Message<'a>),
    /// To have this done: a moderator, of the [name](Speaker::name) that it now has.
    Moderate(ModAction),
}

impl Rules {
    /// The rules under these settings.
    pub fn new(settings: AuthSettings, pace: RateLimit) -> Self {
        Self { verifier: Verifier::new(settings), pace }
    }

    /// The rules of a room in which everybody may speak, as fast as they like.
    pub fn open() -> Self {
        Self { verifier: None, pace: RateLimit::default() }
    }

    /// Whether speaking takes a token.
    pub const fn needs_token(&self) -> bool {
        self.verifier.is_some()
    }

    /// How many keys tokens are verified with, and how many revocations there are.
    pub fn counts(&self) -> (usize, usize) {
        self.verifier.as_ref().map_or((0, 0), Verifier::counts)
    }

    /// How fast one may speak.
    pub const fn pace(&self) -> &RateLimit {
        &self.pace
    }

    /// What `text` wishes, if whoever sent it may wish it at all; whether the
    /// room hears it now is the [room](crate::room::Room::check_now)'s affair.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] that applies: form, token, `usr`, `msg`, name, and
    /// of a command whether one may give it, and what it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{Refusal, Rules, Speaker, Tim, ChatRequest, stamp};
    /// let (rules, mut speaker, now) = (Rules::open(), Speaker::default(), Tim::default());
    ///
    /// let request = rules.admit(r#"{"usr": "ann", "msg": "hi"}"#, &mut speaker, now).unwrap();
    /// let ChatRequest::Say(message) = request else { panic!("there are no moderators here") };
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
    ) -> Result<ChatRequest<'a>, Refusal> {
        let mut draft = ParsedMessage::parse(text)?;
        // Also of who is refused all along: that is whom a moderator may look for.
        speaker.tries(draft.usr().unwrap_or_default());
        // Taken out here, whether or not it is looked at: it goes no further.
        let jwt = draft.take_jwt();
        let Some(verifier) = &self.verifier else {
            speaker.forget();
            return draft.finish().map(ChatRequest::Say);
        };
        let bearer = match jwt {
            Member::Missing | Member::Null => return Err(Refusal::JwtMissing),
            Member::Text(token) if token.is_empty() => return Err(Refusal::JwtMissing),
            Member::Text(token) => speaker.facts().check(&token, verifier, now)?,
            Member::Other => return Err(Refusal::JwtInvalid),
        };
        let is_bound = |usr: &str| bearer.usr.as_deref().is_none_or(|bound| bound == usr);
        let Some(json) = draft.cmd().filter(|_| verifier.knows_moderators()) else {
            let message = draft.finish()?;
            let bound = is_bound(message.usr());
            return if bound { Ok(ChatRequest::Say(message)) } else { Err(Refusal::NameMismatch) };
        };
        let (usr, says_nothing) = draft.finish_command()?;
        if !is_bound(&usr) {
            return Err(Refusal::NameMismatch);
        }
        if !bearer.is_moderator {
            return Err(Refusal::NotAModerator);
        }
        let action = ModAction::from_command(json).filter(|_| says_nothing);
        let action = action.ok_or(Refusal::BadCommand)?;
        speaker.is_heard_as(&usr);
        Ok(ChatRequest::Moderate(action))
    }
}

/// What the room remembers of one connection. Who only listens costs a pointer.
#[derive(Default)]
pub struct Speaker {
    facts: Option<Box<SpeakerState>>,
}

#[derive(Default)]
struct SpeakerState {
    /// The last token that verified on this connection.
    token: Option<Verified>,
    /// How many tokens were verified for it, with whatever result.
    verifications: u32,
    notices: Bucket,
    /// What it calls itself, as much of that as is looked at.
    name: String,
    /// Whether it has been heard under that name.
    is_heard: bool,
    /// What it shares with other connections of the same speaker.
    account: Option<Arc<Account>>,
}

impl SpeakerState {
    /// Checks a token, and counts if that took more than a look at the last one.
    fn check(&mut self, token: &str, verifier: &Verifier, now: Tim) -> Result<&Bearer, Refusal> {
        let known = self.token.as_ref().map(Verified::digest);
        if let Err(refusal) = verifier.check(token, &mut self.token, now) {
            self.verifications = self.verifications.wrapping_add(1);
            return Err(refusal);
        }
        let is_new = self.token.as_ref().map(Verified::digest) != known;
        self.verifications = self.verifications.wrapping_add(is_new.into());
        self.token.as_ref().map(|token| &token.bearer).ok_or(Refusal::JwtInvalid)
    }
}

impl Speaker {
    /// A speaker that goes on with this budget and this name, under which it has been
    /// heard or not. A token that it shows is verified anew.
    pub fn resume(notices: Bucket, name: String, is_heard: bool) -> Self {
        Self {
            facts: Some(Box::new(SpeakerState {
                notices,
                name,
                is_heard,
                ..SpeakerState::default()
            })),
        }
    }

    /// The name of the last message that was sent, or else of the last one that was
    /// not; without what is not seen, and cut where nobody reads on; empty if there
    /// was none.
    pub fn name(&self) -> &str {
        self.facts.as_ref().map_or("", |facts| &facts.name)
    }

    /// As moderation sees it, when it speaks as `usr` from there.
    pub fn voice<'a>(&'a self, usr: &'a str, from: AddressBlock) -> SpeakerId<'a> {
        SpeakerId { usr, sub: self.sub(), address: from, is_moderator: self.is_moderator() }
    }

    /// Somebody whom nobody has heard yet wants to speak as `usr`. Whoever has been
    /// heard is found under that name, whatever a message says that is not sent.
    fn tries(&mut self, usr: &str) {
        if !self.facts.as_ref().is_some_and(|facts| facts.is_heard) {
            self.call(usr);
        }
    }

    /// It is heard, as `usr`.
    pub(crate) fn is_heard_as(&mut self, usr: &str) {
        self.call(usr);
        self.facts().is_heard = true;
    }

    /// Remembers a name; none if nothing of it is visible.
    fn call(&mut self, usr: &str) {
        let name = shown(usr);
        if !name.is_empty() && name != self.name() {
            self.facts().name = name.into_owned();
        }
    }

    /// Who pays for what it says, if it comes from there.
    pub(crate) fn account(
        &mut self,
        from: AddressBlock,
        find: impl FnOnce(&AccountKey) -> Arc<Account>,
    ) -> &Account {
        let facts = self.facts.get_or_insert_default();
        let sub = facts.token.as_ref().and_then(|token| token.bearer.sub.as_deref());
        let is_own = |who: &AccountKey| match (who, sub) {
            (AccountKey::Sub(own), Some(sub)) => **own == *sub,
            (AccountKey::From(own), None) => *own == from,
            _ => false,
        };
        let account = facts.account.take_if(|account| !is_own(account.who()));
        drop(account);
        facts.account.get_or_insert_with(|| {
            find(&sub.map_or(AccountKey::From(from), |sub| AccountKey::Sub(sub.into())))
        })
    }

    /// How many tokens were verified for it, with whatever result: each may have
    /// cost a signature. It wraps.
    pub fn verifications(&self) -> u32 {
        self.facts.as_ref().map_or(0, |facts| facts.verifications)
    }

    /// What is left of its budget of notices.
    pub fn notices(&self) -> Bucket {
        self.facts.as_ref().map(|facts| facts.notices).unwrap_or_default()
    }

    /// Whether the speaker may get another notice at `now_ms`, milliseconds of
    /// a clock that does not step back; if so, one is taken from its budget.
    pub fn take_notice(&mut self, now_ms: u64) -> bool {
        self.facts().notices.take(now_ms.saturating_mul(1000), NOTICES).is_ok()
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

    fn facts(&mut self) -> &mut SpeakerState {
        self.facts.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::keys::TokenKey;
    use crate::chat::rate::Accounts;
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
        match rules.admit(text, &mut speaker, Tim::from_nanos(1_000_000_000_000)) {
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
        let rules = Rules::new(
            AuthSettings { bind_usr: Some("nick".into()), ..settings() },
            RateLimit::default(),
        );
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
        let (rules, now) = (Rules::new(asking, RateLimit::default()), Tim::default());
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
    fn a_command_is_one_only_from_a_moderator_where_there_are_some() {
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
        // Nothing is reserved where nobody can be a moderator.
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
        assert_eq!(verdict, "jwt-invalid", "the claim is no name");
    }

    #[test]
    fn a_speaker_pays_from_its_own_account() {
        let (mut speaker, accounts) = (Speaker::default(), Accounts::default());
        let pace = RateLimit::default();
        let (here, there) = (AddressBlock([1; 16]), AddressBlock([2; 16]));
        let who = |speaker: &mut Speaker, from| {
            let find = |who: &AccountKey| accounts.account(who, 0, &pace);
            speaker.account(from, find).who().clone()
        };
        assert_eq!(who(&mut speaker, here), AccountKey::From(here));
        assert_eq!(who(&mut speaker, there), AccountKey::From(there));
        let text = format!(
            r#"{{"usr":"a","jwt":"{}","msg":"b"}}"#,
            signed(&serde_json::json!({ "exp": 2_000, "sub": "u7" }))
        );
        assert!(guarded().admit(&text, &mut speaker, Tim::default()).is_ok());
        assert_eq!(who(&mut speaker, here), AccountKey::Sub("u7".into()));
        assert!(Rules::open().admit(&text, &mut speaker, Tim::default()).is_ok());
        assert_eq!(who(&mut speaker, here), AccountKey::From(here));
    }

    #[test]
    fn who_only_listens_costs_a_pointer() {
        assert_eq!(size_of::<Speaker>(), 8);
        let speaker = Speaker::default();
        assert!(speaker.facts.is_none());
        assert_eq!((speaker.name(), speaker.sub()), ("", None));
    }

    #[test]
    fn a_speaker_is_called_as_it_was_heard_last_or_else_as_it_wanted_to_be() {
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
            assert!(guarded().admit(text, &mut speaker, Tim::default()).is_err());
            assert_eq!(speaker.name(), name, "{text}");
        }
        let text = r#"{"usr":"zoe","msg":"b"}"#;
        assert!(Rules::open().admit(text, &mut speaker, Tim::default()).is_ok());
        assert_eq!(speaker.name(), "zoe");
        // Nobody hides from a moderator by what nobody sees.
        speaker.is_heard_as(" zoe\u{200b}");
        let text = r#"{"usr":"ann"}"#;
        assert!(Rules::open().admit(text, &mut speaker, Tim::default()).is_err());
        assert_eq!(speaker.name(), "zoe");
        speaker.is_heard_as("ann");
        assert_eq!(speaker.name(), "ann");
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
                prop_assert!(!verdict.contains(&name) && !verdict.contains("\"jwt\""));
            }
        }
    }
}
