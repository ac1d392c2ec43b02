//! What the log, the status line and the metrics say when the cluster goes and comes back.

use crate::nodes::{Cluster, Node, STREAM, create_stream};
use crate::servers::{Servers, wait_for};

/// The lines of the log since `before` about the cluster, and all warnings.
fn lines_since(node: &Node, before: usize) -> Vec<String> {
    let log = node.daemon.log();
    let is_about = |line: &&str| line.contains("cluster") || !line.contains(" INFO ");
    log.lines().skip(before).filter(is_about).map(str::to_owned).collect()
}

#[track_caller]
fn check_lines(lines: &[String], expected: &[&str]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {lines:#?}");
    }
}

/// One line when the servers are gone, and one when they are back.
#[test]
fn an_outage_has_two_lines() {
    let mut cluster = Cluster::start(1, 1);
    for _ in 0..3 {
        let node = &cluster.nodes[0];
        let before = node.daemon.log().lines().count();
        cluster.servers.kill(0);
        node.wait_until_away();
        wait_for("the reason changes", || {
            let reason = node.status()["cluster"]["reason"].as_str()?.to_owned();
            reason.contains("cannot reach").then_some(())
        });
        check_lines(&lines_since(node, before), &["the cluster is away"]);
        assert!(metrics(node).contains("wschat_cluster_connected 0\n"));
        cluster.servers.restart(0);
        let node = &cluster.nodes[0];
        node.wait_until_connected();
        cluster.say(0, "hi");
        check_lines(
            &lines_since(node, before),
            &["the cluster is away", "the cluster is connected"],
        );
        assert!(metrics(node).contains("wschat_cluster_connected 1\n"));
    }
}

/// A node that has started without servers says once what is wrong with the stream.
#[test]
fn what_is_wrong_has_a_line() {
    let mut servers = Servers::start(1);
    servers.kill(0);
    let node = Node::start(&servers, 0, "");
    node.daemon.wait_for_log("the cluster is away");
    let before = node.daemon.log().lines().count();
    servers.restart(0);
    node.daemon.wait_for_log("there is no stream");
    create_stream(&servers, "");
    node.wait_until_connected();
    let expected = ["there is no stream", "the cluster is connected"];
    check_lines(&lines_since(&node, before), &expected);

    // Found at a check while the node is connected.
    servers.update(STREAM, |config| config.max_bytes = 1_000_000);
    node.wait_until_away();
    servers.update(STREAM, |config| config.max_bytes = 256 * 1024 * 1024);
    node.wait_until_connected();
    let expected = [&expected[..], &["max_bytes", "the cluster is connected"]].concat();
    check_lines(&lines_since(&node, before), &expected);
}

fn metrics(node: &Node) -> String {
    let out = node.daemon.command(&["metrics"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}
