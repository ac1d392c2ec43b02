//! Where in the feed a new listener starts.

use std::time::Duration;

use super::Room;
use crate::chat::{Since, Tim};
use crate::feed::Log;

/// A client may name a time so far ahead of the room and of the clock; one further ahead is
/// ignored. After a crash without a tail the clock may have been set back,
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// and in a cluster the client may come from a node that has read the stream further.
const AHEAD_MAX_IN_CLUSTER: Duration = Duration::from_secs(60);

/// Which messages a new listener asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Those that are sent from now on.
    #[default]
    Live,
    /// Those whose `tim` is greater.
    After(Since),
    /// Those after a time that cannot be read: from now on, and some are missing.
    Unknown,
}

/// Where a listener starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartPoint {
    /// The position in the feed.
    pub cursor: u64,
    /// It gets only messages with a greater `tim`, and there is none yet.
    pub after: Option<Tim>,
    /// Messages that it asks for are missing, or that cannot be known.
    pub gap: Option<Gap>,
}

/// Messages are missing before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The time that the client has sent.
    pub after: Option<Since>,
    /// The `tim` of the first message that follows, if there is one.
    pub before: Option<Tim>,
}

impl Room {
    /// Finds the start of a new listener. It gets no message that is older than `resume`; if
    /// that is zero, only messages from now on.
    pub fn start_point(&self, start: Start, resume: Duration, now: Tim) -> StartPoint {
        let ahead_max = if self.remote.is_some() { AHEAD_MAX_IN_CLUSTER } else { AHEAD_MAX };
        self.inspect(|log, last_tim| start_point(log, last_tim, start, resume, ahead_max, now))
    }
}

fn start_point(
    log: &Log,
    last: Tim,
    start: Start,
    resume: Duration,
    ahead_max: Duration,
    now: Tim,
) -> StartPoint {
    let live = StartPoint { cursor: log.end(), after: None, gap: None };
    let since = match start {
        Start::Live => return live,
        Start::Unknown => {
            return StartPoint { gap: Some(Gap { after: None, before: None }), ..live };
        }
        Start::After(since) => since,
    };
    let tim = since.tim();
    // Before `complete_since` it cannot be known what is missing.
    if tim > last.max(log.complete_since()) {
        let latest = last.max(now).nanos().saturating_add(ahead_max.as_nanos() as u64);
        return StartPoint { after: (tim.nanos() <= latest).then_some(tim), ..live };
    }
    let pieces = log.pieces();
    let wanted = log.position_after(tim);
    let oldest = now.nanos().saturating_sub(resume.as_nanos() as u64);
    let allowed = match resume {
        Duration::ZERO => log.end(),
        _ => pieces.first_after(Tim::from_nanos(oldest)).map_or(log.end(), |first| first.0),
    };
    // What is in front of the tail may be forgotten at any time.
    let cursor = wanted.max(allowed).max(pieces.boundary_from(log.tail_start()));
    let gap = (log.complete_since() > tim || cursor > wanted)
        .then(|| Gap { after: Some(since), before: pieces.tim_from(cursor) });
    StartPoint { cursor, after: None, gap }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{gap_notice, stamp};
    use crate::feed::EncodedMessages;

    fn tim(secs: u64) -> Tim {
        Tim::from_nanos(secs * 1_000_000_000)
    }

    /// Messages at these times of some hundred bytes each; the log began at second 10.
    fn log(tail_bytes: usize, secs: &[u64]) -> Log {
        let mut log = Log::resume(tail_bytes, 0, 0, tim(10));
        for &secs in secs {
            append(&mut log, secs);
        }
        log
    }

    fn append(log: &mut Log, secs: u64) {
        let mut message = EncodedMessages::default();
        message.push(|out| out.extend([b'x'; 300]));
        message.stamp(|text| stamp(text, tim(secs)));
        log.append(message.bytes(), 1);
        log.forget(u64::MAX);
    }

    /// The `tim` in seconds of the first message that follows, or `None`; whether there is a
    /// gap, and whether the listener is early.
    fn check(log: &Log, since: Tim, resume_secs: u64, now: u64) -> (Option<u64>, bool, bool) {
        let last = log.pieces().iter().next_back().map_or(Tim::default(), |piece| piece.last_tim);
        let (start, resume) = (Start::After(since.into()), Duration::from_secs(resume_secs));
        let point = start_point(log, last, start, resume, AHEAD_MAX, tim(now));
        if point.after.is_none() {
            // In a cluster only later times are known, too.
            let there = start_point(log, last, start, resume, AHEAD_MAX_IN_CLUSTER, tim(now));
            assert!(point == there || there.after.is_some());
        }
        let first = log.pieces().tim_from(point.cursor);
        if let Some(gap) = point.gap {
            assert_eq!(gap, Gap { after: Some(since.into()), before: first });
        }
        assert!(point.after.is_none_or(|after| after == since));
        (first.map(Tim::whole_secs), point.gap.is_some(), point.after.is_some())
    }

    #[test]
    fn a_listener_gets_what_it_has_missed_or_a_gap() {
        let log = log(1 << 20, &[11, 12, 13, 50]);
        for (since, resume, now, want) in [
            (tim(12), 300, 50, (Some(13), false, false)),
            (Tim::from_nanos(12_000_000_001), 300, 50, (Some(13), false, false)),
            (Tim::from_nanos(11_999_999_999), 300, 50, (Some(12), false, false)),
            (tim(50), 300, 50, (None, false, false)),
            (tim(10), 300, 50, (Some(11), false, false)),
            // It is not known what was sent before.
            (tim(9), 300, 50, (Some(11), true, false)),
            (tim(0), 300, 50, (Some(11), true, false)),
            // Too old: 13 is not given at 100, but 50 is.
            (tim(12), 60, 100, (Some(50), true, false)),
            // Too old, but nothing was said in between.
            (tim(13), 60, 100, (Some(50), false, false)),
            (tim(20), 1, 50, (Some(50), false, false)),
            (tim(12), 10, 100, (None, true, false)),
            (tim(50), 10, 100, (None, false, false)),
            // Without a replay.
            (tim(12), 0, 50, (None, true, false)),
            (tim(49), 0, 50, (None, true, false)),
            (tim(50), 0, 50, (None, false, false)),
            // Ahead of the last message, and ahead of the clock.
            (tim(51), 300, 60, (None, false, true)),
            (tim(61), 300, 60, (None, false, true)),
            (Tim::from_nanos(61_000_000_001), 300, 60, (None, false, false)),
            (Tim::from_nanos(u64::MAX), 300, 60, (None, false, false)),
            // The clock was set back: the room is ahead of it.
            (tim(13), 300, 20, (Some(50), false, false)),
            (tim(51), 300, 20, (None, false, true)),
            (Tim::from_nanos(51_000_000_001), 300, 20, (None, false, false)),
        ] {
            assert_eq!(check(&log, since, resume, now), want, "{since} {resume} {now}");
        }
    }

    /// A log with the notice of a gap behind the second 12.
    fn log_with_gap(tail_bytes: usize, later: &[u64]) -> Log {
        let mut log = log(tail_bytes, &[11, 12]);
        let mut notice = EncodedMessages::default();
        let (after, now) = (Some(tim(12).into()), Tim::from_nanos(tim(12).nanos() + 1));
        notice.push(|out| gap_notice(after, None, now, out));
        log.append(notice.bytes(), 1);
        for &secs in later {
            append(&mut log, secs);
        }
        log
    }

    #[test]
    fn who_comes_from_within_a_gap_of_this_node_gets_its_notice() {
        // Where a listener starts, and whether it has to wait for a message.
        let start = |log: &Log, since, resume_secs| {
            let (start, resume) = (Start::After(since), Duration::from_secs(resume_secs));
            start_point(log, log.last_tim(), start, resume, AHEAD_MAX_IN_CLUSTER, tim(50))
        };
        let notice = log_with_gap(1 << 20, &[]).pieces().first_after(tim(12)).unwrap();
        let (at_notice, no_gap) = (notice.0, None);
        for later in [&[40, 50][..], &[40]] {
            let log = log_with_gap(1 << 20, later);
            for since in [tim(12), notice.1, tim(13), tim(39)] {
                let point = start(&log, since.into(), 300);
                assert_eq!(point, StartPoint { cursor: at_notice, after: None, gap: no_gap });
            }
            let (behind, _) = log.pieces().first_after(tim(13)).unwrap();
            assert!(start(&log, tim(11).into(), 300).cursor < at_notice);
            assert!(start(&log, tim(40).into(), 300).cursor > behind);
            // The notice is too old, the message behind it is not.
            let point = start(&log, tim(13).into(), 15);
            let gap = Some(Gap { after: Some(tim(13).into()), before: Some(tim(40)) });
            assert_eq!(point, StartPoint { cursor: behind, after: None, gap });
        }
        // Nothing follows yet: it is not known whether this client lacks anything.
        let mut log = log_with_gap(1 << 20, &[]);
        assert_eq!(start(&log, tim(30).into(), 300).after, Some(tim(30)));
        append(&mut log, 20);
        append(&mut log, 40);
        assert_eq!(log.position_after(tim(30)), log.pieces().first_after(tim(20)).unwrap().0);
        assert_eq!(log.position_after(tim(15)), at_notice);
    }

    #[test]
    fn a_gap_that_is_forgotten_is_a_gap() {
        let mut log = log_with_gap(600, &[40]);
        log.forget(u64::MAX);
        append(&mut log, 50);
        assert_eq!(log.complete_since(), Tim::from_nanos(tim(40).nanos() - 1));
        for (since, is_gap) in [(12, true), (13, true), (39, true), (40, false), (45, false)] {
            let (_, found, _) = check(&log, tim(since), 300, 50);
            assert_eq!(found, is_gap, "{since}");
        }
    }

    #[test]
    fn a_listener_of_a_cluster_may_come_from_a_node_that_has_read_further() {
        let log = log(1 << 20, &[11, 50]);
        for (since, now, is_honoured) in [
            (tim(51), 20, true),
            (tim(110), 20, true),
            (Tim::from_nanos(110_000_000_001), 20, false),
            // Nothing was said for an hour.
            (tim(3_649), 3_650, true),
            (tim(3_710), 3_650, true),
            (tim(3_711), 3_650, false),
            (Tim::from_nanos(u64::MAX), 3_650, false),
        ] {
            let (start, resume) = (Start::After(since.into()), Duration::from_secs(300));
            let point = start_point(&log, tim(50), start, resume, AHEAD_MAX_IN_CLUSTER, tim(now));
            let after = is_honoured.then_some(since);
            assert_eq!(point, StartPoint { cursor: log.end(), after, gap: None }, "{since} {now}");
        }
    }

    #[test]
    fn before_the_first_message_only_the_beginning_of_the_log_is_known() {
        let log = log(1 << 20, &[]);
        for (since, want) in
            [(9, (None, true, false)), (10, (None, false, false)), (11, (None, false, true))]
        {
            assert_eq!(check(&log, tim(since), 300, 12), want, "{since}");
        }
    }

    #[test]
    fn what_the_tail_has_passed_is_missing() {
        let log = log(1_000, &[11, 12, 13, 14, 15, 16, 17, 18]);
        assert!(log.tail_start() > 0);
        for since in 10..=18 {
            let (first, gap, _) = check(&log, tim(since), 300, 18);
            let want = Some(since.max(15) + 1).filter(|first| *first <= 18);
            assert_eq!((first, gap), (want, since < 15), "{since}");
        }
    }

    #[test]
    fn without_a_time_a_listener_starts_at_the_end() {
        let log = log(1 << 20, &[11]);
        let start = |start| start_point(&log, tim(11), start, Duration::MAX, AHEAD_MAX, tim(12));
        assert_eq!(start(Start::Live), StartPoint { cursor: log.end(), after: None, gap: None });
        let unknown = Gap { after: None, before: None };
        assert_eq!(
            (start(Start::Unknown).cursor, start(Start::Unknown).gap),
            (log.end(), Some(unknown))
        );
    }
}
