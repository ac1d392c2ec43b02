//! What a sender is told when the servers cannot be reached.

use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::crowd::Crowd;
use crate::harness::Client;
use crate::nodes::{Cluster, Node};
use crate::outcomes::{check_same, check_told};
use crate::relay::Way;
use crate::senders::{By, Outcome, Sender};
use crate::servers::Servers;

/// A node starts without servers: it accepts listeners, and refuses messages at once.
#[test]
fn a_node_without_servers_refuses_messages_at_once() {
    let mut servers = Servers::start(1);
    servers.kill(0);
    let node = Node::start(&servers, 0, "");
    let crowd = Crowd::start(node.daemon.addr, 3);
    for by in [By::WebSocket, By::Post] {
        let mut sender = Sender::connect(node.daemon.addr, by, "ann");
        for _ in 0..3 {
            let told = sender.say("hi");
            assert_eq!(told.outcome, Outcome::Unavailable);
            assert!(told.after < Duration::from_secs(5), "{told:?}");
        }
    }
    assert_eq!(crowd.texts(), [""; 0]);
    servers.restart(0);
    crate::nodes::create_stream(&servers, "");
    node.wait_until_connected();
    let told = Sender::connect(node.daemon.addr, By::Post, "ann").say("the end");
    let texts = crowd.texts_up_to("the end");
    assert_eq!(check_told(&texts, &[told]), [1, 0, 0]);
}

/// However many messages a client sends, it learns what became of each, also if it reads only
/// then.
#[test]
fn each_message_that_cannot_be_sent_is_answered() {
    let mut servers = Servers::start(1);
    servers.kill(0);
    let node = Node::start(&servers, 0, "send_buffer_bytes = 4096\n");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&node.daemon.addr.into()).unwrap();
    let mut client = Client::open(socket.into(), "ws://room/");
    for number in 0..2000 {
        client.say("ann", &number.to_string());
    }
    for number in 0..2000 {
        assert_eq!(client.json()["err"], "unavailable", "{number}");
    }
}

/// Messages that are on their way when a node is cut off: it cannot know in 30 seconds whether
/// they were sent, and says so. Then they are with everybody or with nobody.
#[test]
fn after_30_seconds_the_outcome_is_not_known() {
    for way in [Way::Back, Way::There] {
        let cluster = Cluster::start(1, 2);
        let crowds = cluster.crowds(5);
        cluster.say(1, "first");
        crowds.iter().for_each(|crowd| drop(crowd.texts_up_to("first")));
        cluster.nodes[0].relay.hold(&[way]);
        let node = cluster.nodes[0].daemon.addr;
        let threads = [By::WebSocket, By::Post].map(|by| {
            let mut sender = Sender::connect(node, by, &format!("{by:?}"));
            std::thread::spawn(move || sender.say("is it sent?"))
        });
        let told = threads.map(|thread| thread.join().unwrap());
        cluster.nodes[0].relay.restore();
        cluster.nodes[0].wait_until_connected();
        cluster.say(0, "the end");
        let texts: Vec<_> = crowds.iter().map(|crowd| crowd.texts_up_to("the end")).collect();
        check_same(&texts);
        assert_eq!(check_told(&texts[0], &told), [0, 0, 2], "{told:?}");
        for one in &told {
            assert!((29..35).contains(&one.after.as_secs()), "{one:?}");
        }
        // What was published has arrived; what was not is dropped, because it is too old.
        let is_sent = texts[0].iter().filter(|text| text.contains("is it sent?")).count();
        assert_eq!(is_sent, if way == Way::Back { 2 } else { 0 }, "{texts:?}");
    }
}
