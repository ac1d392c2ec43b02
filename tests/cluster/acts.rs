//! Moderation and presence reach all nodes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Client;
use crate::nodes::{Cluster, Node};
use crate::senders::{By, Outcome, Sender};
use crate::servers::wait_for;

/// `sent`, or the code of the notice.
pub fn say(client: &mut Client, usr: &str, msg: &str) -> String {
    client.say(usr, msg);
    loop {
        let json = client.json();
        match json.get("err") {
            Some(code) => return code.as_str().unwrap().to_owned(),
            None if json["usr"] == usr && json["msg"] == msg => return "sent".into(),
            None => {}
        }
    }
}

/// The exit code of a command, and what it prints.
pub fn run(node: &Node, words: &[&str]) -> (Option<i32>, String) {
    let out = node.daemon.command(words).output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

/// Runs a command that does something.
#[track_caller]
pub fn done(node: &Node, words: &[&str], says: &str) {
    assert_eq!(run(node, words), (Some(0), format!("{says}\n")));
}

/// An action of one node holds on the others, on those that start later too, and after a
/// restart of all of them.
#[test]
fn what_a_moderator_does_holds_on_all_nodes() {
    let mut cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    let mut bob = other.daemon.connect();
    assert_eq!(say(&mut bob, "bob", "hi"), "sent");
    done(one, &["mute", "bob"], "muted \"bob\" until unmuted");
    wait_for("the mute holds there too", || {
        (say(&mut bob, "bob", "more") == "muted").then_some(())
    });
    assert!(run(other, &["mutes"]).1.starts_with("\"bob\" since "));
    done(other, &["lock"], "locked the room: only moderators can send messages");
    let mut ann = one.daemon.connect();
    wait_for("the lock holds there too", || (say(&mut ann, "ann", "hi") == "locked").then_some(()));

    // So much follows that a node that starts reads nothing of the actions.
    done(one, &["unlock"], "unlocked the room");
    wait_for("it is open", || (say(&mut ann, "ann", "hi") == "sent").then_some(()));
    cluster.servers.purge(crate::nodes::STREAM);
    assert_eq!(say(&mut ann, "ann", "later"), "sent");
    let third = Node::start(&cluster.servers, 2, "");
    third.wait_until_connected();
    let mut bob = third.daemon.connect();
    assert_eq!(say(&mut bob, "bob", "hi"), "muted");
    assert_eq!(say(&mut third.daemon.connect(), "ann", "hi"), "sent");
    cluster.nodes.push(third);

    for node in &mut cluster.nodes {
        node.restart();
        node.wait_until_connected();
        assert_eq!(say(&mut node.daemon.connect(), "bob", "hi"), "muted");
        node.crash();
        node.wait_until_connected();
        assert_eq!(say(&mut node.daemon.connect(), "bob", "hi"), "muted");
    }
    done(&cluster.nodes[2], &["unmute", "bob"], "unmuted \"bob\"");
    for node in &cluster.nodes {
        let mut bob = node.daemon.connect();
        wait_for("he may speak", || (say(&mut bob, "bob", "hi") == "sent").then_some(()));
    }
}

/// The other node has not heard of the mute when it publishes the message.
#[test]
fn a_message_behind_a_mute_is_sent_by_nobody() {
    let cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    let mut bob = other.daemon.connect();
    let mut listener = one.daemon.connect();
    assert_eq!(say(&mut bob, "bob", "before"), "sent");
    other.relay.delay(Duration::from_millis(300));
    done(one, &["mute", "bob"], "muted \"bob\" until unmuted");
    assert_eq!(say(&mut bob, "bob", "behind"), "muted");
    assert_eq!(say(&mut other.daemon.connect(), "ann", "last"), "sent");
    assert_eq!([listener.hear(), listener.hear()], ["before", "last"]);
}

/// A node that cannot reach the servers refuses what would hold on all nodes.
#[test]
fn no_action_without_servers() {
    let cluster = Cluster::start(1, 2);
    cluster.nodes[0].relay.cut();
    cluster.nodes[0].wait_until_away();
    for words in [&["mute", "bob"][..], &["lock"], &["kick", "bob"], &["say", "hi"]] {
        let (code, said) = run(&cluster.nodes[0], words);
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains("cluster"), "{said}");
    }
    cluster.nodes[0].relay.restore();
    cluster.nodes[0].wait_until_connected();
    let mut sender = Sender::connect(cluster.nodes[0].daemon.addr, By::WebSocket, "bob");
    wait_for("nothing is locked", || {
        matches!(sender.say("hi").outcome, Outcome::Sent(_)).then_some(())
    });
}

#[test]
fn the_status_shows_all_nodes_and_their_listeners() {
    let mut cluster = Cluster::start(1, 3);
    let _crowds = [cluster.crowd(0, 2), cluster.crowd(1, 3)];
    let listeners = |node: &Node| {
        let status = node.status();
        let nodes = status["cluster"]["nodes"].as_array().unwrap().iter();
        let mut nodes: Vec<_> =
            nodes.map(|node| (node["name"].clone(), node["listeners"].clone())).collect();
        nodes.sort_by_key(|(name, _)| name.to_string());
        (nodes, status["listeners_total"].clone())
    };
    let want = |counts: &[u64]| {
        let nodes = counts.iter().enumerate();
        let nodes: Vec<(Value, Value)> =
            nodes.map(|(number, count)| (json!(format!("node-{number}")), json!(count))).collect();
        (nodes, json!(counts.iter().sum::<u64>()))
    };
    for node in &cluster.nodes {
        wait_for("all are seen", || (listeners(node) == want(&[2, 3, 0])).then_some(()));
    }
    cluster.nodes.pop();
    for node in &cluster.nodes {
        wait_for("it is gone", || (listeners(node) == want(&[2, 3])).then_some(()));
    }
}

/// All nodes tell their clients the same, whichever node has found the messages.
#[test]
fn all_messages_of_a_name_are_retracted_on_all_nodes() {
    let cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    let (mut bob, mut ann) = (other.daemon.connect(), one.daemon.connect());
    for msg in ["one", "two"] {
        assert_eq!(say(&mut bob, "bob", msg), "sent");
    }
    wait_for("they are there too", || (ann.json()["msg"] == "two").then_some(()));
    done(one, &["retract", "--all-of", "bob"], "retracted all of \"bob\", messages: 2");
    let told = |client: &mut Client| {
        wait_for("a retraction", || Some(client.json()).filter(|it| it.get("retract").is_some()))
    };
    let told = [told(&mut bob), told(&mut ann)];
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0]["also"].as_array().map(Vec::len), Some(1));
    let none = "the room has no message of \"bob\" in memory that is not retracted\n";
    assert_eq!(run(other, &["retract", "--all-of", "bob"]), (Some(1), none.into()));
}
