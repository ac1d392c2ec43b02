//! Two rooms on the same servers share nothing, not even if their nodes have the same name.

use serde_json::{Value, json};

use crate::harness::{Client, Daemon, Setup};
use crate::servers::{Servers, wait_for};

/// The key of the stream, and the name of the key-value bucket.
const ROOMS: [(&str, &str); 2] =
    [("", "wschat_moderation"), ("stream = 'lobby'", "lobby_moderation")];

fn config(servers: &Servers, stream: &str) -> String {
    let url = format!("nats://{}", servers.addresses()[0]);
    format!("limits.messages_per_sec = 0\n[cluster]\nservers = ['{url}']\nnode = 'a'\n{stream}\n")
}

/// The exit code of a command, and what it prints.
fn run(daemon: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    let out = daemon.command(words).output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

fn status(daemon: &Daemon) -> Value {
    serde_json::from_str(&run(daemon, &["status", "--json"]).1).unwrap()
}

/// What everybody gets of a message: its text, or the code of the notice to its sender.
fn say(client: &mut Client, usr: &str, msg: &str) -> String {
    client.say(usr, msg);
    let answer = client.json();
    answer.get("err").unwrap_or(&answer["msg"]).as_str().unwrap().to_owned()
}

#[test]
fn two_rooms_share_nothing() {
    let servers = Servers::start(1);
    // `wschat cluster init` needs no daemon.
    let rooms = ROOMS.map(|(stream, bucket)| {
        let config = config(&servers, stream);
        let mut init = Setup::new("").start();
        init.configure(&config);
        let file = init.config_file().display().to_string();
        let words = ["cluster", "init", "--replicas", "1", "--config", &file];
        let (code, said) = run(&init, &words);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("key-value bucket {bucket}: created")), "{said}");
        init.signal(rustix::process::Signal::TERM);
        init.wait();
        config
    });
    let [one, other] = rooms.clone().map(|config| {
        let daemon = Daemon::start(&config);
        let connected = || (status(&daemon)["cluster"]["connected"] == true).then_some(());
        wait_for("the node is connected", connected);
        daemon
    });

    // Messages: the next one that each listener gets is its own.
    let [mut ann, mut bob] = [&one, &other].map(Daemon::connect);
    let [mut listener, mut elsewhere] = [&one, &other].map(Daemon::connect);
    assert_eq!(say(&mut ann, "ann", "here"), "here");
    assert_eq!(say(&mut bob, "bob", "there"), "there");
    assert_eq!([listener.hear(), elsewhere.hear()], ["here", "there"]);

    // Moderation, now and for a node that starts.
    for words in [&["mute", "bob"][..], &["slow", "1h"], &["lock"]] {
        assert_eq!(run(&one, words).0, Some(0));
    }
    assert_eq!(say(&mut ann, "ann", "here"), "locked");
    assert_eq!(say(&mut bob, "bob", "still there"), "still there");
    assert_eq!(elsewhere.hear(), "still there");
    assert_eq!(run(&one, &["kick", "bob"]).0, Some(1), "he is in the other room");
    assert_eq!(run(&one, &["kick", "ann"]).0, Some(0));
    assert_eq!(ann.closed().1, 1008);
    assert_eq!(say(&mut bob, "ann", "the same name"), "the same name");
    assert_eq!(elsewhere.hear(), "the same name");

    // Presence: a node of the same name is no twin.
    for daemon in [&one, &other] {
        let told = || Some(status(daemon)).filter(|it| it["listeners"] == it["listeners_total"]);
        let status = wait_for("the node has told that it is there", told);
        let nodes = status["cluster"]["nodes"].as_array().unwrap();
        assert_eq!((nodes.len(), &nodes[0]["name"]), (1, &json!("a")), "{status}");
        assert_eq!(status["cluster"]["bad_records"], 0, "{status}");
        assert!(!daemon.log().contains("more than one"), "{}", daemon.log());
    }

    // The buckets, read by nodes that start without a file.
    drop((one, other));
    let [one, other] = rooms.map(|config| Daemon::start(&config));
    wait_for("the mute is there", || run(&one, &["mutes"]).1.contains("\"bob\"").then_some(()));
    let connected = || (status(&other)["cluster"]["connected"] == true).then_some(());
    wait_for("the node is connected", connected);
    assert!(!run(&other, &["mutes"]).1.contains("bob"));
    assert_eq!(say(&mut other.connect(), "bob", "there again"), "there again");
    assert_eq!(say(&mut one.connect(), "ann", "still locked"), "locked");
}
