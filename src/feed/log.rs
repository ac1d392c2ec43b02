//! The log: it appends messages and forgets what is older than the tail.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::encoding;
use super::pieces::{Piece, Pieces};
use super::stream_mark::StreamMark;
use crate::chat::Tim;

/// The size of an allocation; pieces are slices of such a page.
const PAGE_BYTES: usize = 64 * 1024;
/// So many adjacent small pieces are merged into one, so that a reader that is far behind
/// finds few pieces even if the messages are small.
const MERGE_PIECES: usize = 32;
/// A piece below this size is small; merged pieces fit a page.
const SMALL_BYTES: usize = PAGE_BYTES / MERGE_PIECES;

/// The append-only log of encoded messages, of which the tail is in memory.
#[derive(Debug)]
pub struct Log {
    pieces: Pieces,
    /// The number of small pieces at the end.
    small: usize,
    /// The rest of the newest page.
    page: BytesMut,
    end: u64,
    messages: u64,
    tail_bytes: u64,
    last_tim: Tim,
    complete_since: Tim,
    presence: Option<(u64, Bytes)>,
    stream_mark: Option<StreamMark>,
}

impl Log {
    /// An empty log that keeps the newest `tail_bytes` bytes.
    pub fn new(tail_bytes: usize) -> Self {
        Self::resume(tail_bytes, 0, 0, Tim::default())
    }

    /// A log that continues at the position `start`, after `messages` messages. What was sent
    /// up to `complete_since` may be missing.
    pub fn resume(tail_bytes: usize, start: u64, messages: u64, complete_since: Tim) -> Self {
        Self {
            pieces: Pieces::default(),
            small: 0,
            page: BytesMut::new(),
            end: start,
            messages,
            tail_bytes: tail_bytes as u64,
            last_tim: complete_since,
            complete_since,
            presence: None,
            stream_mark: None,
        }
    }

    /// Appends `frames`: the frames of `messages` messages, and of texts that tell the state of
    /// the room.
    pub fn append(&mut self, frames: &[u8], messages: u32) {
        if frames.is_empty() {
            return;
        }
        self.merge();
        if self.page.capacity() < frames.len() {
            self.page = BytesMut::with_capacity(frames.len().max(PAGE_BYTES));
        }
        self.page.extend_from_slice(frames);
        let bytes = self.page.split().freeze();
        let last_tim = encoding::last_tim(frames);
        self.last_tim = last_tim.unwrap_or(self.last_tim);
        let tim_before = self.pieces.iter().next_back().map(|piece| piece.last_tim);
        let piece = Piece {
            start: self.end,
            messages_before: self.messages,
            messages,
            last_tim: last_tim.or(tim_before).unwrap_or_default(),
            bytes,
            events: Arc::default(),
        };
        self.small = if frames.len() < SMALL_BYTES { self.small + 1 } else { 0 };
        self.end = piece.end();
        self.messages += u64::from(messages);
        self.pieces.push(piece);
        if messages == 0 {
            self.find_presence();
        }
    }

    /// Merges the small pieces at the end if there are many. This happens before the next
    /// append, so that the cursor of a reader that keeps up is at the end of a piece.
    fn merge(&mut self) {
        if self.small < MERGE_PIECES {
            return;
        }
        self.pieces.merge_last(self.small);
        let merged = self.pieces.iter().next_back();
        self.small = merged.is_some_and(|piece| piece.bytes.len() < SMALL_BYTES).into();
    }

    /// The pieces in memory.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The number of messages since the room was first opened.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The position at which the tail starts; a listener with a cursor before it has lost
    /// its place.
    pub fn tail_start(&self) -> u64 {
        self.end.saturating_sub(self.tail_bytes)
    }

    /// The position of the first message with a greater `tim`, or the end. If the notice of a
    /// gap is the message before it, the position of the notice: `tim` can be that of a message in the gap.
    pub fn position_after(&self, tim: Tim) -> u64 {
        let position = self.pieces.first_after(tim).map_or(self.end, |(position, _)| position);
        self.pieces.gap_before(position).map_or(position, |(notice, _)| notice)
    }

    /// Whether the newest message is the notice of a gap.
    pub fn ends_with_gap(&self) -> bool {
        self.pieces.gap_before(self.end).is_some()
    }

    /// Finds the newest text that tells the state of the room in the newest piece that has one.
    pub fn find_presence(&mut self) {
        let found = |piece: &Piece| {
            let text = encoding::newest_presence(&piece.bytes)?;
            // Not a slice: it would keep a page in memory.
            Some((piece.end(), Bytes::copy_from_slice(text)))
        };
        self.presence = self.pieces.iter().rev().find_map(found);
    }

    /// The newest text that tells the state of the room, and a position behind it.
    pub fn newest_presence(&self) -> Option<(u64, Bytes)> {
        self.presence.clone()
    }

    /// Whether nothing can be forgotten before a message follows, and much is kept already.
    pub fn is_stuck(&self) -> bool {
        self.held_bytes() > 2 * self.tail_bytes && self.ends_with_gap()
    }

    /// The `tim` of the last message; if there was none, the time that was given at the start.
    pub fn last_tim(&self) -> Tim {
        self.last_tim
    }

    /// Every message with a greater `tim` is in memory.
    pub fn complete_since(&self) -> Tim {
        self.complete_since
    }

    /// Whether this message, with its `tim`, is in memory.
    pub fn contains(&self, text: &[u8]) -> bool {
        Tim::stamped(text).and_then(|tim| self.pieces.text_of(tim)) == Some(text)
    }

    /// Whether the message with this `tim` is in memory.
    pub fn has(&self, tim: Tim) -> bool {
        self.pieces.text_of(tim).is_some()
    }

    /// Whether there was no message with this `tim`, as far as that is known.
    pub fn never_had(&self, tim: Tim) -> bool {
        tim > self.complete_since && self.pieces.text_of(tim).is_none()
    }

    /// Messages up to this time are missing.
    pub fn lack_until(&mut self, tim: Tim) {
        self.complete_since = self.complete_since.max(tim);
    }

    /// How far the stream of a cluster was read with all messages so far; `None` without a
    /// cluster.
    pub fn stream_mark(&self) -> Option<StreamMark> {
        self.stream_mark
    }

    /// Notes how far the stream of a cluster was read with all messages so far.
    pub fn set_stream_mark(&mut self, stream_mark: Option<StreamMark>) {
        self.stream_mark = stream_mark;
    }

    /// If there was no message yet: every message with a greater `tim` will follow. Returns
    /// whether that is so.
    pub fn start_at(&mut self, complete_since: Tim) -> bool {
        let is_new = self.messages == 0;
        if is_new {
            (self.complete_since, self.last_tim) = (complete_since, complete_since);
        }
        is_new
    }

    /// The number of bytes in memory.
    pub fn held_bytes(&self) -> u64 {
        self.end - self.pieces.start().unwrap_or(self.end)
    }

    /// Forgets the events of all messages, because no listener needs them.
    pub fn forget_events(&mut self) {
        self.pieces.forget_events();
    }

    /// Forgets what is older than the tail, but nothing from `retain_from` on: a shard may
    /// still have to send that.
    pub fn forget(&mut self, retain_from: u64) {
        let position = self.tail_start().min(retain_from);
        let forgotten = self.pieces.iter().take_while(|piece| piece.end() <= position);
        if let Some(last) = forgotten.last() {
            // Messages between a gap and the message behind it are missing.
            let gap = self.pieces.gap_before(last.end());
            let next = gap.and_then(|_| self.pieces.tim_from(last.end()));
            if gap.is_some() && next.is_none() {
                // It is not known yet how far the gap goes: the notice has to stay.
                return;
            }
            let until = next.map(|tim| Tim::from_nanos(tim.nanos().saturating_sub(1)));
            // It is greater if a message behind this piece is missing.
            self.complete_since = self.complete_since.max(until.unwrap_or(last.last_tim));
            self.pieces.forget_before(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Presence, gap_notice};
    use crate::feed::{EncodedMessages, Encoding, Progress};
    use crate::ws::frame;
    use proptest::prelude::*;

    fn frames_from(pieces: &Pieces, cursor: u64) -> Vec<u8> {
        let slices = pieces.slices(Encoding::Frames, Progress { cursor, event_bytes: 0 });
        slices.slices.iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn bytes_from(log: &Log, cursor: u64) -> Vec<u8> {
        frames_from(log.pieces(), cursor)
    }

    /// Appends a message, the notice of a gap, or presence.
    fn append(log: &mut Log, secs: u64, is_gap: bool) {
        let (tim, mut frame) = (Tim::from_nanos(secs * 1_000_000_000), Vec::new());
        frame::put_text_with(
            |out| match (secs, is_gap) {
                (0, _) => Presence::default().write(out),
                (_, true) => gap_notice(None, None, tim, out),
                _ => out.extend(format!(r#"{{"usr":"a","msg":"b","tim":"{tim}"}}"#).bytes()),
            },
            &mut frame,
        );
        log.append(&frame, u32::from(secs > 0));
    }

    #[test]
    fn presence_changes_nothing_about_messages() {
        let secs = |secs: u64| Tim::from_nanos(secs * 1_000_000_000);
        let (mut log, mut with) = (Log::new(4_000), Log::new(1 << 20));
        for n in 1..200 {
            append(&mut log, n, false);
            append(&mut with, n, false);
            (0..n % 3).for_each(|_| append(&mut with, 0, false));
        }
        assert_eq!((log.messages(), log.last_tim()), (with.messages(), with.last_tim()));
        for n in 1..200 {
            let text = |log: &Log| log.pieces().text_of(secs(n)).map(<[u8]>::to_vec);
            assert_eq!(text(&log), text(&with));
            assert_eq!(with.pieces().tim_from(with.position_after(secs(n - 1))), Some(secs(n)));
            let before = |log: &Log| log.pieces().messages_before(log.position_after(secs(n)));
            assert_eq!(before(&with), before(&log));
        }
        assert!(log.never_had(secs(300)) && with.never_had(secs(300)));
        assert!(with.newest_presence().is_some());
    }

    #[test]
    fn a_tail_of_presence_alone_is_complete_since_the_last_message() {
        let mut log = Log::new(100);
        append(&mut log, 5, false);
        for _ in 0..50 {
            append(&mut log, 0, false);
            log.forget(u64::MAX);
        }
        assert_eq!(log.complete_since(), Tim::from_nanos(5_000_000_000));
        assert_eq!(log.last_tim(), log.complete_since());
        assert!(log.held_bytes() < 1_000);
    }

    #[test]
    fn the_notice_of_a_gap_is_kept_until_a_message_follows() {
        let mut log = Log::new(100);
        append(&mut log, 5, false);
        append(&mut log, 6, true);
        for _ in 0..50 {
            append(&mut log, 0, false);
            log.forget(u64::MAX);
        }
        assert!(log.ends_with_gap());
        append(&mut log, 40, false);
        let notice = log.position_after(Tim::from_nanos(30_000_000_000));
        assert_eq!(log.pieces().tim_from(notice), Some(Tim::from_nanos(6_000_000_000)));
        log.forget(u64::MAX);
        assert_eq!(log.complete_since(), Tim::from_nanos(39_999_999_999));
    }

    #[test]
    fn presence_before_messages_that_may_lack_others_hides_none() {
        let secs = |secs: u64| Tim::from_nanos(secs * 1_000_000_000);
        // It was told to listeners of a tail whose newest messages are lost.
        let mut log = Log::resume(1 << 20, 0, 0, secs(50));
        append(&mut log, 0, false);
        append(&mut log, 10, false);
        append(&mut log, 60, false);
        assert!(log.has(secs(10)));
        assert_eq!(log.pieces().first_after(secs(10)).map(|(_, tim)| tim), Some(secs(60)));
    }

    #[test]
    fn presence_whose_message_is_forgotten_hides_none() {
        let secs = |secs: u64| Tim::from_nanos(secs * 1_000_000_000);
        let mut log = Log::new(150);
        append(&mut log, 10, false);
        append(&mut log, 0, false);
        append(&mut log, 20, false);
        log.forget(u64::MAX);
        assert!(!log.has(secs(10)) && log.newest_presence().is_some());
        assert_eq!(log.pieces().first_after(secs(5)).map(|(_, tim)| tim), Some(secs(20)));
        assert!(log.has(secs(20)));
    }

    #[test]
    fn a_room_with_presence_alone_can_still_begin() {
        let mut log = Log::resume(1 << 20, 0, 0, Tim::from_nanos(50_000_000_000));
        append(&mut log, 0, false);
        assert!(log.start_at(Tim::from_nanos(9_000_000_000)));
        append(&mut log, 10, false);
        let (position, _) = log.pieces().first_after(Tim::from_nanos(9_000_000_000)).unwrap();
        assert_eq!(log.pieces().messages_before(position), 0);
        assert!(!log.start_at(Tim::default()));
    }

    #[test]
    fn pieces_share_a_page_and_keep_its_bytes() {
        let mut log = Log::new(1 << 20);
        log.append(b"one", 1);
        log.append(b"two", 1);
        let ends: Vec<_> = log.pieces().iter().map(|p| p.bytes.as_ptr_range()).collect();
        assert_eq!(ends[0].end, ends[1].start, "the second piece follows in the same page");
        assert_eq!(bytes_from(&log, 0), b"onetwo");
    }

    #[test]
    fn the_rest_of_a_message_is_shared_with_the_feed() {
        let mut message = EncodedMessages::default();
        message.push(|out| out.extend([b'x'; 40]));
        let mut log = Log::new(1 << 20);
        log.append(message.bytes(), 1);
        for (encoding, at) in [
            (Encoding::Frames, Progress { cursor: 9, event_bytes: 0 }),
            (Encoding::Events, Progress { cursor: 0, event_bytes: 9 }),
        ] {
            let rest = [(); 2].map(|()| log.pieces().rest_of_message(encoding, at));
            assert!(rest[0].len() > 30);
            assert_eq!(rest[0].as_ptr(), rest[1].as_ptr(), "{encoding}: nothing is copied");
        }
    }

    #[test]
    fn small_pieces_are_merged_and_large_ones_are_not() {
        let mut log = Log::new(1 << 24);
        (0..3_000).for_each(|n: u32| log.append(&n.to_be_bytes().repeat(15), 1));
        assert!(log.pieces().iter().count() < 200, "{} pieces", log.pieces().iter().count());
        let merged: u64 = log.pieces().iter().map(|piece| u64::from(piece.messages)).sum();
        assert_eq!((merged, log.messages()), (3_000, 3_000));
        let before: Vec<_> = log.pieces().iter().map(|piece| piece.messages_before).collect();
        assert!(before.is_sorted_by(|a, b| a < b));
        let mut log = Log::new(1 << 24);
        (0..100).for_each(|_| log.append(&[0; SMALL_BYTES], 1));
        assert_eq!(log.pieces().iter().count(), 100);
    }

    proptest! {
        #[test]
        fn a_follower_has_what_the_log_has(
            appends in prop::collection::vec(prop_oneof![8 => 1usize..90, 1 => 1usize..9_000], 1..400),
            follows in prop::collection::vec(1usize..120, 1..40),
            forgets in any::<bool>(),
        ) {
            let mut log = Log::new(64);
            let mut view = Pieces::default();
            let (mut all, mut taken) = (Vec::new(), 0);
            let mut appends = appends.iter().enumerate();
            for steps in follows.iter().cycle() {
                let mut more = false;
                for (n, &len) in appends.by_ref().take(*steps) {
                    let frames = vec![n as u8; len];
                    log.append(&frames, 1);
                    all.extend(frames);
                    more = true;
                }
                view.follow(log.pieces(), taken);
                prop_assert_eq!(view.end().unwrap_or(taken), log.end());
                prop_assert_eq!(&frames_from(&view, taken), &all[taken as usize..]);
                if forgets {
                    taken = log.end();
                    view.forget_before(taken);
                    log.forget(taken);
                }
                prop_assert!(view.iter().count() <= log.pieces().iter().count() + 1);
                if !more {
                    break;
                }
            }
        }

        #[test]
        fn any_cursor_reads_what_was_appended(
            appends in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..60),
            at in any::<prop::sample::Index>(),
            tail in 1usize..4000,
        ) {
            let all: Vec<u8> = appends.concat();
            let mut log = Log::new(tail);
            for frames in &appends {
                log.append(frames, 1);
                log.forget(u64::MAX);
                let largest = appends.iter().map(Vec::len).max().unwrap_or(0).max(PAGE_BYTES);
                prop_assert!(log.held_bytes() < (tail + largest) as u64);
            }
            prop_assert_eq!(log.end(), all.len() as u64);
            let first = log.pieces().start().unwrap_or(log.end());
            let cursor = first + at.index((log.end() - first + 1) as usize) as u64;
            prop_assert_eq!(bytes_from(&log, cursor), &all[cursor as usize..]);
        }
    }
}
