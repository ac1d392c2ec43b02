//! When the listeners are told the state of the room. Pure: the caller passes the time.

use serde_json::Value;

use crate::chat::Presence;

/// A change of who can send messages is told so long after the last text: a moderator who
/// changes it again and again does not flood the room.
const CHANGE_INTERVAL_MS: u64 = 1_000;
/// The number of listeners is told so long after the last text: in a busy room it never stays
/// the same, and nobody has to know it to the second.
pub(crate) const COUNT_INTERVAL_MS: u64 = 5_000;
/// The listeners of a room get about so many texts with their number in a second, all together:
/// each of them costs as much as a message.
const COUNTS_PER_SEC_MAX: u64 = 10_000;
/// The number has to differ for so long: who reloads a page leaves and is soon back.
const COUNT_DELAY_MS: u64 = 2_000;

/// What all listeners were told last, and whether one that joined since was told something else:
/// it must not keep that if the state comes back to what the others know.
#[derive(Debug, Default)]
pub(crate) struct ToldToAll {
    pub text: Vec<u8>,
    pub differs: bool,
}

/// What was told last, and when something has to be told.
#[derive(Debug)]
pub(crate) struct PresenceSchedule {
    told: Option<Told>,
    /// When something was told last, or when the schedule began.
    told_ms: u64,
    /// Since when only the number of listeners differs.
    differs_since_ms: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    text: Vec<u8>,
    listeners: u64,
}

impl PresenceSchedule {
    /// A schedule from now on. `told` is the text that the listeners have got last; if that is
    /// not known, they are told soon.
    pub fn new(told: Option<Vec<u8>>, now_ms: u64) -> Self {
        let told = told.and_then(|text| {
            let value: Value = serde_json::from_slice(&text).ok()?;
            Some(Told { text, listeners: value["room"]["listeners"].as_u64()? })
        });
        Self { told, told_ms: now_ms, differs_since_ms: None }
    }

    /// In how many milliseconds the listeners have to be told, if nothing changes until then.
    /// `None` if they know it; `differs` says that one of them was told something else.
    pub fn due_in_ms(
        &mut self,
        presence: &Presence<'_>,
        differs: bool,
        now_ms: u64,
    ) -> Option<u64> {
        let told_count = self.told.as_ref().map(|told| told.listeners);
        let known = told_count.map(|listeners| Told::new(&Presence { listeners, ..*presence }));
        let due_ms = if self.told.is_none() || self.told != known {
            self.told_ms + CHANGE_INTERVAL_MS
        } else if told_count == Some(presence.listeners) && !differs {
            self.differs_since_ms = None;
            return None;
        } else {
            let since_ms = *self.differs_since_ms.get_or_insert(now_ms);
            let texts_ms = presence.listeners.saturating_mul(1_000) / COUNTS_PER_SEC_MAX;
            let interval_ms = COUNT_INTERVAL_MS.max(texts_ms);
            self.told_ms.saturating_add(interval_ms).max(since_ms + COUNT_DELAY_MS)
        };
        Some(due_ms.saturating_sub(now_ms))
    }

    /// The listeners are told this now.
    pub fn tell(&mut self, presence: &Presence<'_>, now_ms: u64) {
        self.told = Some(Told::new(presence));
        (self.told_ms, self.differs_since_ms) = (now_ms, None);
    }

    /// Nothing is told, so it is not known what the listeners know.
    pub fn forget(&mut self) {
        (self.told, self.differs_since_ms) = (None, None);
    }
}

impl Told {
    fn new(presence: &Presence<'_>) -> Self {
        let mut text = Vec::new();
        presence.write(&mut text);
        Self { text, listeners: presence.listeners }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_000_000;

    fn of(listeners: u64) -> Presence<'static> {
        Presence { listeners, title: "t", ..Presence::default() }
    }

    fn text(presence: &Presence<'_>) -> Vec<u8> {
        Told::new(presence).text
    }

    /// A schedule that has told `presence` at [`START_MS`].
    fn after(presence: &Presence<'_>) -> PresenceSchedule {
        let mut schedule = PresenceSchedule::new(None, 0);
        schedule.tell(presence, START_MS);
        schedule
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        assert_eq!(after(&of(3)).due_in_ms(&of(3), false, START_MS + 99_999), None);
        // The next process knows it from the feed.
        let mut schedule = PresenceSchedule::new(Some(text(&of(3))), START_MS);
        assert_eq!(schedule.due_in_ms(&of(3), false, START_MS), None);
        assert_eq!(schedule.due_in_ms(&of(4), false, START_MS), Some(COUNT_INTERVAL_MS));
    }

    #[test]
    fn a_number_that_one_was_told_alone_is_corrected() {
        let mut schedule = after(&of(3));
        let now_ms = START_MS + 60_000;
        assert_eq!(schedule.due_in_ms(&of(3), true, now_ms), Some(COUNT_DELAY_MS));
        assert_eq!(schedule.due_in_ms(&of(3), true, now_ms + COUNT_DELAY_MS), Some(0));
        schedule.tell(&of(3), now_ms + COUNT_DELAY_MS);
        assert_eq!(schedule.due_in_ms(&of(3), false, now_ms + COUNT_DELAY_MS), None);
    }

    #[test]
    fn what_is_not_known_is_told_soon() {
        for text in [None, Some(b"{}".to_vec()), Some(Vec::new())] {
            let mut schedule = PresenceSchedule::new(text, START_MS);
            assert_eq!(schedule.due_in_ms(&of(0), false, START_MS), Some(CHANGE_INTERVAL_MS));
        }
        let mut schedule = after(&of(3));
        schedule.forget();
        assert_eq!(schedule.due_in_ms(&of(3), false, START_MS + 7_000), Some(0));
    }

    #[test]
    fn a_change_is_told_within_a_second() {
        let told = of(3);
        for changed in [
            Presence { is_locked: true, ..told },
            Presence { slow_secs: 7, ..told },
            Presence { needs_token: true, ..told },
            Presence { title: "", ..told },
            Presence { notice: "n", ..told },
            Presence { notice: "n", listeners: 4, ..told },
        ] {
            assert_eq!(after(&told).due_in_ms(&changed, false, START_MS + 300), Some(700));
            assert_eq!(after(&told).due_in_ms(&changed, false, START_MS + 60_000), Some(0));
        }
    }

    #[test]
    fn the_number_is_told_seldom_and_only_if_it_stays() {
        let mut schedule = after(&of(3));
        assert_eq!(schedule.due_in_ms(&of(4), false, START_MS + 500), Some(4_500));
        assert_eq!(schedule.due_in_ms(&of(4), false, START_MS + 5_000), Some(0));
        // Somebody leaves and comes back.
        let mut schedule = after(&of(3));
        assert_eq!(schedule.due_in_ms(&of(2), false, START_MS + 60_000), Some(COUNT_DELAY_MS));
        assert_eq!(schedule.due_in_ms(&of(3), false, START_MS + 60_900), None);
        assert_eq!(schedule.due_in_ms(&of(2), false, START_MS + 61_000), Some(COUNT_DELAY_MS));
        // A storm does not put it off.
        assert_eq!(schedule.due_in_ms(&of(9), false, START_MS + 62_000), Some(1_000));
        assert_eq!(schedule.due_in_ms(&of(900), false, START_MS + 63_000), Some(0));
    }

    #[test]
    fn a_large_room_is_told_its_number_more_seldom() {
        for (listeners, secs) in [(50_000, 5), (50_100, 5), (200_000, 20), (1_000_000, 100)] {
            let mut schedule = after(&of(1));
            let due_ms = schedule.due_in_ms(&of(listeners), false, START_MS).unwrap();
            assert_eq!(due_ms / 1_000, secs, "{listeners}");
        }
    }
}
