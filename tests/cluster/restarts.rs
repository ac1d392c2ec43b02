//! A node that restarts or crashes, also while the servers are away, and a room that joins a
//! cluster or leaves it.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::deliveries::TimeStep;
use crate::harness::{Client, Daemon, until};
use crate::manager::Manager;
use crate::nodes::create_stream;
use crate::relay::{Relay, Way};
use crate::senders::{By, Outcome, Sender};
use crate::servers::Servers;

const SINGLE: &str = "[limits]\nmessages_per_sec = 0\nping_interval_secs = 3600\n\
    idle_timeout_secs = 7200\n[server]\nthreads = 2\n";

fn config(node: &str, servers: &[SocketAddr]) -> String {
    let urls: Vec<_> = servers.iter().map(|server| format!("nats://{server}")).collect();
    format!("{SINGLE}[cluster]\nstream = 'room'\nservers = {urls:?}\nnode = '{node}'\n")
}

/// Creates the stream of the room.
fn init(daemon: &Daemon, config: &str) {
    let file = daemon.control().with_file_name("cluster.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = daemon.command(&["cluster", "init", "--replicas", "1"]);
    let out = command.arg("--config").arg(file).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

fn is_connected(daemon: &Daemon) -> bool {
    let out = daemon.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    status["cluster"]["connected"] == true
}

fn wait_until_connected(daemon: &Daemon) {
    until("the node is connected", || is_connected(daemon).then_some(()));
}

/// Sends a message, and returns its `tim`.
fn say(daemon: &Daemon, msg: &str) -> String {
    let told = Sender::connect(daemon.addr, By::Post, "ann").say(msg);
    let Outcome::Sent(text) = &told.outcome else { panic!("{told:?}") };
    tim(&serde_json::from_str(text).unwrap())
}

fn tim(message: &Value) -> String {
    message["tim"].as_str().unwrap().to_owned()
}

/// A listener that comes back with this `tim`.
pub fn since(daemon: &Daemon, tim: &str) -> Client {
    let url = format!("ws://{}/?since={tim}", daemon.addr);
    Client::open(TcpStream::connect(daemon.addr).unwrap(), &url)
}

/// What a listener gets up to this message: the text of each message, or the code of a notice.
/// `tim` increases.
fn texts(listener: &mut Client, last: &str) -> Vec<String> {
    let (mut texts, mut last_tim) = (Vec::new(), String::new());
    while texts.last().is_none_or(|text| text != last) {
        let message = listener.json();
        if message.get("err").is_none() {
            let tim = tim(&message);
            assert!(tim > last_tim, "{message} after {last_tim}");
            last_tim = tim;
        }
        texts.push(message.get("err").unwrap_or(&message["msg"]).as_str().unwrap().to_owned());
    }
    texts
}

#[test]
fn a_room_joins_a_cluster_and_leaves_it_without_losing_a_listener() {
    let servers = Servers::start(1);
    let relay = Relay::start(&servers.addresses());
    // The clock of the servers is behind that of the room.
    relay.step_time(TimeStep { from_sequence: 1, by_ns: -5_000_000_000 });
    let mut manager = Manager::with_config(SINGLE);
    let daemon = manager.start();
    let mut listener = daemon.connect();
    let one = say(&daemon, "one");
    say(&daemon, "two");
    // The stream is later than all messages.
    manager.config = config("a", relay.addresses());
    init(&daemon, &manager.config);
    let daemon = manager.restart(daemon);
    wait_until_connected(&daemon);
    say(&daemon, "three");
    let other_manager = Manager::with_config(&config("b", relay.addresses()));
    let other = other_manager.start();
    wait_until_connected(&other);
    let four = say(&other, "four");
    assert_eq!(texts(&mut listener, "four"), ["one", "two", "three", "four"]);
    assert_eq!(texts(&mut since(&daemon, &one), "four"), ["two", "three", "four"]);
    // The other node does not know what was sent before.
    assert_eq!(texts(&mut since(&other, &one), "four"), ["gap", "three", "four"]);

    manager.config = SINGLE.to_owned();
    let daemon = manager.restart(daemon);
    say(&daemon, "alone");
    say(&other, "elsewhere");
    assert_eq!(texts(&mut since(&daemon, &four), "alone"), ["alone"]);
    manager.config = config("a", relay.addresses());
    let daemon = manager.restart(daemon);
    wait_until_connected(&daemon);
    say(&daemon, "again");
    say(&other, "together");
    assert_eq!(texts(&mut listener, "together"), ["alone", "gap", "again", "together"]);
    // What was said elsewhere before "alone", by the clock of the servers, is missing here.
    let missed = ["gap", "alone", "gap", "again", "together"];
    assert_eq!(texts(&mut since(&daemon, &four), "together"), missed);
}

#[test]
fn a_node_restarts_and_crashes_while_the_servers_are_away() {
    let servers = Servers::start(1);
    let relay = Relay::start(&servers.addresses());
    let manager = Manager::with_config(&config("a", relay.addresses()));
    let other_manager = Manager::with_config(&config("b", &servers.addresses()));
    create_stream(&servers, "");
    let (mut daemon, other) = (manager.start(), other_manager.start());
    for daemon in [&daemon, &other] {
        wait_until_connected(daemon);
    }
    let mut listener = daemon.connect();
    let one = say(&daemon, "one");
    assert_eq!(texts(&mut listener, "one"), ["one"]);
    relay.hold(&[Way::There, Way::Back]);
    relay.cut();
    say(&other, "two");
    daemon = manager.restart(daemon);
    until("it has no server", || (!is_connected(&daemon)).then_some(()));
    let told = Sender::connect(daemon.addr, By::Post, "ann").say("never");
    assert_eq!(told.outcome, Outcome::Unavailable);
    relay.restore();
    wait_until_connected(&daemon);
    let three = say(&daemon, "three");
    assert_eq!(texts(&mut listener, "three"), ["two", "three"]);

    relay.hold(&[Way::There, Way::Back]);
    relay.cut();
    let four = say(&other, "four");
    manager.tail_file(&daemon);
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    daemon = manager.start();
    // What it has is there without a server, too; the rest follows.
    assert_eq!(texts(&mut since(&daemon, &one), "three"), ["two", "three"]);
    // One listener was here, and one on the other node.
    let [mut here, mut there] = [&three, &four].map(|tim| since(&daemon, tim));
    relay.restore();
    wait_until_connected(&daemon);
    say(&daemon, "five");
    assert_eq!(texts(&mut here, "five"), ["four", "five"]);
    assert_eq!(texts(&mut there, "five"), ["five"]);
}

/// A service manager must not wait for servers that do not answer.
#[test]
fn a_stop_during_the_start_waits_for_nobody() {
    let servers = Servers::start(1);
    let relay = Relay::start(&servers.addresses());
    relay.hold(&[Way::There, Way::Back]);
    let manager = Manager::with_config(&config("a", relay.addresses()));
    let mut daemon = manager.setup().spawn();
    daemon.wait_for_log("no secret or key is configured");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.log().contains("away"), "it has waited: {}", daemon.log());
}
