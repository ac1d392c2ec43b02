//! Crashes: the next process has the messages that a listener may have received.
//! `tests/system/` does it under load with the real systemd.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Daemon};
use crate::manager::Manager;

/// Ends the daemon at once, and starts the next.
fn crash(manager: &Manager, daemon: Daemon) -> Daemon {
    end(manager, daemon, Signal::KILL);
    manager.start()
}

fn end(manager: &Manager, mut daemon: Daemon, signal: Signal) {
    // From here on nothing of an earlier process is in the store.
    manager.tail_file(&daemon);
    daemon.signal(signal);
    assert_eq!(daemon.wait().code(), None);
}

/// A listener that has received everything up to the message with this `tim`.
fn connect_since(daemon: &Daemon, tim: &Value) -> Client {
    let url = format!("ws://{}/?since={}", daemon.addr, tim.as_str().unwrap());
    Client::open(TcpStream::connect(daemon.addr).unwrap(), &url)
}

/// Sends messages with these texts, and returns them as they are received.
fn say<const N: usize>(daemon: &Daemon, texts: [&str; N]) -> [Value; N] {
    let mut speaker = daemon.connect();
    texts.map(|text| {
        speaker.say("ann", text);
        speaker.json()
    })
}

fn is_gap(notice: &Value, after: &Value, before: Option<&Value>) -> bool {
    notice["err"] == "gap" && notice["after"] == *after && notice.get("before") == before
}

/// Changes one byte of the stored message that contains `text`.
fn damage(tail: &Path, text: &str) {
    let file = fs::File::options().read(true).write(true).open(tail).unwrap();
    let bytes = fs::read(tail).unwrap();
    let at = bytes.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    file.write_all_at(b"X", at as u64).unwrap();
}

#[test]
fn a_listener_that_returns_after_a_crash_misses_nothing() {
    for signal in [Signal::KILL, Signal::ABORT] {
        let manager = Manager::new();
        let daemon = manager.start();
        let [one, two, three] = say(&daemon, ["one", "two", "three"]);
        end(&manager, daemon, signal);
        let daemon = manager.start();
        daemon.wait_for_log("recovered messages of the previous process: 3");
        let mut listener = connect_since(&daemon, &one["tim"]);
        assert_eq!([listener.json(), listener.json()], [two, three.clone()]);
        let [four] = say(&daemon, ["four"]);
        assert_eq!(listener.json(), four);
        assert!(four["tim"].as_str() > three["tim"].as_str());
    }
}

#[test]
fn messages_outlive_many_crashes_and_restarts() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let mut all = Vec::new();
    for round in 0..4 {
        all.extend(say(&daemon, ["a", "b"]));
        daemon = crash(&manager, daemon);
        // No message between two crashes.
        daemon = crash(&manager, daemon);
        daemon.wait_for_log(&format!("recovered messages of the previous process: {}", all.len()));
        all.extend(say(&daemon, ["c"]));
        let mut listener = connect_since(&daemon, &all[0]["tim"]);
        daemon = manager.restart(daemon);
        all.extend(say(&daemon, ["d"]));
        for message in &all[1..] {
            assert_eq!(listener.json(), *message, "round {round}");
        }
    }
    daemon = crash(&manager, daemon);
    let mut listener = connect_since(&daemon, &all[0]["tim"]);
    all[1..].iter().for_each(|message| assert_eq!(listener.json(), *message));
}

#[test]
fn the_newest_record_is_dropped_if_it_is_damaged() {
    let manager = Manager::new();
    let daemon = manager.start();
    let [one, two, three] = say(&daemon, ["one", "two", "three"]);
    damage(&manager.tail_file(&daemon), "three");
    let daemon = crash(&manager, daemon);
    daemon.wait_for_log("recovered messages of the previous process: 2");
    daemon.wait_for_log("the newest messages of the previous process were damaged");
    let mut listener = connect_since(&daemon, &one["tim"]);
    assert!(is_gap(&listener.json(), &one["tim"], Some(&two["tim"])));
    assert_eq!(listener.json(), two);
    // Who has the lost message misses nothing, also after one more crash.
    let daemon = crash(&manager, daemon);
    let [four] = say(&daemon, ["four"]);
    assert_eq!(connect_since(&daemon, &three["tim"]).json(), four);
    assert!(is_gap(&connect_since(&daemon, &two["tim"]).json(), &two["tim"], Some(&four["tim"])));
}

#[test]
fn nothing_is_recovered_from_a_file_that_is_damaged_elsewhere() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    for (text, kept) in [("one", true), ("wschatT", false)] {
        let [one, ..] = say(&daemon, ["one", "two"]);
        damage(&manager.tail_file(&daemon), text);
        daemon = crash(&manager, daemon);
        daemon.wait_for_log("cannot recover the messages of the previous process: ");
        let mut listener = connect_since(&daemon, &one["tim"]);
        assert!(is_gap(&listener.json(), &one["tim"], None), "{kept}");
        let [three] = say(&daemon, ["three"]);
        assert_eq!(listener.json(), three);
        // The next crash does not know of it.
        daemon = crash(&manager, daemon);
        daemon.wait_for_log("recovered messages of the previous process: 1");
        daemon = crash(&manager, daemon);
    }
}

#[test]
fn a_crash_during_the_start_loses_nothing() {
    let manager = Manager::new();
    let daemon = manager.start();
    let [one, two] = say(&daemon, ["one", "two"]);
    // A start that fails before it has taken the room.
    end(&manager, daemon, Signal::KILL);
    let mut failing = manager.setup().arg("--config=/nonexistent/wschat.toml").spawn();
    assert!(!failing.wait().success());
    let old = manager.store()[0].1.try_clone().unwrap();
    let daemon = manager.start();
    // It has stored its own file and not yet removed the other.
    manager.tail_file(&daemon);
    manager.store().push(("wschat-tail-0".into(), old));
    let mut daemon = daemon;
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert_eq!(manager.store().len(), 2);
    let daemon = manager.start();
    daemon.wait_for_log("recovered messages of the previous process: 2");
    assert_eq!(connect_since(&daemon, &one["tim"]).json(), two);
    manager.tail_file(&daemon);
}

#[test]
fn a_room_continues_with_its_messages_if_the_handover_is_lost() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let [one, two] = say(&daemon, ["one", "two"]);
    let mut client = daemon.connect();
    client.presence();
    daemon.signal(Signal::USR2);
    assert_eq!(daemon.wait().code(), Some(0));
    let (name, _room) = manager.take_handover();
    let (_, empty) = std::os::unix::net::UnixStream::pair().unwrap();
    manager.store().push((name, empty.into()));
    let daemon = manager.start();
    daemon.wait_for_log("no snapshot was stored");
    daemon.wait_for_log("recovered messages of the previous process: 2");
    assert_eq!(connect_since(&daemon, &one["tim"]).json(), two);
    drop(_room);
    assert!(client.0.read().is_err());
}

#[test]
fn a_handover_that_fails_leaves_the_messages() {
    // The tail file takes the only place.
    let manager = Manager::with_places(1);
    let mut daemon = manager.start();
    let [one, two] = say(&daemon, ["one", "two"]);
    let mut client = daemon.connect();
    daemon.signal(Signal::USR2);
    assert_eq!(client.closed().1, 1012);
    assert_eq!(daemon.wait().code(), Some(0));
    let daemon = manager.start();
    assert_eq!(connect_since(&daemon, &one["tim"]).json(), two);
}

#[test]
fn the_tail_may_have_another_size_in_the_next_process() {
    const SMALL: &str = "limits.feed_tail_bytes = 65536\n";
    let mut manager = Manager::new();
    let large = manager.config.clone();
    let mut daemon = manager.start();
    let long = "x".repeat(10_000);
    let all: Vec<_> = (0..20).flat_map(|_| say(&daemon, [&long])).collect();
    let all_follow = |daemon: &Daemon, from: usize| {
        let mut listener = connect_since(daemon, &all[0]["tim"]);
        if from > 1 {
            assert!(is_gap(&listener.json(), &all[0]["tim"], Some(&all[from]["tim"])));
        }
        all[from..].iter().for_each(|message| assert_eq!(listener.json(), *message));
    };
    manager.config = format!("{SMALL}{large}");
    daemon = crash(&manager, daemon);
    all_follow(&daemon, 14);
    // What has been forgotten does not come back.
    manager.config = large;
    daemon = crash(&manager, daemon);
    let recovered = daemon.wait_for_log("recovered messages of the previous process: ");
    assert!(!recovered.ends_with(" 20"), "{recovered}");
}

#[test]
fn without_a_store_a_crash_is_a_gap() {
    let manager = Manager::with_places(0);
    let mut daemon = manager.start();
    let [one] = say(&daemon, ["one"]);
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = manager.start();
    let mut listener = connect_since(&daemon, &one["tim"]);
    assert!(is_gap(&listener.json(), &one["tim"], None));
    assert!(!daemon.log().contains("recover"), "{}", daemon.log());
}
