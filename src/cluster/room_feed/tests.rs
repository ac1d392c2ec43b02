use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::chat::announcement;
use crate::config::Config;
use crate::feed::Position;
use crate::server::Settings;

fn settings() -> Arc<Settings> {
    Arc::new(Settings::new(&Config::default()))
}

const fn tim(nanos: u64) -> Tim {
    Tim::from_nanos(nanos)
}

/// A message whose text is its time.
fn message(nanos: u64) -> Bytes {
    let mut text = Vec::new();
    announcement(&nanos.to_string(), &mut text);
    stamp(&mut text, tim(nanos));
    text.into()
}

fn mark(sequence: u64, nanos: u64) -> StreamMark {
    let position = Position { created: 1, sequence };
    StreamMark { position, tim: tim(nanos), newest: tim(nanos) }
}

/// The feed of a room without listeners, as the next process has it.
async fn next_process(feed: RoomFeed) -> RoomFeed {
    let settings = settings();
    let (snapshot, _) = feed.pool.hand_over(settings.rules.rate_limit()).await;
    let pool = ShardPool::resume(1, settings, &snapshot, Vec::new(), |_| None, None);
    RoomFeed::new(pool.unwrap())
}

fn new_feed() -> RoomFeed {
    RoomFeed::new(ShardPool::start_empty(1, settings()).unwrap())
}

/// The text of each message and the code of each notice in the feed, whose `tim` increases.
fn texts(feed: &RoomFeed) -> Vec<String> {
    let (mut texts, mut last) = (Vec::new(), Tim::default());
    for piece in feed.pool.room().read_from(0, usize::MAX).iter() {
        let mut rest = &piece.bytes[..];
        while let Some((text, behind)) = crate::ws::frame::split(rest) {
            let value: Value = serde_json::from_slice(text).unwrap();
            texts.push(value.get("err").unwrap_or(&value["msg"]).as_str().unwrap().to_owned());
            let tim = Tim::stamped(text).unwrap();
            assert!(tim > last, "{tim} after {last}");
            (last, rest) = (tim, behind);
        }
    }
    texts
}

#[tokio::test]
async fn the_next_process_does_not_announce_a_gap_again() {
    let mut feed = new_feed();
    feed.append(&[message(10)], mark(1, 10), false);
    for _ in 0..3 {
        // The place in the stream is still that before the gap.
        feed.gap(Some(tim(10)), None);
        feed.flush();
        assert_eq!(texts(&feed), ["10", "gap"]);
        feed = next_process(feed).await;
        assert_eq!(feed.pool.room().stream_mark(), Some(mark(1, 10)));
    }
    feed.append(&[message(20)], mark(5, 20), false);
    feed.gap(Some(tim(20)), Some(tim(30)));
    feed.append(&[message(30)], mark(9, 30), false);
    feed.flush();
    assert_eq!(texts(&feed), ["10", "gap", "20", "gap", "30"]);
}

/// The room was in the cluster, then on one machine, and is in the cluster again.
#[tokio::test]
async fn what_others_have_said_meanwhile_is_missing() {
    // The backlog of the stream, what follows it, and what that makes of the feed.
    let cases = [
        (&[10, 20][..], &[50][..], &["10", "20", "40", "50"][..], 1),
        (&[10, 20, 30], &[50], &["10", "20", "40", "gap", "50"], 30),
        (&[10, 30, 45], &[50], &["10", "20", "40", "gap", "45", "50"], 30),
        (&[20, 39], &[45, 50], &["10", "20", "40", "gap", "45", "50"], 39),
        // The clock of the stream is behind.
        (&[10, 20], &[30, 42], &["10", "20", "40", "gap", "42"], 30),
        (&[], &[50], &["10", "20", "40", "50"], 1),
    ];
    for (backlog, live, expected, lacks_until) in cases {
        let mut feed = new_feed();
        feed.pool.room().start_at(tim(1));
        let own = [message(10), message(20), message(40)];
        feed.append(&own, mark(1, 40), false);
        feed.flush();
        let mut feed = next_process(feed).await;
        feed.complete_since(tim(1), true);
        for (sequence, (nanos, is_backlog)) in (1..)
            .zip(backlog.iter().map(|it| (*it, true)).chain(live.iter().map(|it| (*it, false))))
        {
            feed.append(&[message(nanos)], mark(sequence, nanos), is_backlog);
        }
        feed.flush();
        assert_eq!(texts(&feed), expected, "{backlog:?} {live:?}");
        let complete_since = feed.pool.room().inspect(|log, _| log.complete_since());
        assert_eq!(complete_since, tim(lacks_until), "{backlog:?} {live:?}");
    }
}

#[tokio::test]
async fn what_was_said_before_the_backlog_is_missing() {
    for (since, is_whole, lacks_until, expected) in [
        (15, false, 15, &["10", "40", "50"][..]),
        (15, true, 1, &["10", "40", "50"]),
        (45, false, 40, &["10", "40", "gap", "50"]),
        (45, true, 1, &["10", "40", "50"]),
    ] {
        let mut feed = new_feed();
        feed.pool.room().start_at(tim(1));
        feed.append(&[message(10), message(40)], mark(1, 40), false);
        feed.flush();
        let mut feed = next_process(feed).await;
        feed.complete_since(tim(since), is_whole);
        feed.append(&[message(50)], mark(9, 50), true);
        feed.flush();
        assert_eq!(texts(&feed), expected, "{since} {is_whole}");
        let complete_since = feed.pool.room().inspect(|log, _| log.complete_since());
        assert_eq!(complete_since, tim(lacks_until), "{since} {is_whole}");
    }
}
