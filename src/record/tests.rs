//! Recorders of a room that the test publishes in.

use std::fs;
use std::io::{BufRead, BufReader};
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

struct Scene {
    room: Arc<Room>,
    folder: TempDir,
    recorder: Recorder,
    sent: u64,
}

impl Scene {
    /// A room that keeps `tail_bytes`, and a recorder that is off.
    fn new(tail_bytes: usize) -> Self {
        let room = Arc::new(Room::new(1, tail_bytes));
        let recorder = Recorder::start(Arc::clone(&room), None).unwrap();
        Self { room, folder: TempDir::new().unwrap(), recorder, sent: 0 }
    }

    fn on(tail_bytes: usize) -> Self {
        let scene = Self::new(tail_bytes);
        scene.recorder.set_dir(Some(scene.folder.path().to_owned()));
        scene
    }

    fn path(&self, day: &str) -> PathBuf {
        self.folder.path().join(day)
    }

    /// Publishes `messages` messages, each with its number, and sweeps them:
    /// what falls out of the tail is forgotten.
    fn publish(&mut self, messages: u64, now: u64) {
        let mut batch = Batch::default();
        for _ in 0..messages {
            let msg = self.sent;
            self.sent += 1;
            batch.push(|out| {
                let tim = "0".repeat(30);
                out.extend_from_slice(
                    format!(r#"{{"usr":"a","msg":"{msg}","tim":"{tim}"}}"#).as_bytes(),
                );
            });
        }
        self.room.publish(&mut batch, Tim::from_nanos(now));
        self.room.gate().progress(0, self.room.end(), u64::MAX);
        self.room.gate().needs(0, u64::MAX);
        self.room.fetch(0, &mut Pieces::default());
    }

    /// Waits until the figures are as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Stats) -> bool) -> Stats {
        let begun = Instant::now();
        loop {
            let stats = self.recorder.stats();
            if wanted(&stats) {
                return stats;
            }
            assert!(begun.elapsed() < DEADLINE, "{what}: {stats:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The numbers of the messages in a file, in their order.
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
    let mut scene = Scene::on(1 << 20);
    scene.publish(3, EVENING);
    scene.publish(2, EVENING + 2_000_000_000);
    // The clock steps back, the room's time does not.
    scene.publish(1, EVENING);
    scene.recorder.finish(DEADLINE);
    assert_eq!(scene.recorded(DAY), [0, 1, 2]);
    assert_eq!(scene.recorded("2020-08-12"), [3, 4, 5]);
    assert_eq!(scene.recorder.stats(), Stats { recorded: 6, dropped: 0, failing: None });
    let first = fs::read_to_string(scene.path(DAY)).unwrap();
    let line = r#"{"usr":"a","msg":"0","tim":"2020-08-11T23:59:59.000000000Z"}"#;
    assert_eq!(first.lines().next(), Some(line));
}

#[test]
fn what_was_sent_before_or_while_it_is_off_is_not_recorded() {
    let mut scene = Scene::new(1 << 20);
    scene.publish(1, EVENING);
    scene.recorder.set_dir(Some(scene.folder.path().to_owned()));
    scene.publish(1, EVENING);
    scene.recorder.set_dir(None);
    scene.publish(1, EVENING);
    let other = TempDir::new().unwrap();
    scene.recorder.set_dir(Some(other.path().to_owned()));
    scene.publish(1, EVENING);
    scene.recorder.finish(DEADLINE);
    assert_eq!(scene.recorded(DAY), [1]);
    assert_eq!(numbers(&fs::read_to_string(other.path().join(DAY)).unwrap()), [3]);
}

#[test]
fn a_directory_that_is_missing_costs_nothing_once_it_is_there() {
    let mut scene = Scene::new(1 << 20);
    let dir = scene.path("later");
    scene.recorder.set_dir(Some(dir.clone()));
    scene.publish(2, EVENING);
    let stats = scene.wait("a failure", |stats| stats.failing.is_some());
    assert!(stats.failing.unwrap().contains("No such file or directory"));
    fs::create_dir(&dir).unwrap();
    scene.publish(2, EVENING);
    scene.wait("all of them", |stats| stats.recorded == 4 && stats.failing.is_none());
    assert_eq!(scene.recorded(&format!("later/{DAY}")), [0, 1, 2, 3]);
}

#[test]
fn a_full_disk_costs_nothing_once_there_is_space() {
    let mut scene = Scene::on(1 << 20);
    symlink("/dev/full", scene.path(DAY)).unwrap();
    scene.publish(2, EVENING);
    let stats = scene.wait("a failure", |stats| stats.failing.is_some());
    assert!(stats.failing.unwrap().contains("No space left"));
    fs::remove_file(scene.path(DAY)).unwrap();
    scene.wait("both", |stats| stats.recorded == 2 && stats.failing.is_none());
    assert_eq!(scene.recorded(DAY), [0, 1]);
}

#[test]
fn a_disk_that_stays_full_costs_what_fell_out_of_the_tail() {
    let mut scene = Scene::on(65_536);
    symlink("/dev/full", scene.path(DAY)).unwrap();
    for _ in 0..200 {
        scene.publish(50, EVENING);
    }
    scene.wait("a failure", |stats| stats.failing.is_some());
    fs::remove_file(scene.path(DAY)).unwrap();
    let stats = scene.wait("the rest", |s| s.recorded + s.dropped == 10_000 && s.failing.is_none());
    assert!(stats.dropped > 8_000, "{stats:?}");
    assert_eq!(scene.recorded(DAY), (stats.dropped..10_000).collect::<Vec<_>>());
}

#[test]
fn a_device_that_does_not_answer_holds_up_nobody() {
    let mut scene = Scene::on(65_536);
    // A pipe that nobody reads takes 64 KiB, and then a write blocks.
    let fifo = scene.path(DAY);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for _ in 0..400 {
        scene.publish(50, EVENING);
    }
    let (figures, room) = (Arc::clone(&scene.recorder.figures), Arc::clone(&scene.room));
    let reader = thread::spawn(move || {
        let mut lines = BufReader::new(fs::File::open(fifo).unwrap()).lines();
        let mut seen = Vec::new();
        let left = || 20_000 - figures.dropped.load(Ordering::Relaxed);
        while (seen.len() as u64) < left() {
            seen.extend(numbers(&(lines.next().unwrap().unwrap() + "\n")));
        }
        assert_eq!(room.messages(), 20_000);
        seen
    });
    let stats = scene.wait("all", |stats| stats.recorded + stats.dropped == 20_000);
    assert!(stats.dropped > 10_000, "{stats:?}");
    let seen = reader.join().unwrap();
    assert_eq!(seen.len() as u64, stats.recorded);
    assert!(seen.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_file_that_is_moved_away_is_followed_by_another() {
    let mut scene = Scene::on(1 << 20);
    scene.publish(2, EVENING);
    scene.wait("two", |stats| stats.recorded == 2);
    fs::rename(scene.path(DAY), scene.path("rotated")).unwrap();
    scene.publish(2, EVENING);
    scene.wait("four", |stats| stats.recorded == 4);
    fs::remove_file(scene.path(DAY)).unwrap();
    scene.publish(2, EVENING);
    scene.recorder.finish(DEADLINE);
    assert_eq!((scene.recorded("rotated"), scene.recorded(DAY)), (vec![0, 1], vec![4, 5]));
}

#[test]
fn the_end_waits_for_no_device() {
    let mut scene = Scene::on(1 << 20);
    symlink("/dev/full", scene.path(DAY)).unwrap();
    scene.publish(2, EVENING);
    scene.recorder.finish(DEADLINE);
    assert_eq!(scene.recorder.stats().dropped, 2);
}
