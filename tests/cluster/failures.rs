//! What fails, and what clients see of it: nobody is closed, everybody gets the same, and what
//! senders are told is true.

use std::time::Duration;

use crate::deliveries::TimeStep;
use crate::nodes::{Cluster, STREAM, Traffic, create_stream, for_secs};
use crate::relay::{Relay, Way};
use crate::servers::wait_for;

const LISTENERS: usize = 30;
const SENDERS: usize = 9;

/// How long a node is cut off: longer than 5 seconds, after which its messages are dropped.
const CUT_SECS: u64 = 20;

/// Small limits, so that the stream soon discards messages.
const SMALL: &str = "feed_tail_bytes = 65536\nmessage_bytes_max = 8192\n";

#[test]
fn the_leader_is_killed() {
    let mut cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    let leader = cluster.servers.leader(STREAM);
    cluster.servers.kill(leader);
    cluster.servers.leader(STREAM);
    traffic.wait_for_sent(10 * SENDERS);
    cluster.servers.restart(leader);
    traffic.wait_for_sent(10 * SENDERS);
    traffic.check_same(&cluster);
}

#[test]
fn the_leader_stands_still() {
    let mut cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    let leader = cluster.servers.leader(STREAM);
    cluster.servers.pause(leader);
    for_secs(15);
    cluster.servers.resume(leader);
    cluster.servers.wait_until_ready();
    traffic.wait_for_sent(10 * SENDERS);
    traffic.check_same(&cluster);
}

#[test]
fn a_node_loses_its_connections() {
    a_node_is_cut_off(Relay::cut);
}

#[test]
fn a_node_is_cut_off_without_notice() {
    a_node_is_cut_off(|relay| relay.hold(&[Way::There, Way::Back]));
}

#[test]
fn a_node_is_cut_off_on_the_way_back() {
    a_node_is_cut_off(|relay| relay.hold(&[Way::Back]));
}

#[test]
fn a_node_is_cut_off_on_the_way_there() {
    a_node_is_cut_off(|relay| relay.hold(&[Way::There]));
}

fn a_node_is_cut_off(cut: impl Fn(&Relay)) {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    cut(&cluster.nodes[0].relay);
    cluster.nodes[0].wait_until_away();
    traffic.wait_for_refused(1);
    for_secs(CUT_SECS);
    // The others go on.
    traffic.wait_for_sent(SENDERS);
    cluster.nodes[0].relay.restore();
    cluster.nodes[0].wait_until_connected();
    traffic.wait_for_sent(10 * SENDERS);
    let [_, refused, _] = traffic.check_same(&cluster);
    assert!(refused > 0);
}

#[test]
fn the_clock_of_a_leader_steps_back() {
    let cluster = Cluster::start(1, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    let from_sequence = cluster.servers.last_sequence(STREAM) + 500;
    for node in &cluster.nodes {
        node.relay.step_time(TimeStep { from_sequence, by_ns: -5_000_000_000 });
    }
    assert!(cluster.servers.last_sequence(STREAM) < from_sequence, "it was set in time");
    wait_for("messages behind the step", || {
        (cluster.servers.last_sequence(STREAM) >= from_sequence + 500).then_some(())
    });
    traffic.check_same(&cluster);
}

/// The node that was away has a gap, at its place; the others have none.
#[test]
fn the_stream_discards_what_a_node_has_not_read() {
    let cluster = Cluster::with_limits(3, 3, SMALL);
    cluster.servers.update(STREAM, |config| config.max_bytes = 4 * 65_536);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    cluster.nodes[0].relay.hold(&[Way::There, Way::Back]);
    cluster.nodes[0].wait_until_away();
    let last = cluster.servers.last_sequence(STREAM);
    wait_for("the stream discards them", || {
        cluster.say(1, &"much ".repeat(1000));
        let info = cluster.servers.info(STREAM)?;
        (info.state.first_sequence > last + 10).then_some(())
    });
    cluster.nodes[0].relay.cut();
    cluster.nodes[0].relay.restore();
    cluster.nodes[0].wait_until_connected();
    traffic.wait_for_sent(10 * SENDERS);
    traffic.check_with_gaps(&cluster, &[1..2, 0..1, 0..1]);
}

#[test]
fn nobody_lacks_anything_after_a_purge_in_silence() {
    let cluster = Cluster::start(3, 3);
    let crowds = cluster.crowds(LISTENERS);
    for text in ["one", "two"] {
        cluster.say(0, text);
        crowds.iter().for_each(|crowd| drop(crowd.texts_up_to(text)));
        cluster.servers.purge(STREAM);
    }
    cluster.say(1, "the end");
    for crowd in &crowds {
        assert_eq!(crowd.texts_up_to("the end").len(), 3);
    }
}

#[test]
fn the_stream_is_purged_under_traffic() {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    for _ in 0..3 {
        cluster.servers.purge(STREAM);
        traffic.wait_for_sent(5 * SENDERS);
    }
    // What a node had not read is lost.
    traffic.check_with_gaps(&cluster, &[0..4, 0..4, 0..4]);
}

#[test]
fn the_stream_is_purged_while_a_node_is_away() {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    cluster.nodes[0].relay.cut();
    cluster.nodes[0].wait_until_away();
    traffic.wait_for_sent(5 * SENDERS);
    cluster.servers.purge(STREAM);
    cluster.nodes[0].relay.restore();
    cluster.nodes[0].wait_until_connected();
    traffic.wait_for_sent(10 * SENDERS);
    traffic.check_with_gaps(&cluster, &[1..2, 0..2, 0..2]);
}

/// It is a hole for everybody, and `tim` goes on above the last.
#[test]
fn the_stream_is_made_anew() {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    cluster.servers.delete(STREAM);
    cluster.nodes.iter().for_each(|node| node.wait_until_away());
    create_stream(&cluster.servers, "");
    cluster.nodes.iter().for_each(|node| node.wait_until_connected());
    traffic.wait_for_sent(10 * SENDERS);
    traffic.check_with_gaps(&cluster, &[1..2, 1..2, 1..2]);
}

/// A slow connection is no failure.
#[test]
fn a_node_with_a_slow_connection_gets_everything() {
    let cluster = Cluster::start(3, 3);
    let traffic = Traffic::start(&cluster, LISTENERS, SENDERS);
    cluster.nodes[0].relay.delay(Duration::from_millis(100));
    traffic.wait_for_sent(30 * SENDERS);
    traffic.check_same(&cluster);
}
