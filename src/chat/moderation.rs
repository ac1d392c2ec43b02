//! What moderators and operators decide while the room is open: who is muted,
//! whether the room is locked, how slow it is.
//!
//! It outlives a restart (the handover has it) and a crash (a file has it), so
//! its times are of the day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::{look, looks};
use super::refusal::{Refusal, Refused};
use super::tim::Tim;
use crate::chat::mod_action::{Actor, ModAction, ModActionError, SpeakerId, Target};
use crate::chat::rate::{AddressBlock, RateLimit};

/// Somebody who may not speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Who.
    pub target: Target,
    /// Since when, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// Until when; if not, until unmuted.
    pub until_secs: Option<u64>,
    /// Who did it.
    pub by: String,
}

impl Mute {
    fn is_over(&self, now_secs: u64) -> bool {
        self.until_secs.is_some_and(|until| until <= now_secs)
    }

    /// Bytes of its texts.
    const fn bytes(&self) -> usize {
        match &self.target {
            Target::Name(name) | Target::Sub(name) => name.len() + self.by.len(),
            Target::Address(_) | Target::Connection(_) => self.by.len(),
        }
    }
}

/// What is decided now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredModeration", into = "StoredModeration")]
pub struct Moderation {
    locked: bool,
    slow_secs: Option<u32>,
    /// One for each target, those of names that look alike side by side.
    mutes: BTreeMap<Key, Mute>,
}

/// What a mute is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A look, and to the letter a name of it.
    Name(String, String),
    From(AddressBlock),
}

impl Key {
    fn name(name: &str) -> Self {
        Self::Name(look(name), name.to_owned())
    }

    /// Where a mute of `target` is; nowhere, if it is one that cannot be muted.
    fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Name(name) | Target::Sub(name) => Some(Self::name(name)),
            Target::Address(block) => Some(Self::From(*block)),
            Target::Connection(_) => None,
        }
    }
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct StoredModeration {
    locked: bool,
    slow_secs: Option<u32>,
    mutes: Vec<Mute>,
}

impl From<Moderation> for StoredModeration {
    fn from(moderation: Moderation) -> Self {
        let Moderation { locked, slow_secs, .. } = moderation;
        Self { locked, slow_secs, mutes: moderation.mutes.into_values().collect() }
    }
}

impl From<StoredModeration> for Moderation {
    fn from(decided: StoredModeration) -> Self {
        let StoredModeration { locked, slow_secs, mutes } = decided;
        let keyed = |mute: Mute| Some((Key::of(&mute.target)?, mute));
        Self { locked, slow_secs, mutes: mutes.into_iter().filter_map(keyed).collect() }
    }
}

impl Moderation {
    /// The most mutes at once.
    pub const MUTES_MAX: usize = 10_000;
    /// The most bytes in the names of whom they are of and by, all together.
    const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

    /// Whether only moderators speak.
    pub const fn is_locked(&self) -> bool {
        self.locked
    }

    /// The seconds between two messages, where they are decided on.
    pub const fn slow_secs(&self) -> Option<u32> {
        self.slow_secs
    }

    /// Who is muted now.
    pub fn mutes(&self, now: Tim) -> impl Iterator<Item = &Mute> {
        let now_secs = now.whole_secs();
        self.mutes.values().filter(move |mute| !mute.is_over(now_secs))
    }

    /// Does what of `act` is a decision that lasts.
    ///
    /// # Errors
    ///
    /// Why it is not done; then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{ModAction, Actor, Moderation, Target, Tim};
    /// let (mut moderation, by) = (Moderation::default(), Actor::Operator { uid: 0 });
    /// let bob = Target::Name("bob".into());
    /// moderation.decide(&ModAction::Mute { target: bob, secs: Some(600) }, &by, Tim::default()).unwrap();
    /// assert_eq!(moderation.mutes(Tim::default()).count(), 1);
    /// assert_eq!(moderation.mutes(Tim::from_nanos(600_000_000_000)).count(), 0);
    /// ```
    pub fn decide(&mut self, act: &ModAction, by: &Actor, now: Tim) -> Result<(), ModActionError> {
        let now_secs = now.whole_secs();
        self.mutes.retain(|_, mute| !mute.is_over(now_secs));
        match act {
            ModAction::Mute { target, secs } => {
                let key = Key::of(target).ok_or(ModActionError::Connection)?;
                let until_secs = secs.map(|secs| now_secs + u64::from(secs));
                let (target, by) = (target.clone(), by.to_string());
                let mute = Mute { target, since_secs: now_secs, until_secs, by };
                let others = || self.mutes.iter().filter(|other| *other.0 != key);
                let text_bytes =
                    mute.bytes() + others().map(|(_, mute)| mute.bytes()).sum::<usize>();
                if others().count() >= Self::MUTES_MAX || text_bytes > Self::TEXT_BYTES_MAX {
                    return Err(ModActionError::TooMany);
                }
                self.mutes.insert(key, mute);
            }
            ModAction::Unmute { target } => self.unmute(target)?,
            ModAction::Lock => self.locked = true,
            ModAction::Unlock => self.locked = false,
            ModAction::Slow { secs } => self.slow_secs = *secs,
            ModAction::Kick { .. } | ModAction::Retract { .. } | ModAction::Say { .. } => {}
        }
        Ok(())
    }

    /// How fast everybody may speak who is no moderator, where the configuration
    /// says `pace`.
    pub fn pace(&self, pace: &RateLimit) -> RateLimit {
        let slow_ms = self.slow_secs.map_or(pace.slow_ms, |secs| u64::from(secs) * 1000);
        RateLimit { slow_ms, ..*pace }
    }

    /// Whether that voice may be heard.
    ///
    /// # Errors
    ///
    /// [`Refusal::Locked`], or [`Refusal::Muted`] with the time to wait.
    pub fn check_now(&self, voice: &SpeakerId<'_>, now: Tim) -> Result<(), Refused> {
        if self.locked && !voice.is_moderator {
            return Err(Refusal::Locked.into());
        }
        match self.mute_of(voice, now) {
            None => Ok(()),
            Some(mute) => {
                let wait_secs = mute.until_secs.map(|until| until - now.whole_secs());
                Err(Refused { refusal: Refusal::Muted, wait_secs })
            }
        }
    }

    /// Whether that voice is muted.
    pub fn is_muted(&self, voice: &SpeakerId<'_>, now: Tim) -> bool {
        self.mute_of(voice, now).is_some()
    }

    /// The mute of that voice that is not over: one that is hides no other.
    fn mute_of(&self, voice: &SpeakerId<'_>, now: Tim) -> Option<&Mute> {
        if self.mutes.is_empty() {
            return None;
        }
        let of = |key| self.mutes.get(&key);
        let by_look = |look| self.of_look(look).map(|(_, mute)| mute);
        let by_name = looks(voice.usr).into_iter().flat_map(by_look);
        let by_sub = voice.sub.and_then(|sub| of(Key::name(sub)));
        let now_secs = now.whole_secs();
        by_name
            .chain(by_sub)
            .chain(of(Key::From(voice.address)))
            .filter(|mute| !mute.is_over(now_secs))
            .max_by_key(|mute| mute.until_secs.unwrap_or(u64::MAX))
    }

    /// The mutes of all names of that look.
    fn of_look(&self, look: String) -> impl Iterator<Item = (&Key, &Mute)> {
        // Whoever has no name looks like nobody.
        let named = |(_, mute): &(&Key, &Mute)| matches!(mute.target, Target::Name(_));
        let is_none = look.is_empty();
        let from = Key::Name(look.clone(), String::new());
        let alike = move |(key, _): &(&Key, &Mute)| match key {
            Key::Name(other, _) => *other == look && !is_none,
            Key::From(_) => false,
        };
        self.mutes.range(from..).take_while(alike).filter(named)
    }

    /// Ends the mute of `target`. Of a name all names that look like it may be used
    /// again; the `sub`s of the others stay muted, unless the name itself is not.
    fn unmute(&mut self, target: &Target) -> Result<(), ModActionError> {
        let key = Key::of(target).ok_or(ModActionError::Connection)?;
        let alike: Vec<Key> = match &key {
            Key::Name(_, name) => {
                let of_all = looks(name).into_iter().flat_map(|look| self.of_look(look));
                of_all.map(|(key, _)| key.clone()).collect()
            }
            Key::From(_) => Vec::new(),
        };
        let itself = self.mutes.remove(&key);
        if itself.is_none() && alike.is_empty() {
            return Err(ModActionError::NotMuted);
        }
        for key in alike {
            if itself.is_none() {
                self.mutes.remove(&key);
            } else if let (Some(mute), Key::Name(_, name)) = (self.mutes.get_mut(&key), key) {
                mute.target = Target::Sub(name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Actor = Actor::Operator { uid: 0 };

    fn at(secs: u64) -> Tim {
        Tim::from_nanos(secs * 1_000_000_000)
    }

    fn voice(usr: &str) -> SpeakerId<'_> {
        SpeakerId { usr, sub: None, address: AddressBlock::default(), is_moderator: false }
    }

    fn mute(name: &str, secs: Option<u32>) -> ModAction {
        ModAction::Mute { target: Target::name(name), secs }
    }

    #[test]
    fn a_mute_is_of_all_who_look_so_until_it_is_over() {
        let mut moderation = Moderation::default();
        moderation.decide(&mute("Bob", Some(60)), &ROOT, at(100)).unwrap();
        for usr in ["bob", " BOB", "b\u{43e}b", "b\u{3c3}b"] {
            let refused = moderation.check_now(&voice(usr), at(101)).unwrap_err();
            assert_eq!(refused, Refused { refusal: Refusal::Muted, wait_secs: Some(59) });
        }
        assert_eq!(moderation.check_now(&voice("ann"), at(101)), Ok(()));
        assert_eq!(moderation.check_now(&voice("bob"), at(160)), Ok(()));

        moderation.decide(&mute("ann", None), &ROOT, at(200)).unwrap();
        assert_eq!(moderation.mutes.len(), 1, "the old one is gone");
        let refused = moderation.check_now(&voice("ann"), at(1 << 33)).unwrap_err();
        assert_eq!(refused, Refusal::Muted.into());
        moderation
            .decide(&ModAction::Unmute { target: Target::name("ANN") }, &ROOT, at(300))
            .unwrap();
        assert_eq!(moderation, Moderation::default());
        moderation.decide(&mute("bob", None), &ROOT, at(200)).unwrap();
        moderation
            .decide(&ModAction::Unmute { target: Target::name("b\u{3c3}b") }, &ROOT, at(300))
            .unwrap();
        assert_eq!(moderation, Moderation::default(), "whoever is muted by it gets it back");
    }

    #[test]
    fn a_mute_is_of_a_sub_to_the_letter_and_of_an_address() {
        let mut moderation = Moderation::default();
        let there = AddressBlock([7; 16]);
        moderation.decide(&mute("user-1", None), &ROOT, at(0)).unwrap();
        moderation
            .decide(&ModAction::Mute { target: Target::Address(there), secs: None }, &ROOT, at(0))
            .unwrap();
        let check_now = |voice: SpeakerId<'_>| moderation.check_now(&voice, at(1)).is_ok();
        assert!(!check_now(SpeakerId { sub: Some("user-1"), ..voice("x") }));
        assert!(check_now(SpeakerId { sub: Some("user-l"), ..voice("x") }));
        assert!(!check_now(voice("user-l")), "as a name it looks the same");
        assert!(!check_now(SpeakerId { address: there, ..voice("y") }));
        assert_eq!(moderation.mutes(at(1)).count(), 2);
    }

    #[test]
    fn the_newest_mute_of_somebody_counts() {
        let mut moderation = Moderation::default();
        moderation.decide(&mute("bob", None), &ROOT, at(0)).unwrap();
        moderation.decide(&mute("bob", Some(5)), &ROOT, at(0)).unwrap();
        assert_eq!(moderation.mutes(at(1)).count(), 1);
        assert!(moderation.check_now(&voice("bob"), at(5)).is_ok());
    }

    #[test]
    fn a_mute_of_a_look_alike_takes_nothing_from_another() {
        let mut moderation = Moderation::default();
        let of_sub = |sub| SpeakerId { sub: Some(sub), ..voice("x") };
        moderation.decide(&mute("user-1", None), &ROOT, at(0)).unwrap();
        moderation.decide(&mute("USER-l", Some(5)), &ROOT, at(0)).unwrap();
        assert_eq!(moderation.mutes(at(1)).count(), 2);
        for (secs, usr_l) in [(1, false), (5, true)] {
            let check_now = |voice| moderation.check_now(&voice, at(secs));
            assert_eq!(check_now(of_sub("user-1")), Err(Refusal::Muted.into()));
            assert_eq!(
                check_now(voice("user-1")),
                Err(Refusal::Muted.into()),
                "the longest counts"
            );
            assert_eq!(check_now(voice("user-l")), Err(Refusal::Muted.into()));
            assert_eq!(check_now(of_sub("USER-l")).is_ok(), usr_l);
            assert_eq!(check_now(of_sub("user-l")), Ok(()));
        }
    }

    #[test]
    fn an_unmute_gives_the_name_back_and_no_other_sub() {
        let mut moderation = Moderation::default();
        let of_sub = |sub| SpeakerId { sub: Some(sub), ..voice("x") };
        let unmute = |name| ModAction::Unmute { target: Target::name(name) };
        moderation.decide(&mute("bob", None), &ROOT, at(0)).unwrap();
        moderation.decide(&mute("B0B", None), &ROOT, at(0)).unwrap();
        moderation.decide(&unmute("B0B"), &ROOT, at(0)).unwrap();
        let check_now =
            |moderation: &Moderation, voice| moderation.check_now(&voice, at(1)).is_ok();
        assert!(check_now(&moderation, voice("B0B")) && check_now(&moderation, of_sub("B0B")));
        assert!(!check_now(&moderation, of_sub("bob")));
        let whom: Vec<_> = moderation.mutes(at(1)).map(|mute| mute.target.to_string()).collect();
        assert_eq!(whom, [r#"sub "bob""#]);
        // What is left is no mute of its name, and is ended to the letter.
        assert_eq!(moderation.decide(&unmute("b0b"), &ROOT, at(1)), Err(ModActionError::NotMuted));
        moderation.decide(&unmute("bob"), &ROOT, at(1)).unwrap();
        assert_eq!(moderation, Moderation::default());
    }

    #[test]
    fn a_sub_is_muted_as_it_is() {
        let long = format!("auth0|{}", "x".repeat(5_000));
        for sub in ["bob ", " bob", "a\tb", "bob\u{200b}", &long] {
            let mut moderation = Moderation::default();
            moderation.decide(&mute(sub, None), &ROOT, at(0)).unwrap();
            let check_now =
                |sub| moderation.check_now(&SpeakerId { sub: Some(sub), ..voice("x") }, at(1));
            assert_eq!(check_now(sub), Err(Refusal::Muted.into()), "{sub:?}");
            assert_eq!(check_now("bob"), Ok(()), "{sub:?}");
            moderation
                .decide(&ModAction::Unmute { target: Target::name(sub) }, &ROOT, at(1))
                .unwrap();
            assert_eq!(moderation, Moderation::default(), "{sub:?}");
        }
    }

    #[test]
    fn a_mute_that_is_over_hides_no_other() {
        let mut moderation = Moderation::default();
        let there = AddressBlock([7; 16]);
        moderation.decide(&mute("bob", Some(60)), &ROOT, at(0)).unwrap();
        moderation
            .decide(
                &ModAction::Mute { target: Target::Address(there), secs: Some(600) },
                &ROOT,
                at(0),
            )
            .unwrap();
        let bob = SpeakerId { address: there, ..voice("bob") };
        let refused = moderation.check_now(&bob, at(100)).unwrap_err();
        assert_eq!(refused, Refused { refusal: Refusal::Muted, wait_secs: Some(500) });
        assert!(moderation.is_muted(&bob, at(100)));
    }

    #[test]
    fn a_locked_room_hears_moderators_unless_they_are_muted() {
        let mut moderation = Moderation::default();
        moderation.decide(&ModAction::Lock, &ROOT, at(0)).unwrap();
        let ann = SpeakerId { is_moderator: true, ..voice("ann") };
        assert_eq!(moderation.check_now(&voice("bob"), at(0)), Err(Refusal::Locked.into()));
        assert_eq!(moderation.check_now(&ann, at(0)), Ok(()));
        moderation.decide(&mute("ann", Some(1)), &ROOT, at(0)).unwrap();
        assert!(moderation.check_now(&ann, at(0)).is_err());
        moderation.decide(&ModAction::Unlock, &ROOT, at(1)).unwrap();
        assert_eq!(moderation.check_now(&voice("bob"), at(1)), Ok(()));
    }

    #[test]
    fn what_cannot_be_done_changes_nothing() {
        let mut moderation = Moderation::default();
        let one = Target::Connection(7);
        for (act, error) in [
            (ModAction::Unmute { target: Target::name("bob") }, ModActionError::NotMuted),
            (ModAction::Mute { target: one.clone(), secs: None }, ModActionError::Connection),
            (ModAction::Unmute { target: one }, ModActionError::Connection),
        ] {
            assert_eq!(moderation.decide(&act, &ROOT, at(0)), Err(error));
        }
        assert_eq!(moderation, Moderation::default());
        for n in 0..Moderation::MUTES_MAX {
            let target = Target::name(&format!("guest {n}"));
            let by = String::new();
            let mute = Mute { target, since_secs: 0, until_secs: None, by };
            moderation.mutes.insert(Key::of(&mute.target).unwrap(), mute);
        }
        let full = moderation.clone();
        assert_eq!(
            moderation.decide(&mute("bob", None), &ROOT, at(0)),
            Err(ModActionError::TooMany)
        );
        assert_eq!(moderation, full);
        moderation.decide(&mute("guest 5", Some(1)), &ROOT, at(0)).unwrap();
    }

    #[test]
    fn the_texts_of_mutes_are_bounded() {
        let mut moderation = Moderation::default();
        let result = (0..1_000).find_map(|n| {
            let name = format!("{n}{}", "x".repeat(15_000));
            moderation.decide(&mute(&name, None), &ROOT, at(0)).err()
        });
        assert_eq!(result, Some(ModActionError::TooMany));
        assert!((500..600).contains(&moderation.mutes.len()), "{}", moderation.mutes.len());
        moderation.decide(&ModAction::Lock, &ROOT, at(0)).unwrap();
    }

    #[test]
    fn who_has_no_name_yet_looks_like_nobody() {
        let mut moderation = Moderation::default();
        moderation.decide(&mute("\u{200b}", None), &ROOT, at(0)).unwrap();
        assert!(!moderation.is_muted(&voice(""), at(1)));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut moderation = Moderation::default();
        let by = Actor::Moderator { usr: "a\"nn".into(), sub: Some("u7".into()) };
        for act in [
            mute("bob", Some(600)),
            mute("B0B", None),
            mute("tim", None),
            mute("T1M", None),
            ModAction::Unmute { target: Target::name("tim") },
            ModAction::Mute { target: Target::Address(AddressBlock([1; 16])), secs: None },
            ModAction::Lock,
            ModAction::Slow { secs: Some(30) },
        ] {
            moderation.decide(&act, &by, at(5)).unwrap();
        }
        assert!(moderation.mutes(at(5)).all(|mute| mute.by == r#""a\"nn" (sub "u7")"#));
        let json = serde_json::to_string(&moderation).unwrap();
        assert_eq!(serde_json::from_str::<Moderation>(&json).unwrap(), moderation);
        let bytes = postcard::to_stdvec(&moderation).unwrap();
        assert_eq!(postcard::from_bytes::<Moderation>(&bytes).unwrap(), moderation);
    }
}
