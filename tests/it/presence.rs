//! What listeners are told of the room: on joining, and when it changes.

use std::fs;

use serde_json::{Value, json};
use wschat::chat::is_presence;

use crate::events::EventStream;
use crate::harness::{Client, Daemon, NO_PRESENCE, Setup, until};
use crate::manager::Manager;

/// The state of a room in which nothing is configured.
fn room(listeners: usize) -> Value {
    json!({ "listeners": listeners, "locked": false, "slow": 0, "token": false })
}

/// Reads until the client is told `want`.
fn is_told(client: &mut Client, want: &Value) {
    while client.presence() != *want {}
}

/// Runs a command of the operator.
fn act(daemon: &Daemon, words: &[&str]) {
    let output = daemon.command(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn each_listener_is_told_at_once_and_the_others_later() {
    let daemon = Daemon::start("");
    let mut first = daemon.connect();
    assert_eq!(
        first.any_text(),
        r#"{"usr":"wschat","msg":"1 listener","room":{"listeners":1,"locked":false,"slow":0,"token":false}}"#
    );
    let mut second = daemon.connect();
    assert_eq!(second.presence(), room(2));
    let mut events = EventStream::open(&daemon, "/events");
    assert_eq!(events.presence()["room"], room(3));
    is_told(&mut first, &room(3));
    while events.presence()["room"] != room(3) {}
    drop(events);
    is_told(&mut second, &room(2));
    // Messages are in between.
    first.say("ann", "hi");
    assert_eq!((first.hear(), second.hear()), ("hi".into(), "hi".into()));
}

/// The number comes back to the one that the first was told before it is told again.
#[test]
fn a_number_that_one_was_told_alone_does_not_stay() {
    let daemon = Daemon::start("");
    let mut ann = daemon.connect();
    ann.presence();
    let other = daemon.connect();
    let mut bob = daemon.connect();
    assert_eq!(bob.presence(), room(3));
    drop(other);
    is_told(&mut bob, &room(2));
    is_told(&mut ann, &room(2));
    let mut guest = daemon.connect();
    assert_eq!(guest.presence(), room(3));
    drop(bob);
    is_told(&mut guest, &room(2));
}

/// It waits for messages after a time that the room has not reached.
#[test]
fn a_listener_that_is_early_is_told_before_any_message() {
    let daemon = Daemon::start("");
    let since = chrono::Utc::now() + chrono::TimeDelta::milliseconds(900);
    let since = since.format("%FT%T.%fZ").to_string();
    let stream = std::net::TcpStream::connect(daemon.addr).unwrap();
    let url = format!("ws://{}/?since={since}", daemon.addr);
    let mut client = Client::open(stream, &url);
    let mut events = EventStream::open(&daemon, &format!("/events?since={since}"));
    assert_eq!(client.presence(), room(1));
    daemon.reload("room.title = 'Kino'\n");
    while client.presence()["title"] != "Kino" {}
    while events.presence()["room"]["title"] != "Kino" {}
    daemon.reload("room.title = 'Club'\n");
    while client.presence()["title"] != "Club" {}
}

#[test]
fn a_change_is_told() {
    let daemon = Setup::new("").env("JWT_SECRET", "a secret of more than thirty-two bytes").start();
    let mut client = daemon.connect();
    let with = |changes: &[(&str, Value)]| {
        let mut room = room(1);
        room["token"] = json!(true);
        for (name, value) in changes {
            room[name] = value.clone();
        }
        room
    };
    assert_eq!(client.presence(), with(&[]));
    act(&daemon, &["lock"]);
    is_told(&mut client, &with(&[("locked", json!(true))]));
    act(&daemon, &["slow", "7"]);
    is_told(&mut client, &with(&[("locked", json!(true)), ("slow", json!(7))]));
    act(&daemon, &["unlock"]);
    is_told(&mut client, &with(&[("slow", json!(7))]));
    daemon.reload("[room]\ntitle = 'a \"b\"'\nnotice = 'https://c.example'\n");
    let texts = [("title", json!("a \"b\"")), ("notice", json!("https://c.example"))];
    let [title, notice] = texts;
    is_told(&mut client, &with(&[("slow", json!(7)), title.clone(), notice.clone()]));
    // Who joins knows it, too.
    let mut second = daemon.connect();
    let two = ("listeners", json!(2));
    assert_eq!(second.presence(), with(&[("slow", json!(7)), title, notice, two]));
}

#[test]
fn a_room_can_tell_nothing() {
    let daemon = Daemon::start(NO_PRESENCE);
    let mut client = daemon.connect();
    let mut events = EventStream::open(&daemon, "/events");
    act(&daemon, &["lock"]);
    act(&daemon, &["unlock"]);
    client.say("ann", "hi");
    assert!(client.any_text().starts_with(r#"{"usr":"ann""#));
    assert!(events.any_event().1.starts_with(r#"{"usr":"ann""#));
    daemon.reload("");
    is_told(&mut client, &room(2));
    daemon.reload(NO_PRESENCE);
    let mut late = daemon.connect();
    client.say("ann", "again");
    assert!(late.any_text().starts_with(r#"{"usr":"ann""#));
    assert_eq!(client.hear(), "again");
}

#[test]
fn presence_comes_before_a_gap_and_before_what_was_missed() {
    let daemon = Daemon::start("");
    let mut speaker = daemon.connect();
    speaker.say("ann", "missed");
    speaker.text();
    let stream = std::net::TcpStream::connect(daemon.addr).unwrap();
    let url = format!("ws://{}/?since=2020-08-11T22:26:58Z", daemon.addr);
    let mut client = Client::open(stream, &url);
    assert_eq!(client.presence(), room(2));
    assert_eq!(client.json()["err"], "gap");
    assert_eq!(client.hear(), "missed");
}

#[test]
fn presence_is_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&format!("record.dir = '{}'\n", folder.path().display()));
    let mut client = daemon.connect();
    client.presence();
    act(&daemon, &["slow", "1"]);
    while client.presence()["slow"] != 1 {}
    client.say("ann", "hi");
    let text = client.text();
    act(&daemon, &["slow", "2"]);
    while client.presence()["slow"] != 2 {}
    let recorded = until("it is recorded", || {
        let file = fs::read_dir(folder.path()).unwrap().next()?.unwrap().path();
        fs::read_to_string(file).ok().filter(|lines| !lines.is_empty())
    });
    assert_eq!(recorded, format!("{text}\n"));
    let status = daemon.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["messages"], &status["record"]["recorded"]), (&json!(1), &json!(1)));
}

#[test]
fn listeners_are_told_after_a_restart_and_a_crash() {
    let manager = Manager::new();
    let daemon = manager.start();
    let mut client = daemon.connect();
    assert_eq!(client.presence(), room(1));
    act(&daemon, &["lock"]);
    let mut locked = room(1);
    locked["locked"] = json!(true);
    is_told(&mut client, &locked);
    let daemon = manager.restart(daemon);
    act(&daemon, &["unlock"]);
    // Nothing was told in between.
    is_told(&mut client, &room(1));
    client.say("ann", "hi");
    let tim = client.json()["tim"].as_str().unwrap().to_owned();
    act(&daemon, &["slow", "5"]);
    while client.presence()["slow"] != 5 {}
    let mut daemon = daemon;
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    let daemon = manager.start();
    let stream = std::net::TcpStream::connect(daemon.addr).unwrap();
    let mut client = Client::open(stream, &format!("ws://{}/?since={tim}", daemon.addr));
    assert!(is_presence(client.any_text().as_bytes()));
    client.say("ann", "again");
    assert_eq!(client.hear(), "again", "nothing is missing, and nothing comes twice");
}
