//! Moderation actions that are in the stream and not in the key-value bucket, or the reverse.

use crate::acts::{done, run, say};
use crate::engine::publish_unreadable;
use crate::nodes::{Cluster, Node, STREAM};
use crate::restarts::since;
use crate::servers::{Servers, wait_for};

const BUCKET: &str = "KV_room_moderation";

/// Small limits, so that a node that starts reads a small part of the stream.
const SMALL: &str = "feed_tail_bytes = 65536\nmessage_bytes_max = 8192\n";

/// What a node whose bucket refuses writes says.
const NOT_STORED: &str = "moderation is not shared with other nodes";

fn refuse_writes(servers: &Servers, refuse: bool) {
    servers.update(BUCKET, |config| config.max_message_size = if refuse { 1 } else { -1 });
}

/// What bob is told at this node.
fn bob(node: &Node) -> String {
    node.wait_until_connected();
    say(&mut node.daemon.connect(), "bob", "hi")
}

/// The node is killed before the bucket has the mute.
#[test]
fn an_action_that_only_the_stream_has_outlives_a_crash() {
    let mut cluster = Cluster::with_limits(1, 1, SMALL);
    let done = |cluster: &Cluster, words: &[&str], says| done(&cluster.nodes[0], words, says);
    done(&cluster, &["mute", "eve"], "muted \"eve\" until unmuted");
    wait_for("it is stored", || (cluster.servers.last_sequence(BUCKET) > 0).then_some(()));
    refuse_writes(&cluster.servers, true);
    assert_eq!(bob(&cluster.nodes[0]), "sent");
    done(&cluster, &["mute", "bob"], "muted \"bob\" until unmuted");
    done(&cluster, &["unmute", "eve"], "unmuted \"eve\"");
    cluster.nodes[0].daemon.wait_for_log(NOT_STORED);
    for _ in 0..2 {
        cluster.nodes[0].crash();
        assert_eq!(bob(&cluster.nodes[0]), "muted");
        let mut eve = cluster.nodes[0].daemon.connect();
        assert_eq!(say(&mut eve, "eve", "hi"), "sent");
        // So much that a node which starts begins behind the mute.
        for _ in 0..100 {
            cluster.say(0, &"much ".repeat(1500));
        }
    }
    let other = Node::start(&cluster.servers, 1, SMALL);
    assert_eq!(bob(&other), "muted");

    // From now on the mute is in the bucket alone.
    let before = cluster.servers.last_sequence(BUCKET);
    refuse_writes(&cluster.servers, false);
    wait_for("it is stored", || (cluster.servers.last_sequence(BUCKET) > before).then_some(()));
    cluster.servers.purge(STREAM);
    let third = Node::start(&cluster.servers, 2, SMALL);
    assert_eq!(bob(&third), "muted");
}

/// Somebody has published what the client of NATS fails at.
#[test]
fn an_action_is_found_between_records_that_cannot_be_read() {
    let mut cluster = Cluster::start(1, 1);
    refuse_writes(&cluster.servers, true);
    publish_unreadable(&cluster.servers);
    // The node connects again until it has read them.
    let mute = || run(&cluster.nodes[0], &["mute", "bob"]).0;
    wait_for("he is muted", || (mute() == Some(0)).then_some(()));
    publish_unreadable(&cluster.servers);
    cluster.say(0, "the end");
    cluster.nodes[0].crash();
    assert_eq!(bob(&cluster.nodes[0]), "muted");
}

/// What was done while a node was away holds on it, and a mute from its first message on.
#[test]
fn actions_in_a_hole_hold() {
    let cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    for (words, says, result) in [
        (["mute", "bob"], "muted \"bob\" until unmuted", "muted"),
        (["unmute", "bob"], "unmuted \"bob\"", "sent"),
    ] {
        let before = cluster.servers.last_sequence(BUCKET);
        one.relay.cut();
        one.wait_until_away();
        done(other, &words, says);
        wait_for("it is stored", || (cluster.servers.last_sequence(BUCKET) > before).then_some(()));
        cluster.servers.purge(STREAM);
        cluster.say(1, "more");
        one.relay.restore();
        if result == "muted" {
            assert_eq!(bob(one), result);
        }
        // Until the node has read on, it knows that he is muted.
        wait_for("it holds here", || (bob(one) == result).then_some(()));
    }
}

/// The stream is purged before anybody could store the mute, of which one node knows. The other
/// node learns it, although it carries out other actions meanwhile.
#[test]
fn a_mute_that_one_node_alone_knows_reaches_the_others() {
    let mut cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    refuse_writes(&cluster.servers, true);
    one.relay.cut();
    one.wait_until_away();
    done(other, &["mute", "bob"], "muted \"bob\" until unmuted");
    other.daemon.wait_for_log(NOT_STORED);
    cluster.servers.purge(STREAM);
    cluster.say(1, "more");
    one.relay.restore();
    wait_for("nobody here knows that he is muted", || (bob(one) == "sent").then_some(()));
    done(one, &["slow", "1"], "set slow mode to 1 s");
    done(one, &["mute", "eve"], "muted \"eve\" until unmuted");
    refuse_writes(&cluster.servers, false);
    wait_for("the mute is known", || run(one, &["mutes"]).1.contains("\"bob\"").then_some(()));
    for node in [one, other] {
        let mutes = run(node, &["mutes"]).1;
        let all = ["\"bob\"", "\"eve\"", "slow mode"];
        assert!(all.iter().all(|part| mutes.contains(part)), "{mutes}");
    }
    cluster.servers.purge(STREAM);
    cluster.nodes.push(Node::start(&cluster.servers, 2, ""));
    assert_eq!(bob(&cluster.nodes[2]), "muted");
}

/// A node that starts later judges each message by what was in force at its place.
#[test]
fn messages_before_a_mute_are_on_a_node_that_starts_later() {
    let cluster = Cluster::start(1, 1);
    let one = &cluster.nodes[0];
    let mut client = one.daemon.connect();
    client.say("ann", "first");
    let first = client.json()["tim"].as_str().unwrap().to_owned();
    for round in 0..3 {
        assert_eq!(say(&mut client, "bob", &format!("before {round}")), "sent");
        done(one, &["mute", "bob"], "muted \"bob\" until unmuted");
        assert_eq!(say(&mut client, "bob", "never"), "muted");
        assert_eq!(say(&mut client, "ann", &format!("behind {round}")), "sent");
        done(one, &["unmute", "bob"], "unmuted \"bob\"");
    }
    let other = Node::start(&cluster.servers, 1, "");
    other.wait_until_connected();
    let [all, theirs] = [one, &other].map(|node| {
        let mut client = since(&node.daemon, &first);
        [(); 6].map(|()| client.text())
    });
    assert_eq!(all, theirs);
    assert!(all[0].contains("before 0") && all[5].contains("behind 2"), "{all:?}");
}

/// What a node has to read again after a crash is bounded.
#[test]
fn the_bucket_is_told_when_much_was_said() {
    let cluster = Cluster::start(1, 1);
    assert_eq!(cluster.servers.last_sequence(BUCKET), 0);
    for _ in 0..11 {
        cluster.servers.ask(async |engine| {
            let mut stored = Vec::new();
            for _ in 0..1000 {
                stored.push(engine.publish(STREAM, "rubbish".into()).await?);
            }
            for stored in stored {
                stored.await?;
            }
            Ok(())
        });
    }
    wait_for("it is stored", || (cluster.servers.last_sequence(BUCKET) == 1).then_some(()));
}
