//! The sequencer gives all messages of the room one order. It holds the only lock that
//! every message passes.
//!
//! In a room on several machines, a [`RemoteOrder`](super::RemoteOrder) gives the messages
//! their order and their `tim`, and [`Sequencer::append_ordered`] appends what comes back. All
//! other functions only read the feed of this machine, and so does the rest of the program.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::thread::Thread;

use crate::chat::{Stamper, Tim, stamp};
use crate::feed::{EncodedMessages, Log, Piece, Pieces, StreamMark};
use crate::mutex::lock;

/// Keeps the newest messages where they outlive a crash of this process.
pub trait TailStore: fmt::Debug + Send {
    /// Stores the messages that were appended to the feed, and how far the stream of a cluster
    /// was read with them. Must not block; handles its errors.
    fn append(&mut self, messages: &Piece, stream_mark: Option<StreamMark>);
    /// Stores how far the stream was read, without messages. Must not block either.
    fn advance(&mut self, stream_mark: StreamMark);
    /// Stores since when the messages are complete, before the first one. Must not block either.
    fn start_at(&mut self, complete_since: Tim);
    /// Stores that messages up to this time are missing. Must not block either.
    fn lack_until(&mut self, tim: Tim);
}

#[derive(Debug)]
pub(super) struct Sequencer(Mutex<Order>);

#[derive(Debug)]
struct Order {
    stamper: Stamper,
    log: Log,
    tail_store: Option<Box<dyn TailStore>>,
    /// Threads to unpark at the next append.
    waiting_readers: Vec<Thread>,
}

impl Sequencer {
    pub fn new(log: Log, stamper: Stamper) -> Self {
        Self(Mutex::new(Order { stamper, log, tail_store: None, waiting_readers: Vec::new() }))
    }

    /// Stores all messages from now on in `store`, which has those that are in the feed.
    pub fn store_tail(&self, store: Box<dyn TailStore>) {
        lock(&self.0).tail_store = Some(store);
    }

    /// Stamps the messages and appends them to the feed. `appended` gets the new end of
    /// the feed while the order is locked, so that it gets the ends in ascending order.
    pub fn publish(&self, messages: &mut EncodedMessages, now: Tim, appended: impl FnOnce(u64)) {
        let mut order = lock(&self.0);
        messages.stamp(|text| stamp(text, order.stamper.next(now)));
        appended(order.append(messages));
        wake_readers(order);
    }

    /// Appends messages that have their `tim`. The stream of the cluster was read up to
    /// `stream_mark` with them; without messages only that is noted.
    pub fn append_ordered(
        &self,
        messages: &EncodedMessages,
        stream_mark: StreamMark,
        appended: impl FnOnce(u64),
    ) {
        let mut order = lock(&self.0);
        order.log.set_stream_mark(Some(stream_mark));
        if messages.is_empty() {
            order.advance(stream_mark);
        } else {
            appended(order.append(messages));
        }
        let last_tim = order.log.last_tim().max(stream_mark.tim).max(order.stamper.last());
        order.stamper = Stamper::after(last_tim);
        wake_readers(order);
    }

    /// Appends a text that tells the state of the room. It is no message, so it is not stored:
    /// after a crash there is no listener that has to have it.
    pub fn append_presence(&self, frame: &[u8], appended: impl FnOnce(u64)) {
        let mut order = lock(&self.0);
        order.log.append(frame, 0);
        appended(order.log.end());
        wake_readers(order);
    }

    /// If there was no message yet, all that follow are later than `complete_since`, and none of
    /// them is missing. Returns whether that is so.
    pub fn start_at(&self, complete_since: Tim) -> bool {
        let mut order = lock(&self.0);
        let is_new = order.log.start_at(complete_since);
        if let Some(store) = order.tail_store.as_mut().filter(|_| is_new) {
            store.start_at(complete_since);
        }
        is_new
    }

    /// Messages up to this time are missing in the feed.
    pub fn lack_until(&self, tim: Tim) {
        let mut order = lock(&self.0);
        order.log.lack_until(tim);
        if let Some(store) = &mut order.tail_store {
            store.lack_until(tim);
        }
    }

    /// Adds what follows `view` to it, or what follows `start` if it is empty. Then forgets
    /// what is older than the tail, but nothing from `retain_from` on. Returns the
    /// position at which the tail starts.
    pub fn fetch(&self, view: &mut Pieces, start: u64, retain_from: u64) -> u64 {
        let mut order = lock(&self.0);
        view.follow(order.log.pieces(), start);
        order.log.forget(retain_from);
        order.log.tail_start()
    }

    pub fn read_from_or_later(&self, cursor: u64, bytes_max: usize) -> Pieces {
        let order = lock(&self.0);
        let mut pieces = Pieces::default();
        for piece in order.log.pieces().since(cursor) {
            pieces.push(piece.clone());
            if piece.end() - cursor >= bytes_max as u64 {
                break;
            }
        }
        pieces
    }

    pub fn has_news_or_wake(&self, cursor: u64, reader: &Thread) -> bool {
        let mut order = lock(&self.0);
        let has_news = order.log.end() > cursor;
        if !has_news && order.waiting_readers.iter().all(|waiting| waiting.id() != reader.id()) {
            order.waiting_readers.push(reader.clone());
        }
        has_news
    }

    pub fn forget_events(&self) {
        lock(&self.0).log.forget_events();
    }

    pub fn inspect<T>(&self, look: impl FnOnce(&Log, Tim) -> T) -> T {
        let order = lock(&self.0);
        look(&order.log, order.stamper.last())
    }
}

/// Wakes the threads that wait for messages, after the order is unlocked.
fn wake_readers(mut order: MutexGuard<'_, Order>) {
    let readers = std::mem::take(&mut order.waiting_readers);
    drop(order);
    readers.iter().for_each(Thread::unpark);
}

impl Order {
    /// Appends messages that have their order and their `tim`. Returns the end of the feed.
    fn append(&mut self, messages: &EncodedMessages) -> u64 {
        self.log.append(messages.bytes(), messages.len() as u32);
        // Listeners can get the messages only after the order is unlocked.
        if let (Some(store), Some(piece)) =
            (&mut self.tail_store, self.log.pieces().iter().next_back())
        {
            store.append(piece, self.log.stream_mark());
        }
        self.log.end()
    }

    /// Stores how far the stream was read, without messages.
    fn advance(&mut self, stream_mark: StreamMark) {
        if let Some(store) = &mut self.tail_store {
            store.advance(stream_mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::feed::Position;

    #[derive(Debug)]
    struct TestStore {
        order: Arc<Sequencer>,
        stored: Arc<Mutex<Stored>>,
    }

    /// The messages, and the place in the stream.
    type Stored = (Vec<u8>, Option<StreamMark>);

    impl TailStore for TestStore {
        fn append(&mut self, messages: &Piece, stream_mark: Option<StreamMark>) {
            assert!(self.order.0.try_lock().is_err(), "nobody can read them yet");
            let mut stored = lock(&self.stored);
            stored.0.extend_from_slice(&messages.bytes);
            stored.1 = stream_mark;
        }

        fn advance(&mut self, stream_mark: StreamMark) {
            lock(&self.stored).1 = Some(stream_mark);
        }

        fn start_at(&mut self, _: Tim) {}

        fn lack_until(&mut self, _: Tim) {}
    }

    /// Messages of 40 bytes.
    fn messages(count: usize) -> EncodedMessages {
        let mut messages = EncodedMessages::default();
        (0..count).for_each(|_| messages.push(|out| out.extend([b'x'; 40])));
        messages
    }

    fn sent(order: &Sequencer) -> Vec<u8> {
        let bytes = |log: &Log| log.pieces().iter().flat_map(|it| it.bytes.to_vec()).collect();
        order.inspect(|log, _| bytes(log))
    }

    fn stored_order() -> (Arc<Sequencer>, Arc<Mutex<Stored>>) {
        let order = Arc::new(Sequencer::new(Log::new(4_000), Stamper::default()));
        let stored = Arc::default();
        let store = TestStore { order: Arc::clone(&order), stored: Arc::clone(&stored) };
        order.store_tail(Box::new(store));
        (order, stored)
    }

    #[test]
    fn messages_are_stored_before_listeners_get_them() {
        let (order, stored) = stored_order();
        for count in 1..4 {
            order.publish(&mut messages(count), Tim::from_nanos(1), drop);
        }
        let sent = sent(&order);
        assert_eq!((sent.len(), (sent, None)), (6 * 42, lock(&stored).clone()));
    }

    #[test]
    fn the_state_of_the_room_is_sent_and_not_stored() {
        let (order, stored) = stored_order();
        order.publish(&mut messages(1), Tim::from_nanos(1), drop);
        order.append_presence(b"\x81\x02}}", |end| assert_eq!(end, 42 + 4));
        order.publish(&mut messages(1), Tim::from_nanos(1), drop);
        let sent = sent(&order);
        assert_eq!((sent.len(), lock(&stored).0.len()), (2 * 42 + 4, 2 * 42));
        assert_eq!(order.inspect(|log, _| log.messages()), 2);
    }

    #[test]
    fn the_place_in_the_stream_is_stored_with_its_messages() {
        let (order, stored) = stored_order();
        for (sequence, count) in [(3, 2), (4, 0), (7, 1), (8, 0), (9, 0)] {
            let position = Position { created: 1, sequence };
            let stream_mark = StreamMark { position, ..StreamMark::default() };
            let mut messages = messages(count);
            let mut nanos = 10 * sequence;
            messages.stamp(|text| {
                nanos += 1;
                stamp(text, Tim::from_nanos(nanos));
            });
            let mut end = None;
            order.append_ordered(&messages, stream_mark, |it| end = Some(it));
            assert_eq!(end.is_some(), count > 0, "{sequence}");
            assert_eq!(order.inspect(|log, _| log.stream_mark()), Some(stream_mark));
            assert_eq!((sent(&order), Some(stream_mark)), lock(&stored).clone());
        }
        assert_eq!(order.inspect(|log, last| (log.messages(), last)), (3, Tim::from_nanos(71)));
    }
}
