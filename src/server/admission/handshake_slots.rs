//! Places for those who have not said yet what they want, and who gives way when
//! there is none left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::server::lock;

/// One guest of this many gives way when the system has nothing left for another.
const RELIEF_PART: usize = 8;

/// Those who are at a door. There are so many places only; for whoever comes
/// when all are taken, the guest who came first of all gives way.
///
/// An honest guest has asked as soon as it is there, and is gone at once: the
/// first of a full door is one that holds its place back from others.
#[derive(Debug, Default)]
pub struct HandshakeSlots {
    line: Mutex<Line>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Line {
    arrivals: u64,
    /// Places that are taken, those of guests who are about to leave among them.
    taken: usize,
    /// In the order of their arrival; whose sender is dropped gives way.
    guests: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place at the door, free again when this is dropped.
#[derive(Debug)]
pub struct HandshakeSlot {
    crowd: Arc<HandshakeSlots>,
    number: u64,
    wanted: oneshot::Receiver<()>,
}

impl HandshakeSlots {
    /// One of `places`, as soon as whoever has to give way has done so. How many
    /// there are may change with every call; there is always one.
    pub async fn enter(self: &Arc<Self>, places: usize) -> HandshakeSlot {
        loop {
            if let Some(place) = self.try_enter(places.max(1)) {
                // Whoever waits too can ask for the next to give way.
                self.left.notify_one();
                return place;
            }
            self.left.notified().await;
        }
    }

    fn try_enter(self: &Arc<Self>, places: usize) -> Option<HandshakeSlot> {
        let mut line = lock(&self.line);
        while line.guests.len() >= places {
            line.guests.pop_first();
        }
        if line.taken >= places {
            return None;
        }
        let (sender, wanted) = oneshot::channel();
        line.taken += 1;
        line.arrivals += 1;
        let number = line.arrivals;
        line.guests.insert(number, sender);
        Some(HandshakeSlot { crowd: Arc::clone(self), number, wanted })
    }

    /// Has some of those who came first give way, if anybody is there, because
    /// the system has nothing left for another.
    pub fn relieve(&self) {
        let mut line = lock(&self.line);
        for _ in 0..line.guests.len().div_ceil(RELIEF_PART) {
            line.guests.pop_first();
        }
    }
}

impl HandshakeSlot {
    /// Returns when this place is wanted for another.
    pub async fn is_wanted(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.wanted).await;
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        let mut line = lock(&self.crowd.line);
        line.guests.remove(&self.number);
        line.taken -= 1;
        drop(line);
        self.crowd.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_wanted(place: &mut HandshakeSlot) -> bool {
        place.is_wanted().now_or_never().is_some()
    }

    #[test]
    fn the_first_gives_way_when_all_places_are_taken() {
        let crowd = Arc::new(HandshakeSlots::default());
        let enter = || crowd.enter(3).now_or_never();
        let [mut first, second, mut third] = [(); 3].map(|()| enter().unwrap());
        assert!(!is_wanted(&mut first));
        // One has left by itself: nobody has to.
        drop(second);
        let mut fourth = enter().unwrap();
        assert!(!is_wanted(&mut first));
        let mut fifth = Box::pin(crowd.enter(3));
        assert!((&mut fifth).now_or_never().is_none(), "the first is still there");
        assert!(is_wanted(&mut first));
        drop(first);
        let fifth = fifth.now_or_never().unwrap();
        assert!(!is_wanted(&mut third) && !is_wanted(&mut fourth));
        drop((third, fourth, fifth));
        let line = lock(&crowd.line);
        assert!(line.guests.is_empty() && line.taken == 0);
    }

    #[test]
    fn as_many_give_way_as_places_are_taken_away() {
        let crowd = Arc::new(HandshakeSlots::default());
        let enter = |places| crowd.enter(places).now_or_never();
        let mut guests = [(); 5].map(|()| enter(5).unwrap());
        assert!(enter(2).is_none());
        let wanted = guests.each_mut().map(is_wanted);
        assert_eq!(wanted, [true, true, true, true, false]);
        let [first, second, third, fourth, _last] = guests;
        drop((first, second, third));
        assert!(enter(2).is_none());
        drop(fourth);
        assert!(enter(2).is_some());
    }

    #[test]
    fn whoever_waits_is_not_forgotten() {
        let crowd = Arc::new(HandshakeSlots::default());
        let first = crowd.enter(1).now_or_never().unwrap();
        let (mut second, mut third) = (Box::pin(crowd.enter(1)), Box::pin(crowd.enter(1)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        let mut second = second.now_or_never().unwrap();
        // The third asks it to give way, although it began to wait before.
        assert!((&mut third).now_or_never().is_none());
        assert!(is_wanted(&mut second));
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn relief_takes_the_first_and_needs_nobody() {
        let crowd = Arc::new(HandshakeSlots::default());
        crowd.relieve();
        let mut guests = [(); 9].map(|()| crowd.enter(9).now_or_never().unwrap());
        crowd.relieve();
        let wanted = guests.each_mut().map(is_wanted);
        assert_eq!(wanted.iter().filter(|wanted| **wanted).count(), 2);
        assert!(wanted[0] && wanted[1]);
    }
}
