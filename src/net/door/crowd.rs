//! The places at the door, and who gives way when there is none left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::net::lock;

/// Those who are at the door. There are so many places only; for whoever comes
/// when all are taken, the guest who came first of all gives way.
///
/// An honest guest has asked as soon as it is there, and is gone at once: the
/// first of a full door is one that holds its place back from others.
#[derive(Debug)]
pub struct Crowd {
    places: Arc<Semaphore>,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    arrivals: u64,
    /// In the order of their arrival; whose sender is dropped gives way.
    guests: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place at the door, free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    wanted: oneshot::Receiver<()>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Crowd {
    /// Nobody, before a door with so many places.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), line: Mutex::default() })
    }

    /// A place, as soon as whoever has to give way has done so.
    pub async fn enter(self: &Arc<Self>) -> Place {
        if self.places.available_permits() == 0 {
            lock(&self.line).guests.pop_first();
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        let (sender, wanted) = oneshot::channel();
        let mut line = lock(&self.line);
        line.arrivals += 1;
        let number = line.arrivals;
        line.guests.insert(number, sender);
        Place { crowd: Arc::clone(self), number, wanted, _permit: permit }
    }
}

impl Place {
    /// Returns when this place is wanted for another.
    pub async fn is_wanted(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.wanted).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.crowd.line).guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_wanted(place: &mut Place) -> bool {
        place.is_wanted().now_or_never().is_some()
    }

    #[test]
    fn the_first_gives_way_when_all_places_are_taken() {
        let crowd = Crowd::new(3);
        let enter = || crowd.enter().now_or_never();
        let [mut first, second, mut third] = [(); 3].map(|()| enter().unwrap());
        assert!(!is_wanted(&mut first));
        // One has left by itself: nobody has to.
        drop(second);
        let mut fourth = enter().unwrap();
        assert!(!is_wanted(&mut first));
        let mut fifth = Box::pin(crowd.enter());
        assert!((&mut fifth).now_or_never().is_none(), "the first is still there");
        assert!(is_wanted(&mut first));
        drop(first);
        let fifth = fifth.now_or_never().unwrap();
        assert!(!is_wanted(&mut third) && !is_wanted(&mut fourth));
        drop((third, fourth, fifth));
        assert!(lock(&crowd.line).guests.is_empty());
    }
}
