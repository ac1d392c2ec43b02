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
