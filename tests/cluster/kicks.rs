//! Kicks reach all nodes, and tell how many connections they have met.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use rustix::process::Signal;
use serde_json::{Value, json};
use wschat::chat::TokenKey;

use crate::acts::{run, say};
use crate::harness::Client;
use crate::nodes::{Cluster, Node};
use crate::servers::wait_for;

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// Clients of each node with their names, who have said something.
fn clients(nodes: &[Node], usr: &str) -> Vec<Client> {
    let client = |node: &Node| {
        let mut client = node.daemon.connect();
        assert_eq!(say(&mut client, usr, "hi"), "sent");
        client
    };
    nodes.iter().map(client).collect()
}

#[track_caller]
fn check(node: &Node, words: &[&str], code: i32, says: &str) {
    assert_eq!(run(node, words), (Some(code), format!("{says}\n")), "{words:?}");
}

fn assert_kicked(clients: Vec<Client>) {
    for mut client in clients {
        let (_, code, reason) = client.closed();
        assert_eq!((code, reason.as_str()), (1008, "kicked"));
    }
}

#[test]
fn a_kick_by_name_or_address_reaches_all_nodes() {
    let cluster = Cluster::start(1, 3);
    let one = &cluster.nodes[0];
    wait_for("all know each other", || {
        (one.status()["cluster"]["nodes"].as_array()?.len() == 3).then_some(())
    });
    let bobs = clients(&cluster.nodes[1..], "bob");
    let mut others = clients(&cluster.nodes, "ann");
    check(one, &["kick", "bob"], 0, "kicked \"bob\", connections: 2");
    assert_kicked(bobs);
    check(one, &["kick", "bob"], 1, "\"bob\" is not connected");
    // The log says who did it where, and what it met on this node.
    one.daemon.wait_for_log("asked for kick, but \"bob\" is not connected here");
    cluster.nodes[1].daemon.wait_for_log(" on node-0 kicked \"bob\", connections: 1");
    assert_eq!(say(&mut others[0], "ann", "still here"), "sent");
    let kick = ["kick", "--address", "127.0.0.1"];
    check(one, &kick, 0, "kicked 127.0.0.1, connections: 3");
    assert_kicked(others);
}

#[test]
fn a_kick_by_sub_reaches_all_nodes() {
    let auth = format!("[auth]\njwt_secret = '{SECRET}'\n");
    let cluster = Cluster::with_limits(1, 2, &auth);
    let key = TokenKey::secret(None, Algorithm::HS256, SECRET.as_bytes()).unwrap();
    let jwt = key.sign(&json!({ "sub": "account-7" }));
    let clients: Vec<_> = cluster
        .nodes
        .iter()
        .zip(["bob", "eve"])
        .map(|(node, usr)| {
            let mut client = node.daemon.connect();
            client.send(&json!({ "usr": usr, "msg": "hi", "jwt": jwt }).to_string());
            wait_for("it is sent", || (client.json()["usr"] == usr).then_some(()));
            client
        })
        .collect();
    check(&cluster.nodes[0], &["kick", "account-7"], 0, "kicked \"account-7\", connections: 2");
    assert_kicked(clients);
}

/// Each node has its own ids, and kicks by them without the servers, too.
#[test]
fn a_kick_by_id_is_local() {
    let cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    let mut clients = clients(&cluster.nodes, "bob");
    let id = |node: &Node| {
        let out = node.daemon.command(&["clients", "--json"]).output().unwrap();
        let one: Value = serde_json::from_slice(&out.stdout).unwrap();
        one["id"].as_u64().unwrap().to_string()
    };
    let kick = |node: &Node, id: &str| run(node, &["kick", "--id", id]).0;
    assert_eq!(kick(one, &id(one)), Some(0));
    assert_kicked(vec![clients.remove(0)]);
    assert_eq!(kick(one, "4294967296"), Some(1));
    assert_eq!(say(&mut clients[0], "bob", "still here"), "sent");
    other.relay.cut();
    other.wait_until_away();
    assert_eq!(run(other, &["kick", "bob"]).0, Some(69));
    assert_eq!(kick(other, &id(other)), Some(0));
    assert_kicked(clients);
}

/// A node that stands still is waited for, for two seconds.
#[test]
fn a_node_that_does_not_answer_is_told() {
    let cluster = Cluster::start(1, 3);
    let [one, other, still] = &cluster.nodes[..] else { unreachable!() };
    wait_for("all know each other", || {
        (one.status()["cluster"]["nodes"].as_array()?.len() == 3).then_some(())
    });
    let clients = clients(std::slice::from_ref(other), "bob");
    still.daemon.signal(Signal::STOP);
    let start = Instant::now();
    let says = "kicked \"bob\", connections: 1, nodes that did not answer: 1";
    check(one, &["kick", "bob"], 0, says);
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
    still.daemon.signal(Signal::CONT);
    assert_kicked(clients);
}

/// Whoever was kicked on one node and comes back to another one, without a word.
#[test]
fn a_kick_finds_who_comes_back_to_another_node() {
    let cluster = Cluster::start(1, 2);
    let [one, other] = &cluster.nodes[..] else { unreachable!() };
    wait_for("all know each other", || {
        (one.status()["cluster"]["nodes"].as_array()?.len() == 2).then_some(())
    });
    let mut before = other.daemon.connect();
    let bob = clients(std::slice::from_ref(one), "bob");
    check(one, &["kick", "bob"], 0, "kicked \"bob\", connections: 1");
    assert_kicked(bob);
    // The other node learns of it a moment later.
    let mut silent = Vec::new();
    wait_for("it is found", || {
        silent.push(other.daemon.connect());
        (run(one, &["kick", "bob"]).0 == Some(0)).then_some(())
    });
    assert_kicked(silent.pop().into_iter().collect());
    assert_eq!(say(&mut before, "ann", "still here"), "sent");
}
