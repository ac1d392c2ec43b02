//! All listeners of all nodes receive the same, wherever they are and were.

use std::time::Duration;

use crate::followers::Follower;
use crate::nodes::{Cluster, Traffic, for_secs};
use crate::outcomes::{check_told, check_with_gaps};
use crate::senders::{By, Senders};
use crate::servers::wait_for;

/// Whether the tests run in full length.
fn is_full() -> bool {
    std::env::var_os("WSCHAT_CLUSTER").is_some_and(|value| value == "full")
}

#[test]
fn listeners_of_all_nodes_receive_the_same_bytes() {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, 300, 20);
    for_secs(if is_full() { 60 } else { 8 });
    let [sent, refused, unknown] = traffic.check_same(&cluster);
    assert!(sent > 100, "{sent}");
    assert_eq!([refused, unknown], [0, 0]);
}

#[test]
fn one_server_and_two_nodes() {
    let cluster = Cluster::start(1, 2);
    let traffic = Traffic::start(&cluster, 10, 4);
    traffic.wait_for_sent(100);
    assert_eq!(traffic.check_same(&cluster)[1..], [0, 0]);
}

/// A thousand moves, half of them with `?since=` and half with `Last-Event-ID`.
#[test]
fn a_listener_moves_between_nodes_and_misses_and_repeats_nothing() {
    const FOLLOWERS: usize = 10;
    const MOVES: usize = 100;
    let cluster = Cluster::start(3, 3);
    let crowds = cluster.crowds(2);
    let nodes = cluster.addresses();
    let followers: Vec<_> =
        (0..FOLLOWERS).map(|n| Follower::start(&nodes, n, MOVES, "the end")).collect();
    let senders = cluster.senders(9);
    // Each stays for less than three messages on average.
    wait_for("all have moved", || (senders.sent() >= 4 * MOVES).then_some(()));
    let told = senders.end();
    wait_for("all have moved", || {
        let moved = followers.iter().all(|follower| follower.moves() >= MOVES);
        if !moved {
            cluster.say(0, "more");
        }
        moved.then_some(())
    });
    cluster.say(0, "the end");
    let texts: Vec<_> = crowds.iter().map(|crowd| crowd.texts_up_to("the end")).collect();
    let (all, gaps) = check_with_gaps(&texts);
    assert_eq!(gaps, [0, 0, 0]);
    check_told(&all, &told);
    for follower in followers {
        assert!(follower.check(&all) > MOVES);
    }
}

/// Its connections stay, those of its senders too, and no message is refused: those that come
/// before it has connected to the servers wait.
#[test]
fn a_node_restarts_under_traffic() {
    let mut cluster = Cluster::start(3, 3);
    let crowds = cluster.crowds(30);
    // A connection for a message by POST is closed at a stop.
    let nodes = cluster.addresses();
    let places = [
        (nodes[0], By::WebSocket),
        (nodes[1], By::WebSocket),
        (nodes[1], By::Post),
        (nodes[2], By::WebSocket),
        (nodes[2], By::Post),
    ];
    let senders = Senders::at(&places, Duration::from_millis(20));
    for round in 1..=3 {
        wait_for("messages are sent", || (senders.sent() >= round * 100).then_some(()));
        cluster.nodes[0].restart();
    }
    let traffic = Traffic { crowds, senders };
    traffic.wait_for_sent(100);
    assert_eq!(traffic.check_same(&cluster)[1..], [0, 0]);
}

/// Its listeners come back with `since`.
#[test]
fn a_node_is_killed_under_traffic() {
    let mut cluster = Cluster::start(3, 3);
    let nodes = cluster.addresses();
    let crowds = [1, 2].map(|node| cluster.crowd(node, 10));
    let followers: Vec<_> =
        (0..10).map(|n| Follower::start(&nodes[..1], n, 0, "the end")).collect();
    let places: Vec<_> =
        nodes[1..].iter().flat_map(|node| [(*node, By::WebSocket), (*node, By::Post)]).collect();
    let senders = Senders::at(&places, Duration::from_millis(20));
    for round in 1..=3 {
        wait_for("messages are sent", || (senders.sent() >= round * 100).then_some(()));
        cluster.nodes[0].crash();
    }
    let told = senders.end();
    cluster.nodes[0].wait_until_connected();
    cluster.say(0, "the end");
    let texts = crowds.map(|crowd| crowd.texts_up_to("the end"));
    let (all, gaps) = check_with_gaps(&texts);
    assert_eq!(gaps, [0, 0]);
    check_told(&all, &told);
    for follower in followers {
        follower.check(&all);
    }
}
