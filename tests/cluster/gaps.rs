//! Who comes back to a node that lacks messages, and comes from within its gap.

use std::net::TcpStream;

use serde_json::Value;
use wschat::chat::is_presence;

use crate::harness::{Client, Daemon};
use crate::nodes::{Cluster, STREAM, create_stream_with};
use crate::relay::Way;
use crate::senders::{By, Outcome, Sender};
use crate::servers::wait_for;

/// Sends a message, and returns its `tim`.
fn say(daemon: &Daemon, msg: &str) -> String {
    let mut sender = Sender::connect(daemon.addr, By::Post, "ann");
    let text = wait_for("the message is sent", || match sender.say(msg).outcome {
        Outcome::Sent(text) => Some(text),
        _ => None,
    });
    let message: Value = serde_json::from_str(&text).unwrap();
    message["tim"].as_str().unwrap().to_owned()
}

/// What a WebSocket gets that comes back with this `tim`, up to this message: the text of each
/// message, or the code of a notice.
fn since(daemon: &Daemon, tim: &str, last: &str) -> Vec<String> {
    let url = format!("ws://{}/?since={tim}", daemon.addr);
    texts(&mut Client::open(TcpStream::connect(daemon.addr).unwrap(), &url), last)
}

fn texts(listener: &mut Client, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(word(&listener.json()));
    }
    texts
}

fn word(message: &Value) -> String {
    message.get("err").unwrap_or(&message["msg"]).as_str().unwrap().to_owned()
}

/// What an event stream gets that comes back with this `tim`, up to this message; a notice has
/// no id.
fn events(daemon: &Daemon, tim: &str, last: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {tim}\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let (mut texts, mut has_id) = (Vec::<String>::new(), false);
    for line in std::io::BufRead::lines(std::io::BufReader::new(stream)) {
        let line = line.unwrap();
        has_id |= line.starts_with("id: ");
        if let Some(text) = line.strip_prefix("data: ")
            && !is_presence(text.as_bytes())
        {
            let message: Value = serde_json::from_str(text).unwrap();
            assert_eq!(message.get("err").is_none(), has_id, "{text}");
            texts.push(word(&message));
            has_id = false;
        }
        if texts.last().is_some_and(|text| text == last) {
            break;
        }
    }
    texts
}

#[test]
fn who_comes_from_within_the_gap_of_a_node_is_told() {
    let cluster = Cluster::start(1, 2);
    let [here, there] = [0, 1].map(|number| &cluster.nodes[number].daemon);
    let mut listener = here.connect();
    let one = say(here, "one");
    cluster.nodes[0].relay.cut();
    cluster.nodes[0].wait_until_away();
    let [two, three] = ["two", "three"].map(|msg| say(there, msg));
    cluster.servers.purge(STREAM);
    cluster.nodes[0].relay.restore();
    cluster.nodes[0].wait_until_connected();
    // It does not know yet that it lacks something.
    let mut early = Client::open(
        TcpStream::connect(here.addr).unwrap(),
        &format!("ws://{}/?since={two}", here.addr),
    );
    let four = say(there, "four");
    assert_eq!(texts(&mut listener, "four"), ["one", "gap", "four"]);
    assert_eq!(texts(&mut early, "four"), ["gap", "four"]);
    for tim in [&one, &two, &three] {
        assert_eq!(since(here, tim, "four"), ["gap", "four"], "{tim}");
        assert_eq!(events(here, tim, "four"), ["gap", "four"], "{tim}");
    }
    assert_eq!(since(there, &two, "four"), ["three", "four"]);
    say(there, "five");
    assert_eq!(since(here, &four, "five"), ["five"]);
    assert_eq!(events(here, &four, "five"), ["five"]);
}

/// The stream is restored from a backup: what it had after that is lost, and its numbers are used
/// again.
#[test]
fn a_stream_that_has_lost_its_newest_messages_goes_on() {
    for others in [0, 9] {
        let mut cluster = Cluster::start(1, 2);
        let addresses = cluster.addresses();
        let mut listeners = [0, 1].map(|number| cluster.nodes[number].daemon.connect());
        say(&cluster.nodes[0].daemon, "one");
        cluster.servers.kill(0);
        cluster.servers.back_up(0);
        cluster.servers.restart(0);
        cluster.nodes.iter().for_each(|node| node.wait_until_connected());
        for msg in ["two", "three", "four"] {
            say(&cluster.nodes[1].daemon, msg);
        }
        for listener in &mut listeners {
            assert_eq!(texts(listener, "four"), ["one", "two", "three", "four"]);
        }
        cluster.nodes[0].relay.hold(&[Way::There, Way::Back]);
        cluster.nodes[0].relay.cut();
        cluster.servers.kill(0);
        cluster.servers.restore(0);
        cluster.servers.restart(0);
        cluster.nodes[1].wait_until_connected();
        // The first node comes back when there are as many messages as before, or more.
        (0..others).for_each(|_| drop(say(&cluster.nodes[1].daemon, "new")));
        cluster.nodes[0].relay.restore();
        cluster.nodes[0].wait_until_connected();
        let five = say(&cluster.nodes[0].daemon, "five");
        say(&cluster.nodes[1].daemon, "six");
        let expected = [&["gap"][..], &vec!["new"; others], &["five", "six"]].concat();
        for listener in &mut listeners {
            assert_eq!(texts(listener, "six"), expected);
        }
        for node in &cluster.nodes {
            assert_eq!(since(&node.daemon, &five, "six"), ["six"]);
        }
        assert_eq!(cluster.addresses(), addresses, "nobody was closed");
    }
}

/// A stream in memory is gone when its server restarts.
#[test]
fn a_stream_in_memory_is_made_anew_after_a_restart_of_its_server() {
    let mut cluster = Cluster::start(1, 2);
    let recreate = |cluster: &Cluster| {
        create_stream_with(&cluster.servers, "", &["--memory"]);
        cluster.nodes.iter().for_each(|node| node.wait_until_connected());
    };
    [STREAM, "KV_room_moderation"].iter().for_each(|name| cluster.servers.delete(name));
    cluster.nodes.iter().for_each(|node| node.wait_until_away());
    recreate(&cluster);
    let mut listeners = [0, 1].map(|number| cluster.nodes[number].daemon.connect());
    say(&cluster.nodes[0].daemon, "one");
    cluster.servers.kill(0);
    cluster.servers.restart(0);
    cluster.nodes.iter().for_each(|node| node.wait_until_away());
    recreate(&cluster);
    for msg in ["two", "three"] {
        say(&cluster.nodes[1].daemon, msg);
    }
    for listener in &mut listeners {
        assert_eq!(texts(listener, "three"), ["one", "gap", "two", "three"]);
    }
}
