//! The recorder of a room in which the test publishes messages.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::chat::Tim;
use crate::room::Batch;

const DEADLINE: Duration = Duration::from_secs(30);
/// 2020-08-11, shortly before midnight.
const EVENING: u64 = 1_597_190_399_000_000_000;
const DAY: &str = "2020-08-11";

fn in_dir(folder: &TempDir) -> Record {
    Record { dir: Some(folder.path().to_owned()), ..Record::default() }
}

struct TestRoom {
    room: Arc<Room>,
    folder: TempDir,
    recorder: Recorder,
    sent: u64,
}

impl TestRoom {
    /// A feed with this tail, and a recorder without a directory.
    fn new(tail_bytes: usize) -> Self {
        let room = Arc::new(Room::new(1, tail_bytes));
        let recorder = Recorder::start(Arc::clone(&room), &Record::default()).unwrap();
        Self { room, folder: TempDir::new().unwrap(), recorder, sent: 0 }
    }

    fn recording(tail_bytes: usize) -> Self {
        let room = Self::new(tail_bytes);
        room.recorder.set(&in_dir(&room.folder));
        room
    }

    fn path(&self, day: &str) -> PathBuf {
        self.folder.path().join(day)
    }

    /// Publishes messages with their numbers, and sweeps: the feed keeps only its tail.
    fn publish(&mut self, messages: u64, now: u64) {
        let mut batch = Batch::default();
        for _ in 0..messages {
            let msg = self.sent;
            self.sent += 1;
            batch.push_own(|out| {
                let tim = "0".repeat(30);
                out.extend_from_slice(
                    format!(r#"{{"usr":"a","msg":"{msg}","tim":"{tim}"}}"#).as_bytes(),
                );
            });
        }
        self.room.publish(&mut batch, Tim::from_nanos(now));
        self.room.gate().report_progress(0, self.room.end(), u64::MAX);
        self.room.gate().retain_from(0, u64::MAX);
        self.room.fetch(0, &mut Pieces::default());
    }

    /// Waits until the stats are as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&RecordStats) -> bool) -> RecordStats {
        let start = Instant::now();
        loop {
            let stats = self.recorder.stats();
            if wanted(&stats) {
                return stats;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: {stats:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The numbers of the messages in a file, in order.
    fn recorded(&self, name: &str) -> Vec<u64> {
        numbers(&fs::read_to_string(self.path(name)).unwrap_or_default())
    }
}

fn numbers(text: &str) -> Vec<u64> {
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines: {text}");
    text.lines()
        .map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            message["msg"].as_str().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn messages_go_into_the_file_of_their_day() {
    let mut room = TestRoom::recording(1 << 20);
    room.publish(3, EVENING);
    room.publish(2, EVENING + 2_000_000_000);
    // The clock steps back, but the time of messages does not.
    room.publish(1, EVENING);
    room.recorder.finish(DEADLINE);
    assert_eq!(room.recorded(DAY), [0, 1, 2]);
    assert_eq!(room.recorded("2020-08-12"), [3, 4, 5]);
    let dir = Some(room.folder.path().to_owned());
    let want = RecordStats { recorded: 6, dropped: 0, failing: None, dir };
    assert_eq!(room.recorder.stats(), want);
    let first = fs::read_to_string(room.path(DAY)).unwrap();
    let line = r#"{"usr":"a","msg":"0","tim":"2020-08-11T23:59:59.000000000Z"}"#;
    assert_eq!(first.lines().next(), Some(line));
}

#[test]
fn messages_sent_without_a_directory_are_not_recorded() {
    let mut room = TestRoom::new(1 << 20);
    room.publish(1, EVENING);
    room.recorder.set(&in_dir(&room.folder));
    room.publish(1, EVENING);
    room.recorder.set(&Record::default());
    room.publish(1, EVENING);
    let other = TempDir::new().unwrap();
    room.recorder.set(&in_dir(&other));
    room.publish(1, EVENING);
    room.recorder.finish(DEADLINE);
    assert_eq!(room.recorded(DAY), [1]);
    assert_eq!(numbers(&fs::read_to_string(other.path().join(DAY)).unwrap()), [3]);
}

#[test]
fn a_disk_that_stays_full_loses_what_left_the_tail() {
    let mut room = TestRoom::recording(65_536);
    symlink("/dev/full", room.path(DAY)).unwrap();
    for _ in 0..200 {
        room.publish(50, EVENING);
    }
    room.wait("a failure", |stats| stats.failing.is_some());
    fs::remove_file(room.path(DAY)).unwrap();
    let stats = room.wait("the rest", |s| s.recorded + s.dropped == 10_000 && s.failing.is_none());
    assert!(stats.dropped > 8_000, "{stats:?}");
    assert_eq!(room.recorded(DAY), (stats.dropped..10_000).collect::<Vec<_>>());
}

#[test]
fn a_moved_file_is_replaced_by_a_new_one() {
    let mut room = TestRoom::recording(1 << 20);
    room.publish(2, EVENING);
    room.wait("two", |stats| stats.recorded == 2);
    fs::rename(room.path(DAY), room.path("rotated")).unwrap();
    room.publish(2, EVENING);
    room.wait("four", |stats| stats.recorded == 4);
    fs::remove_file(room.path(DAY)).unwrap();
    room.publish(2, EVENING);
    room.recorder.finish(DEADLINE);
    assert_eq!((room.recorded("rotated"), room.recorded(DAY)), (vec![0, 1], vec![4, 5]));
}

#[test]
fn finish_counts_what_it_cannot_write() {
    let mut room = TestRoom::recording(1 << 20);
    symlink("/dev/full", room.path(DAY)).unwrap();
    room.publish(2, EVENING);
    room.recorder.finish(DEADLINE);
    assert_eq!(room.recorder.stats().dropped, 2);
}
