//! Who was kicked a short time ago. Somebody who comes back and says nothing has no name, so a
//! second kick of the name finds the connection by what is known from the first one.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::chat::{AddressBlock, SpeakerId, Target};
use crate::mutex::lock;

/// How long a kicked speaker is remembered.
const REMEMBER_MS: u64 = 10 * 60 * 1000;
/// An address with more open connections is that of a proxy or of many people, and tells nothing
/// about one of them.
const CONNECTIONS_MAX: u32 = 50;
/// The most kicked speakers that are remembered; the oldest one gives its place.
const SPEAKERS_MAX: usize = 2_000;

/// How many speakers the other nodes of a cluster are told of after a kick.
const TOLD_MAX: usize = 4;
/// The longest name or `sub` that they are told, in bytes.
const TOLD_BYTES_MAX: usize = 64;

/// A speaker whose connection was closed by a kick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickedSpeaker {
    usr: String,
    sub: Option<String>,
    /// `None` for a Unix socket, which tells nothing about a client.
    address: Option<AddressBlock>,
}

impl KickedSpeaker {
    /// `None` if the speaker has neither a name nor a `sub`: nobody can ask for it.
    pub fn new(speaker: &SpeakerId<'_>) -> Option<Self> {
        let SpeakerId { usr, sub, address, .. } = *speaker;
        let is_known = !usr.is_empty() || sub.is_some();
        is_known.then(|| Self {
            usr: usr.to_owned(),
            sub: sub.map(str::to_owned),
            address: Some(address).filter(|address| *address != AddressBlock::UNIX),
        })
    }

    fn id(&self) -> SpeakerId<'_> {
        let address = self.address.unwrap_or(AddressBlock::UNIX);
        SpeakerId { usr: &self.usr, sub: self.sub.as_deref(), address, is_moderator: false }
    }
}

/// The speakers that were kicked last.
#[derive(Debug, Default)]
pub struct RecentlyKicked(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    speaker: KickedSpeaker,
    /// The least id of a connection that was opened after the kick.
    first_id: u64,
    kicked_ms: u64,
}

impl RecentlyKicked {
    /// Notes a speaker. Connections that are opened from now on have the id `first_id` or a
    /// greater one.
    pub fn note(&self, speaker: KickedSpeaker, first_id: u64, now_ms: u64) {
        let mut entries = lock(&self.0);
        let is_over = |entry: &Entry| entry.kicked_ms + REMEMBER_MS <= now_ms;
        while entries.len() >= SPEAKERS_MAX || entries.front().is_some_and(is_over) {
            entries.pop_front();
        }
        entries.push_back(Entry { speaker, first_id, kicked_ms: now_ms });
    }

    /// Some of those who were kicked as `target` at this time or later, for other nodes. Each can
    /// be written in 200 bytes of JSON.
    pub fn since(&self, target: &Target, since_ms: u64) -> Vec<KickedSpeaker> {
        let mut found: Vec<KickedSpeaker> = Vec::new();
        for Entry { speaker, kicked_ms, .. } in lock(&self.0).iter().rev() {
            if *kicked_ms < since_ms || found.len() == TOLD_MAX {
                break;
            }
            let is_short = |text: &String| text.len() <= TOLD_BYTES_MAX;
            let fits = is_short(&speaker.usr) && speaker.sub.as_ref().is_none_or(is_short);
            if fits && target.matches(&speaker.id(), 0) && !found.contains(speaker) {
                found.push(speaker.clone());
            }
        }
        found
    }

    /// Those who are meant by the name in `target`. `open_at` is the number of open connections
    /// of an address.
    pub fn of(
        &self,
        target: &Target,
        open_at: impl Fn(AddressBlock) -> u32,
        now_ms: u64,
    ) -> Returned {
        let mut returned = Returned::default();
        if !matches!(target, Target::Name(_)) {
            return returned;
        }
        for Entry { speaker, first_id, kicked_ms } in &*lock(&self.0) {
            if kicked_ms + REMEMBER_MS <= now_ms || !target.matches(&speaker.id(), 0) {
                continue;
            }
            // The first kick counts.
            let first = || (*first_id, speaker.clone());
            if let Some(address) = speaker.address {
                returned.addresses.entry(address).or_insert_with(first);
            }
            if let Some(sub) = &speaker.sub {
                returned.subs.entry(sub.clone()).or_insert_with(first);
            }
        }
        returned.addresses.retain(|address, _| open_at(*address) <= CONNECTIONS_MAX);
        returned
    }
}

/// Who was kicked under a name, and may be back: the least id of the connections that were
/// opened after that.
#[derive(Debug, Default)]
pub struct Returned {
    addresses: HashMap<AddressBlock, (u64, KickedSpeaker)>,
    subs: HashMap<String, (u64, KickedSpeaker)>,
}

impl Returned {
    /// Who this speaker was, from whom nothing was sent yet. Its address counts only as long as
    /// it has not called itself anything.
    pub fn get(&self, speaker: &SpeakerId<'_>, connection_id: u64) -> Option<&KickedSpeaker> {
        let by_address = || match speaker.usr {
            "" => self.addresses.get(&speaker.address),
            _ => None,
        };
        let found = speaker.sub.and_then(|sub| self.subs.get(sub)).or_else(by_address);
        found.filter(|(first_id, _)| connection_id >= *first_id).map(|(_, speaker)| speaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: AddressBlock = AddressBlock([1; 16]);
    const THERE: AddressBlock = AddressBlock([2; 16]);

    /// A few connections are open at each address.
    fn few(_: AddressBlock) -> u32 {
        3
    }

    fn speaker<'a>(usr: &'a str, sub: Option<&'a str>, address: AddressBlock) -> SpeakerId<'a> {
        SpeakerId { usr, sub, address, is_moderator: false }
    }

    fn kicked(memory: &RecentlyKicked, speaker: SpeakerId<'_>, first_id: u64, now_ms: u64) {
        memory.note(KickedSpeaker::new(&speaker).unwrap(), first_id, now_ms);
    }

    #[test]
    fn a_kicked_speaker_who_is_back_is_found_by_address_or_sub() {
        let memory = RecentlyKicked::default();
        kicked(&memory, speaker("Bob", Some("u7"), HERE), 5, 0);
        let bob = memory.of(&Target::name("b0b"), few, 1);
        let found = |usr, sub, address, id| bob.get(&speaker(usr, sub, address), id).is_some();
        assert!(found("", None, HERE, 5));
        assert!(found("", Some("u7"), THERE, 9));
        assert!(found("rob", Some("u7"), THERE, 9), "a name that was refused");
        assert!(!found("", None, HERE, 4), "it was there before");
        assert!(!found("", None, THERE, 5));
        assert!(!found("ann", None, HERE, 5), "somebody else at this address");
        for (name, address) in [("ann", HERE), ("u8", HERE)] {
            let other = memory.of(&Target::name(name), few, 1);
            assert!(other.get(&speaker("", None, address), 5).is_none(), "{name}");
        }
        let by_sub = memory.of(&Target::name("u7"), few, 1);
        assert!(by_sub.get(&speaker("", None, HERE), 5).is_some());
        for target in [Target::Address(HERE), Target::Connection(5)] {
            assert!(memory.of(&target, few, 1).get(&speaker("", None, HERE), 5).is_none());
        }
    }

    #[test]
    fn a_unix_socket_tells_nothing_about_a_client() {
        let memory = RecentlyKicked::default();
        kicked(&memory, speaker("bob", None, AddressBlock::UNIX), 5, 0);
        let bob = memory.of(&Target::name("bob"), few, 1);
        assert!(bob.get(&speaker("", None, AddressBlock::UNIX), 5).is_none());
        assert!(KickedSpeaker::new(&speaker("", None, HERE)).is_none());
    }

    #[test]
    fn other_nodes_are_told_of_some() {
        let memory = RecentlyKicked::default();
        kicked(&memory, speaker("bob", None, THERE), 5, 0);
        for (usr, address) in [("bob", HERE), ("BOB", HERE), ("bob", HERE), ("ann", HERE)] {
            kicked(&memory, speaker(usr, None, address), 5, 1);
        }
        kicked(&memory, speaker("bob", Some(&"x".repeat(65)), HERE), 5, 1);
        let told = memory.since(&Target::name("bob"), 1);
        assert_eq!(told.iter().map(|it| &*it.usr).collect::<Vec<_>>(), ["bob", "BOB"]);
        for n in 0..9 {
            let sub = format!("{n}");
            kicked(&memory, speaker("bob", Some(&sub), HERE), 5, 1);
        }
        assert_eq!(memory.since(&Target::name("bob"), 1).len(), TOLD_MAX);
    }

    #[test]
    fn an_address_of_many_tells_nothing_about_a_client() {
        let memory = RecentlyKicked::default();
        kicked(&memory, speaker("bob", Some("u7"), HERE), 5, 0);
        for (open, is_found) in [(CONNECTIONS_MAX, true), (CONNECTIONS_MAX + 1, false)] {
            let bob = memory.of(&Target::name("bob"), |_| open, 1);
            assert_eq!(bob.get(&speaker("", None, HERE), 9).is_some(), is_found);
            assert!(bob.get(&speaker("", Some("u7"), HERE), 9).is_some());
        }
    }

    #[test]
    fn it_is_for_a_short_time_and_bounded() {
        let memory = RecentlyKicked::default();
        kicked(&memory, speaker("bob", None, HERE), 5, 0);
        let is_found = |now_ms| {
            let bob = memory.of(&Target::name("bob"), few, now_ms);
            bob.get(&speaker("", None, HERE), 9).is_some()
        };
        assert!(is_found(REMEMBER_MS - 1));
        assert!(!is_found(REMEMBER_MS));
        // Kicked once more: the first kick counts as long as it is remembered.
        kicked(&memory, speaker("bob", None, HERE), 10, REMEMBER_MS - 1);
        assert!(is_found(REMEMBER_MS - 1));
        assert!(!is_found(REMEMBER_MS));
        for n in 0..2 * SPEAKERS_MAX as u64 {
            kicked(&memory, speaker("eve", None, THERE), n, REMEMBER_MS);
        }
        assert_eq!(lock(&memory.0).len(), SPEAKERS_MAX);
        kicked(&memory, speaker("eve", None, THERE), 7, 2 * REMEMBER_MS);
        assert_eq!(lock(&memory.0).len(), 1);
    }
}
