//! The limit of connections whose handshake is not finished.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::mutex::lock;

/// The share of connections that is evicted when the system has run out of a resource.
const EVICTED_SHARE: usize = 8;

/// Slots for connections whose handshake is not finished. If all are taken, a new connection
/// evicts the oldest one.
///
/// A well-behaved client sends its request at once and needs its slot only for a moment. So
/// the oldest connection is one that occupies its slot on purpose, or is very slow.
#[derive(Debug, Default)]
pub(crate) struct HandshakeSlots {
    slots: Mutex<Slots>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    last_number: u64,
    /// Slots in use, those of evicted connections that are not dropped yet included.
    taken: usize,
    /// From the oldest to the newest; dropping a sender evicts the connection.
    evictors: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handshake slot, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct HandshakeSlot {
    slots: Arc<HandshakeSlots>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl HandshakeSlots {
    /// Takes one of `max` slots; waits until the evicted connection, if any, is dropped. `max`
    /// may change with each call; there is always one slot.
    pub async fn take(self: &Arc<Self>, max: usize) -> HandshakeSlot {
        loop {
            if let Some(slot) = self.try_take(max.max(1)) {
                // Another waiting call may now evict the next connection.
                self.freed.notify_one();
                return slot;
            }
            self.freed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>, max: usize) -> Option<HandshakeSlot> {
        let mut slots = lock(&self.slots);
        while slots.evictors.len() >= max {
            slots.evictors.pop_first();
        }
        if slots.taken >= max {
            return None;
        }
        let (evictor, evicted) = oneshot::channel();
        slots.taken += 1;
        slots.last_number += 1;
        let number = slots.last_number;
        slots.evictors.insert(number, evictor);
        Some(HandshakeSlot { slots: Arc::clone(self), number, evicted })
    }

    /// Evicts the oldest connections, if there are any, because the system has run out of
    /// descriptors, memory or epoll watches.
    pub fn evict_oldest(&self) {
        let mut slots = lock(&self.slots);
        for _ in 0..slots.evictors.len().div_ceil(EVICTED_SHARE) {
            slots.evictors.pop_first();
        }
    }
}

impl HandshakeSlot {
    /// Returns when this connection is evicted.
    pub async fn evicted(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        let mut slots = lock(&self.slots.slots);
        slots.evictors.remove(&self.number);
        slots.taken -= 1;
        drop(slots);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn take(slots: &Arc<HandshakeSlots>, max: usize) -> Option<HandshakeSlot> {
        slots.take(max).now_or_never()
    }

    fn is_evicted(slot: &mut HandshakeSlot) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_is_evicted_when_all_slots_are_taken() {
        let slots = Arc::new(HandshakeSlots::default());
        let [mut first, second, mut third] = [(); 3].map(|()| take(&slots, 3).unwrap());
        assert!(!is_evicted(&mut first));
        drop(second);
        let mut fourth = take(&slots, 3).unwrap();
        assert!(!is_evicted(&mut first), "a slot was free");
        let mut fifth = Box::pin(slots.take(3));
        assert!((&mut fifth).now_or_never().is_none(), "the first still has its slot");
        assert!(is_evicted(&mut first));
        drop(first);
        let fifth = fifth.now_or_never().unwrap();
        assert!(!is_evicted(&mut third) && !is_evicted(&mut fourth));
        drop((third, fourth, fifth));
        let slots = lock(&slots.slots);
        assert!(slots.evictors.is_empty() && slots.taken == 0);
    }

    #[test]
    fn a_lower_maximum_evicts_as_many_as_are_too_many() {
        let slots = Arc::new(HandshakeSlots::default());
        let mut five = [(); 5].map(|()| take(&slots, 5).unwrap());
        assert!(take(&slots, 2).is_none());
        assert_eq!(five.each_mut().map(is_evicted), [true, true, true, true, false]);
        let [first, second, third, fourth, _last] = five;
        drop((first, second, third));
        assert!(take(&slots, 2).is_none());
        drop(fourth);
        assert!(take(&slots, 2).is_some());
    }

    #[test]
    fn every_waiting_call_gets_a_slot() {
        let slots = Arc::new(HandshakeSlots::default());
        let first = take(&slots, 1).unwrap();
        let [mut second, mut third] = [(); 2].map(|()| Box::pin(slots.take(1)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        let mut second = second.now_or_never().unwrap();
        assert!((&mut third).now_or_never().is_none());
        assert!(is_evicted(&mut second), "by the third, although that began to wait before");
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn a_share_of_the_oldest_is_evicted() {
        let slots = Arc::new(HandshakeSlots::default());
        slots.evict_oldest();
        let mut nine = [(); 9].map(|()| take(&slots, 9).unwrap());
        slots.evict_oldest();
        let evicted = nine.each_mut().map(is_evicted);
        assert_eq!(evicted.iter().position(|evicted| !evicted), Some(2), "{evicted:?}");
        assert!(!evicted[2..].contains(&true), "{evicted:?}");
    }
}
