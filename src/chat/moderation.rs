//! Decisions of moderators and operators: who is muted, whether the room is locked,
//! and slow mode.
//!
//! Decisions survive a restart (the handover contains them) and a crash (a file
//! contains them), so their times are those of the system clock.

use std::collections::BTreeMap;
use std::mem;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::address_block::AddressBlock;
use super::mod_action::{Actor, ModAction, ModActionError, SpeakerId, Target};
use super::name::{skeleton, skeletons};
use super::notices::{Refusal, Refused};
use super::rate::RateLimit;
use super::tim::Tim;

/// A mute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Who is muted.
    pub target: Target,
    /// The begin, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The end; `None` until it is unmuted.
    pub until_secs: Option<u64>,
    /// The [`Actor`] as text.
    pub by: String,
}

impl Mute {
    fn is_over(&self, now_secs: u64) -> bool {
        self.until_secs.is_some_and(|until| until <= now_secs)
    }

    const fn text_bytes(&self) -> usize {
        match &self.target {
            Target::Name(name) | Target::Sub(name) => name.len() + self.by.len(),
            Target::Address(_) | Target::Connection(_) => self.by.len(),
        }
    }
}

/// The decisions that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderation {
    locked: bool,
    slow_secs: Option<u32>,
    /// One mute per target. Mutes of names that look alike are next to each other.
    #[serde(serialize_with = "write_mutes", deserialize_with = "read_mutes")]
    mutes: BTreeMap<MuteKey, Mute>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MuteKey {
    /// The skeleton of a name and the name.
    Name(String, String),
    Address(AddressBlock),
}

impl MuteKey {
    fn name(name: &str) -> Self {
        Self::Name(skeleton(name), name.to_owned())
    }

    /// `None` for a target that cannot be muted.
    fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Name(name) | Target::Sub(name) => Some(Self::name(name)),
            Target::Address(block) => Some(Self::Address(*block)),
            Target::Connection(_) => None,
        }
    }
}

/// The stored form is the list of mutes.
fn write_mutes<S: Serializer>(mutes: &BTreeMap<MuteKey, Mute>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(mutes.values())
}

fn read_mutes<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<MuteKey, Mute>, D::Error> {
    let mutes = Vec::<Mute>::deserialize(input)?.into_iter();
    Ok(mutes.filter_map(|mute| Some((MuteKey::of(&mute.target)?, mute))).collect())
}

impl Moderation {
    /// The maximum number of mutes.
    const MUTES_MAX: usize = 10_000;
    /// The maximum size of all names of targets and actors, in bytes.
    const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

    /// That of a room which is locked because nobody knows whether it was.
    pub fn locked() -> Self {
        Self { locked: true, ..Self::default() }
    }

    /// Whether only moderators may speak.
    pub const fn is_locked(&self) -> bool {
        self.locked
    }

    /// The seconds between two messages of a speaker, if they are not as configured.
    pub const fn slow_secs(&self) -> Option<u32> {
        self.slow_secs
    }

    /// The mutes that are in force.
    pub fn mutes(&self, now: Tim) -> impl Iterator<Item = &Mute> {
        let now_secs = now.whole_secs();
        self.mutes.values().filter(move |mute| !mute.is_over(now_secs))
    }

    /// Applies the lasting part of an action. Returns whether the action changes anything, as
    /// far as that is known here: who is kicked is not.
    ///
    /// # Errors
    ///
    /// Why the action cannot be done. Then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{ModAction, Actor, Moderation, Target, Tim};
    /// let (mut moderation, by) = (Moderation::default(), Actor::operator(0));
    /// let mute = ModAction::Mute { target: Target::name("bob"), secs: Some(600) };
    /// moderation.apply(&mute, &by, Tim::default()).unwrap();
    /// assert_eq!(moderation.mutes(Tim::default()).count(), 1);
    /// assert_eq!(moderation.mutes(Tim::from_nanos(600_000_000_000)).count(), 0);
    /// ```
    pub fn apply(
        &mut self,
        action: &ModAction,
        by: &Actor,
        now: Tim,
    ) -> Result<bool, ModActionError> {
        let now_secs = now.whole_secs();
        self.mutes.retain(|_, mute| !mute.is_over(now_secs));
        match action {
            ModAction::Mute { target, secs } => {
                let key = MuteKey::of(target).ok_or(ModActionError::Connection)?;
                let until_secs = secs.map(|secs| now_secs + u64::from(secs));
                let (target, by) = (target.clone(), by.to_string());
                let mute = Mute { target, since_secs: now_secs, until_secs, by };
                let others = || self.mutes.iter().filter(|other| *other.0 != key);
                let text_bytes =
                    mute.text_bytes() + others().map(|(_, mute)| mute.text_bytes()).sum::<usize>();
                if others().count() >= Self::MUTES_MAX || text_bytes > Self::TEXT_BYTES_MAX {
                    return Err(ModActionError::TooMany);
                }
                self.mutes.insert(key, mute);
            }
            ModAction::Unmute { target } => self.unmute(target)?,
            ModAction::Lock => return Ok(!mem::replace(&mut self.locked, true)),
            ModAction::Unlock => return Ok(mem::replace(&mut self.locked, false)),
            ModAction::Slow { secs } => {
                return Ok(mem::replace(&mut self.slow_secs, *secs) != *secs);
            }
            ModAction::Kick { .. } | ModAction::Retract(_) | ModAction::Say { .. } => {}
        }
        Ok(true)
    }

    /// The rate limit for speakers who are not moderators, where `configured` is that
    /// of the configuration.
    pub fn rate_limit(&self, configured: &RateLimit) -> RateLimit {
        let slow_ms = self.slow_secs.map_or(configured.slow_ms, |secs| u64::from(secs) * 1000);
        RateLimit { slow_ms, ..*configured }
    }

    /// Checks whether a speaker may speak.
    ///
    /// # Errors
    ///
    /// [`Refusal::Locked`], or [`Refusal::Muted`] with the time to wait.
    pub fn check(&self, speaker: &SpeakerId<'_>, now: Tim) -> Result<(), Refused> {
        if self.locked && !speaker.is_moderator {
            return Err(Refusal::Locked.into());
        }
        match self.mute_of(speaker, now) {
            None => Ok(()),
            Some(mute) => {
                let wait_secs = mute.until_secs.map(|until| until - now.whole_secs());
                Err(Refused { refusal: Refusal::Muted, wait_secs })
            }
        }
    }

    /// Whether a speaker is muted.
    pub fn is_muted(&self, speaker: &SpeakerId<'_>, now: Tim) -> bool {
        self.mute_of(speaker, now).is_some()
    }

    /// The mute of a speaker that ends last.
    fn mute_of(&self, speaker: &SpeakerId<'_>, now: Tim) -> Option<&Mute> {
        if self.mutes.is_empty() {
            return None;
        }
        let now_secs = now.whole_secs();
        let by_name = skeletons(speaker.usr).into_iter().flat_map(|s| self.mutes_with_skeleton(s));
        let by_sub = speaker.sub.and_then(|sub| self.mutes.get(&MuteKey::name(sub)));
        by_name
            .map(|(_, mute)| mute)
            .chain(by_sub)
            .chain(self.mutes.get(&MuteKey::Address(speaker.address)))
            .filter(|mute| !mute.is_over(now_secs))
            .max_by_key(|mute| mute.until_secs.unwrap_or(u64::MAX))
    }

    /// The mutes of all names with this skeleton; none for a name that is invisible.
    fn mutes_with_skeleton(&self, wanted: String) -> impl Iterator<Item = (&MuteKey, &Mute)> {
        let is_name = |(_, mute): &(&MuteKey, &Mute)| matches!(mute.target, Target::Name(_));
        let is_invisible = wanted.is_empty();
        let first = MuteKey::Name(wanted.clone(), String::new());
        let is_alike = move |(key, _): &(&MuteKey, &Mute)| match key {
            MuteKey::Name(skeleton, _) => *skeleton == wanted && !is_invisible,
            MuteKey::Address(_) => false,
        };
        self.mutes.range(first..).take_while(is_alike).filter(is_name)
    }

    /// Ends the mute of `target`. If it is a name, all names that look like it may be
    /// used again. If the name itself was muted, mutes of the others remain for their
    /// `sub`.
    fn unmute(&mut self, target: &Target) -> Result<(), ModActionError> {
        let key = MuteKey::of(target).ok_or(ModActionError::Connection)?;
        let alike: Vec<MuteKey> = match &key {
            MuteKey::Name(_, name) => skeletons(name)
                .into_iter()
                .flat_map(|skeleton| self.mutes_with_skeleton(skeleton))
                .map(|(key, _)| key.clone())
                .collect(),
            MuteKey::Address(_) => Vec::new(),
        };
        let exact = self.mutes.remove(&key);
        if exact.is_none() && alike.is_empty() {
            return Err(ModActionError::NotMuted);
        }
        for key in alike {
            if exact.is_none() {
                self.mutes.remove(&key);
            } else if let (Some(mute), MuteKey::Name(_, name)) = (self.mutes.get_mut(&key), key) {
                mute.target = Target::Sub(name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
