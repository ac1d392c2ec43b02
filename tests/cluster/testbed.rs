//! What the other tests use: the servers, the relay, the listeners and the senders.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, push};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context, Message};
use futures_util::StreamExt;
use tokio::runtime::Runtime;

use crate::crowd::Crowd;
use crate::deliveries::TimeStep;
use crate::harness::{Daemon, UNLIMITED, until};
use crate::outcomes::{check_same, check_told, check_with_gaps};
use crate::relay::{Relay, Way};
use crate::senders::{Outcome, Senders, Told};
use crate::servers::{Servers, runtime};

/// So long nothing arrives that a relay keeps.
const SILENCE: Duration = Duration::from_millis(300);

fn stream(replicas: usize) -> Config {
    Config { name: "room".into(), num_replicas: replicas, ..Config::default() }
}

/// A client of a server that is not wschat, and a consumer of the whole stream.
struct Bare {
    runtime: Runtime,
    engine: Context,
    /// Can be dropped only inside of the runtime, with which it ends anyway.
    messages: ManuallyDrop<push::Messages>,
}

impl Bare {
    fn connect(server: SocketAddr) -> Self {
        let runtime = runtime();
        let (engine, messages) = runtime.block_on(async {
            let client = async_nats::connect(server.to_string()).await.unwrap();
            let config = push::Config {
                deliver_subject: client.new_inbox(),
                ack_policy: AckPolicy::None,
                ..push::Config::default()
            };
            let engine = jetstream::new(client);
            let stream = engine.get_stream("room").await.unwrap();
            let consumer = stream.create_consumer(config).await.unwrap();
            (engine, consumer.messages().await.unwrap())
        });
        Self { runtime, engine, messages: ManuallyDrop::new(messages) }
    }

    /// Publishes to the stream; returns the sequence, `None` without an answer.
    fn publish(&self, text: &str) -> Option<u64> {
        let stored = async { self.engine.publish("room", text.to_owned().into()).await?.await };
        let stored = async { tokio::time::timeout(SILENCE, stored).await };
        Some(self.runtime.block_on(stored).ok()?.unwrap().sequence)
    }

    /// The next message; `None` if nothing comes for some time.
    fn next(&mut self) -> Option<Message> {
        let next = async { tokio::time::timeout(SILENCE, self.messages.next()).await };
        Some(self.runtime.block_on(next).ok()?.expect("the consumer goes on").unwrap())
    }

    /// The text of the next message.
    fn hear(&mut self) -> String {
        let message = until("a message", || self.next());
        String::from_utf8(message.payload.to_vec()).unwrap()
    }
}

#[test]
fn servers_elect_leaders_and_keep_a_stream() {
    let mut servers = Servers::start(3);
    servers.create(&stream(3));
    let say = |servers: &Servers, text: &'static str| {
        servers.ask(async |engine| Ok(engine.publish("room", text.into()).await?.await?.sequence))
    };
    assert_eq!(say(&servers, "one"), 1);
    let leader = servers.leader("room");
    servers.kill(leader);
    let sequence = say(&servers, "two");
    assert_ne!(servers.leader("room"), leader);
    servers.restart(leader);
    let leader = servers.leader("room");
    servers.pause(leader);
    assert!(say(&servers, "three") > sequence);
    servers.resume(leader);
    servers.wait_until_ready();
    servers.update("room", |config| config.max_messages = 1);
    let state = |servers: &Servers| until("the stream answers", || servers.info("room")).state;
    assert_eq!(state(&servers).messages, 1);
    let last = state(&servers).last_sequence;
    servers.purge("room");
    assert_eq!((state(&servers).messages, state(&servers).last_sequence), (0, last));
    servers.delete("room");
    servers.create(&stream(3));
    assert_eq!(servers.last_sequence("room"), 0);
}

#[test]
fn a_relay_keeps_bytes_and_closes_connections() {
    let servers = Servers::start(1);
    servers.create(&stream(1));
    let relay = Relay::start(&servers.addresses());
    let mut client = Bare::connect(relay.addresses()[0]);
    assert_eq!((client.publish("one"), client.hear()), (Some(1), "one".into()));

    // What has no answer is stored.
    relay.hold(&[Way::Back]);
    assert_eq!(client.publish("two"), None);
    until("it is stored", || (servers.last_sequence("room") == 2).then_some(()));
    assert!(client.next().is_none());
    relay.restore();
    assert_eq!(client.hear(), "two");

    relay.hold(&[Way::There]);
    assert_eq!(client.publish("three"), None);
    assert_eq!(servers.last_sequence("room"), 2);
    relay.restore();
    assert_eq!(client.hear(), "three");

    relay.hold(&[Way::There, Way::Back]);
    assert_eq!(client.publish("never stored"), None);
    relay.cut();
    relay.restore();
    relay.delay(Duration::from_millis(20));
    let mut client = Bare::connect(relay.addresses()[0]);
    assert_eq!(client.publish("four"), Some(4));
    assert_eq!([(); 4].map(|()| client.hear()), ["one", "two", "three", "four"]);
    relay.cut();
    let connection = TcpStream::connect(relay.addresses()[0]).unwrap();
    assert_eq!((&connection).read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_relay_rewrites_the_time_of_messages() {
    let servers = Servers::start(1);
    servers.create(&stream(1));
    let relay = Relay::start(&servers.addresses());
    relay.step_time(TimeStep { from_sequence: 2, by_ns: -5_000_000_000 });
    let mut as_it_is = Bare::connect(servers.addresses()[0]);
    let mut stepped = Bare::connect(relay.addresses()[0]);
    let payload = "MSG room 1 $JS.ACK.room.c.1.9.1.1700000000000000009.0 2\r\nhi\r\n";
    for by in [0, -5, -5] {
        stepped.publish(payload).unwrap();
        let times = [&mut as_it_is, &mut stepped].map(|client| {
            let message = until("the message", || client.next());
            assert_eq!(message.payload, payload);
            message.info().unwrap().published
        });
        assert_eq!((times[1] - times[0]).whole_milliseconds(), by * 1000);
    }
}

#[test]
fn listeners_and_senders_of_one_room() {
    let daemon = Daemon::start(UNLIMITED);
    let crowds = [Crowd::start(daemon.addr, 20), Crowd::start(daemon.addr, 3)];
    let senders = Senders::start(&[daemon.addr, daemon.addr], 4, Duration::ZERO);
    until("messages are sent", || (senders.sent() >= 200).then_some(()));
    let told = senders.end();
    daemon.connect().say("end", "the end");
    let texts = crowds.map(|crowd| crowd.texts_up_to("the end"));
    check_same(&texts);
    assert_eq!(check_told(&texts[0], &told), [told.len(), 0, 0]);
    assert_eq!(check_with_gaps(&texts), (texts[0].clone(), vec![0, 0]));
}

fn text(tim: u32) -> String {
    format!(r#"{{"usr":"a","msg":"{tim}","tim":"{tim}"}}"#)
}

fn gap(after: u32, before: u32) -> String {
    format!(
        r#"{{"usr":"wschat","msg":"gap","err":"gap","after":"{after}","before":"{before}","tim":"{after}"}}"#
    )
}

fn told(msg: u32, outcome: Outcome) -> Told {
    Told { usr: "a".into(), msg: msg.to_string(), outcome, after: Duration::ZERO }
}

#[test]
fn a_gap_at_its_place_is_accepted() {
    let all = [1, 2, 3, 4].map(text).to_vec();
    let nodes = [all.clone(), vec![text(1), gap(1, 4), text(4)]];
    assert_eq!(check_with_gaps(&nodes), (all, vec![0, 1]));
}

#[test]
#[should_panic(expected = "node 1")]
fn a_missing_message_is_found() {
    check_with_gaps(&[[1, 2, 3].map(text).to_vec(), [1, 3].map(text).to_vec()]);
}

#[test]
#[should_panic(expected = "node 1")]
fn a_gap_at_another_place_is_found() {
    check_with_gaps(&[[1, 2, 3, 4].map(text).to_vec(), vec![text(1), text(2), gap(1, 4), text(4)]]);
}

#[test]
#[should_panic(expected = "node 1")]
fn a_repeated_message_is_found() {
    check_with_gaps(&[[1, 2].map(text).to_vec(), [1, 2, 2].map(text).to_vec()]);
}

#[test]
#[should_panic(expected = "Unavailable")]
fn a_message_that_was_sent_after_all_is_found() {
    check_told(&[text(1)], &[told(1, Outcome::Unavailable)]);
}

#[test]
#[should_panic(expected = "Sent")]
fn a_message_that_is_lost_is_found() {
    check_told(&[text(1)], &[told(1, Outcome::Sent(text(1))), told(2, Outcome::Sent(text(2)))]);
}
