//! The engine: a node's connection to the stream, without the room.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Handle;
use wschat::cluster::engine::{AwayReason, Connection, Delivery, EngineEvent, Publish};
use wschat::cluster::nats::{self, Engine, InitOptions, InitOutcome};
use wschat::cluster::options::{Credentials, EngineOptions};
use wschat::feed::Position;

use crate::harness::{DEADLINE, until};
use crate::relay::{Relay, Way};
use crate::servers::{Servers, runtime};

const STREAM: &str = "room";

fn options(servers: &[impl ToString]) -> EngineOptions {
    EngineOptions {
        servers: servers.iter().map(|server| server.to_string().parse().unwrap()).collect(),
        stream: STREAM.parse().unwrap(),
        credentials: None,
        tls_ca_file: None,
        node: "test".parse().unwrap(),
        feed_tail_bytes: 1 << 22,
        message_bytes_max: 16_384,
    }
}

fn init_options(replicas: u64) -> InitOptions {
    InitOptions { replicas: Some(replicas), is_memory: false, max_bytes: None, is_update: false }
}

fn init(options: &EngineOptions, init: InitOptions) -> Result<[InitOutcome; 2], String> {
    let report = runtime().block_on(nats::init(options, init, None))?;
    Ok(report.parts.map(|(_, outcome)| outcome))
}

/// Servers with the stream of a room.
fn servers_with_stream(count: usize) -> Servers {
    let servers = Servers::start(count);
    let options = options(&servers.addresses());
    until("the stream is created", || init(&options, init_options(count as u64)).ok());
    servers
}

/// A runtime in a thread of its own; it ends when this is dropped.
struct Background {
    handle: Handle,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Background {
    fn start() -> Self {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (sender, handle) = mpsc::channel();
        thread::spawn(move || {
            let runtime = runtime();
            sender.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(ended);
        });
        Self { handle: handle.recv().unwrap(), _end: end }
    }
}

/// The engine of a node, and what it has told.
struct Node {
    engine: Engine,
    background: Background,
    /// The number of the last publish.
    number: u64,
    /// The records that were delivered.
    delivered: Vec<Delivery>,
    /// The answers to publishes, by their number.
    answers: Vec<(u64, Result<u64, String>)>,
    /// Everything else but heartbeats.
    changes: Vec<EngineEvent>,
}

impl Node {
    fn start(options: &EngineOptions, last: Option<Position>) -> Self {
        let background = Background::start();
        let entered = background.handle.enter();
        let engine = nats::start(options.clone(), last);
        drop(entered);
        let (delivered, answers, changes) = Default::default();
        Self { engine, background, number: 0, delivered, answers, changes }
    }

    /// Starts, and waits until the stream can be used.
    fn connect(options: &EngineOptions, last: Option<Position>) -> (Self, Connection) {
        let mut node = Self::start(options, last);
        let connection = node.connected();
        (node, connection)
    }

    /// The next event but a heartbeat, kept in its list.
    #[track_caller]
    fn step(&mut self) {
        let event = loop {
            let next =
                async { tokio::time::timeout(DEADLINE, self.engine.next_event(false)).await };
            match self.background.handle.block_on(next).expect("an event").expect("the engine") {
                EngineEvent::Heartbeat => {}
                event => break event,
            }
        };
        match event {
            EngineEvent::Delivered(delivery) => self.delivered.push(delivery),
            EngineEvent::Acknowledged { number, stored } => self.answers.push((number, stored)),
            event => self.changes.push(event),
        }
    }

    /// Waits for a heartbeat; other events are kept.
    #[track_caller]
    fn heartbeat(&mut self) {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let next =
                async { tokio::time::timeout(DEADLINE, self.engine.next_event(false)).await };
            match self.background.handle.block_on(next).expect("an event").expect("the engine") {
                EngineEvent::Heartbeat => return,
                EngineEvent::Delivered(delivery) => self.delivered.push(delivery),
                EngineEvent::Acknowledged { number, stored } => self.answers.push((number, stored)),
                event => self.changes.push(event),
            }
        }
        panic!("no heartbeat: {:?}", self.changes);
    }

    #[track_caller]
    fn connected(&mut self) -> Connection {
        loop {
            if let Some(EngineEvent::Connected(connection)) = self.changes.last() {
                let connection = connection.clone();
                self.changes.clear();
                return connection;
            }
            self.step();
        }
    }

    #[track_caller]
    fn away(&mut self) -> AwayReason {
        loop {
            if let Some(EngineEvent::Away(reason)) = self.changes.last() {
                let reason = reason.clone();
                self.changes.clear();
                return reason;
            }
            self.step();
        }
    }

    fn publish(&mut self, text: &str) -> u64 {
        self.number += 1;
        let headers = vec![("Wschat-Version", "1".into()), ("Wschat-By", self.number.to_string())];
        let publish = Publish { number: self.number, headers, payload: text.to_owned().into() };
        self.engine.publish(publish).unwrap();
        self.number
    }

    #[track_caller]
    fn answer(&mut self, number: u64) -> Result<u64, String> {
        loop {
            if let Some((_, stored)) = self.answers.iter().find(|(of, _)| *of == number) {
                return stored.clone();
            }
            self.step();
        }
    }

    /// Publishes, and waits until the record is stored and read.
    #[track_caller]
    fn say(&mut self, text: &str) -> Delivery {
        let number = self.publish(text);
        let sequence = self.answer(number).unwrap();
        self.read_to(sequence)
    }

    #[track_caller]
    fn read_to(&mut self, sequence: u64) -> Delivery {
        loop {
            let last = self.delivered.last();
            if let Some(last) = last.filter(|last| last.position.sequence >= sequence) {
                return last.clone();
            }
            self.step();
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.delivered.iter().map(|d| str::from_utf8(&d.payload).unwrap()).collect()
    }

    fn sequences(&self) -> Vec<u64> {
        self.delivered.iter().map(|delivery| delivery.position.sequence).collect()
    }
}

fn unreachable(reason: AwayReason) -> String {
    match reason {
        AwayReason::Unreachable(why) => why,
        other => panic!("unusable: {other}"),
    }
}

fn unusable(reason: AwayReason) -> String {
    match reason {
        AwayReason::Unusable(why) => why,
        other => panic!("unreachable: {other}"),
    }
}

/// Publishes records that are no records of wschat.
fn publish_raw(servers: &Servers, count: u64, text: &'static str) {
    servers.ask(async |engine| {
        let client = engine.client();
        for _ in 1..count {
            client.publish(STREAM, text.into()).await?;
        }
        // The last one is acknowledged, so all others are stored.
        engine.publish(STREAM, text.into()).await?.await?;
        Ok(())
    });
}

#[test]
fn records_come_back_in_their_order() {
    let servers = servers_with_stream(1);
    let (mut node, connection) = Node::connect(&options(&servers.addresses()), None);
    assert_eq!((connection.newest.sequence, connection.from_sequence), (0, 1));
    assert_eq!((connection.first_sequence, connection.max_payload), (1, 1 << 20));
    assert_eq!(connection.server, format!("nats://{}", servers.addresses()[0]));
    assert!(connection.time.nanos() >= connection.newest.created);
    for number in 1..=200 {
        node.publish(&number.to_string());
    }
    node.read_to(200);
    for number in 1..=200 {
        assert_eq!(node.answer(number), Ok(number));
        let delivery = &node.delivered[number as usize - 1];
        let Position { created, sequence } = delivery.position;
        assert_eq!((created, sequence), (connection.newest.created, number));
        let by = delivery.headers.iter().find(|(name, _)| name == "Wschat-By").unwrap();
        assert_eq!(
            (&*by.1, &*delivery.payload),
            (&*number.to_string(), number.to_string().as_bytes())
        );
    }
    assert!(node.delivered.is_sorted_by_key(|delivery| delivery.time));
    // Times have more than milliseconds.
    assert!(node.delivered.iter().any(|delivery| delivery.time.nanos() % 1000 != 0));
    node.heartbeat();
    assert_eq!(node.changes, []);

    let last = node.delivered[149].position;
    drop(node);
    let (mut node, connection) = Node::connect(&options(&servers.addresses()), Some(last));
    assert_eq!((connection.newest.sequence, connection.from_sequence), (200, 151));
    node.read_to(200);
    assert_eq!(node.sequences(), (151..=200).collect::<Vec<_>>());
}

#[test]
fn a_publish_that_is_too_large_is_refused() {
    let servers = servers_with_stream(1);
    let (mut node, _) = Node::connect(&options(&servers.addresses()), None);
    let number = node.publish(&"x".repeat(1 << 20));
    assert!(node.answer(number).unwrap_err().contains("max payload size exceeded"));
    assert_eq!(node.say("one").position.sequence, 1);
}

/// A driver that does not read stops the server by flow control.
#[test]
fn a_reader_that_pauses_loses_nothing() {
    const RECORDS: u64 = 100_000;
    let servers = servers_with_stream(1);
    let options = options(&servers.addresses());
    let (mut node, connection) = Node::connect(&options, None);
    let text = "x".repeat(300);
    let mut sent = 0;
    while sent < RECORDS {
        for _ in 0..256.min(RECORDS - sent) {
            sent = node.publish(&text);
        }
        node.answer(sent).unwrap();
        node.answers.clear();
        node.delivered.clear();
    }
    let start = Position { sequence: 0, ..connection.newest };
    let (mut slow, connection) = Node::connect(&options, Some(start));
    assert_eq!((connection.newest.sequence, connection.from_sequence), (RECORDS, 1));
    let before = resident_kib();
    for pause in [1, 5, 2] {
        // Longer than a consumer may be silent.
        thread::sleep(Duration::from_secs(pause));
        slow.read_to(slow.delivered.len() as u64 + 1000);
    }
    eprintln!("memory of 100,000 waiting records: {} KiB", resident_kib() - before);
    slow.read_to(RECORDS);
    assert!(slow.delivered.iter().map(|delivery| delivery.position.sequence).eq(1..=RECORDS));
    slow.heartbeat();
    assert_eq!(slow.changes, []);
}

fn resident_kib() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4
}

#[test]
fn while_it_is_away_nothing_is_published() {
    let mut servers = servers_with_stream(1);
    let relay = Relay::start(&servers.addresses());
    let (mut node, _) = Node::connect(&options(relay.addresses()), None);
    node.say("one");
    relay.cut();
    let why = unreachable(node.away());
    assert!(why.starts_with("the connection to nats://127.0.0.1:"), "{why}");
    let number = node.publish("lost");
    assert_eq!(node.answer(number), Err("there is no connection".into()));
    publish_raw(&servers, 1, "two");
    relay.restore();
    let connection = node.connected();
    assert_eq!((connection.from_sequence, connection.newest.sequence), (2, 2));
    node.say("three");

    servers.kill(0);
    node.away();
    let number = node.publish("lost");
    assert_eq!(node.answer(number), Err("there is no connection".into()));
    servers.restart(0);
    node.connected();
    node.say("four");
    assert_eq!(node.texts(), ["one", "two", "three", "four"]);
    assert_eq!(node.sequences(), [1, 2, 3, 4]);
}

/// What was given to a connection that is lost is never sent on the next one.
#[test]
fn a_lost_connection_takes_its_publishes_along() {
    let servers = servers_with_stream(1);
    let relay = Relay::start(&servers.addresses());
    let (mut node, _) = Node::connect(&options(relay.addresses()), None);
    node.say("one");
    relay.hold(&[Way::There]);
    let text = "x".repeat(100_000);
    for _ in 0..200 {
        node.publish(&text);
    }
    // The relay has some of them, the sockets others, and the client the rest.
    node.away();
    relay.cut();
    relay.restore();
    node.connected();
    let before = servers.last_sequence(STREAM);
    assert!(before < 150, "{before}");
    assert_eq!(node.say("two").position.sequence, before + 1);
}

#[test]
fn silence_is_noticed() {
    let servers = servers_with_stream(1);
    let relay = Relay::start(&servers.addresses());
    let (mut node, _) = Node::connect(&options(relay.addresses()), None);
    node.say("one");
    for ways in [&[Way::Back][..], &[Way::There], &[Way::There, Way::Back]] {
        relay.hold(ways);
        let start = Instant::now();
        node.away();
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        relay.restore();
        node.connected();
    }
    node.say("two");
    assert_eq!(node.texts(), ["one", "two"]);
}

/// The consumer is at one server, and ends with it.
#[test]
fn a_consumer_that_ends_is_made_anew() {
    let mut servers = servers_with_stream(3);
    let (mut node, _) = Node::connect(&options(&servers.addresses()[..1]), None);
    node.say("one");
    for other in [1, 2] {
        servers.kill(other);
        until("the stream has a leader", || servers.info(STREAM)?.cluster?.leader);
        publish_raw(&servers, 1, "two");
        node.read_to(servers.last_sequence(STREAM));
        servers.restart(other);
    }
    until("the node is connected", || {
        node.heartbeat();
        let is_away = matches!(node.changes.last(), Some(EngineEvent::Away(_)));
        (!is_away).then_some(())
    });
    let sequences = node.sequences();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_hole_is_passed_on() {
    let servers = servers_with_stream(1);
    let relay = Relay::start(&servers.addresses());
    let (mut node, _) = Node::connect(&options(relay.addresses()), None);
    node.say("one");
    relay.cut();
    node.away();
    publish_raw(&servers, 10, "x");
    servers.discard_all_but(STREAM, 2);
    relay.restore();
    let connection = node.connected();
    assert_eq!((connection.first_sequence, connection.from_sequence), (10, 2));
    node.read_to(11);
    assert_eq!(node.sequences(), [1, 10, 11]);

    // All is purged while it reads.
    publish_raw(&servers, 1, "y");
    node.read_to(12);
    servers.purge(STREAM);
    node.say("z");
    assert_eq!(node.sequences(), [1, 10, 11, 12, 13]);
    assert_eq!(node.changes, []);
}

/// Publishes records, each with a publisher of its own.
fn publish_by(servers: &Servers, count: u64, text: &'static str) {
    for number in 0..count {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Wschat-Node", format!("{text} 1 {number}"));
        servers.ask(async |engine| {
            let sent = engine.publish_with_headers(STREAM, headers.clone(), text.into());
            sent.await?.await?;
            Ok(())
        });
    }
}

/// The stream has lost records, and other records have their numbers.
#[test]
fn a_stream_that_was_restored_is_read_from_its_first_other_record() {
    for others in [0, 1, 3, 9] {
        let mut servers = servers_with_stream(1);
        let relay = Relay::start(&servers.addresses());
        let (mut node, _) = Node::connect(&options(relay.addresses()), None);
        publish_by(&servers, 2, "old");
        node.read_to(2);
        servers.kill(0);
        servers.back_up(0);
        servers.restart(0);
        node.connected();
        publish_by(&servers, 3, "lost");
        node.read_to(5);
        relay.hold(&[Way::There, Way::Back]);
        relay.cut();
        servers.kill(0);
        servers.restore(0);
        servers.restart(0);
        publish_by(&servers, others, "new");
        node.away();
        relay.restore();
        assert_eq!(node.connected().from_sequence, 3, "{others}");
        publish_by(&servers, 1, "end");
        while node.texts().last() != Some(&"end") {
            node.step();
        }
        assert_eq!(node.sequences(), (1..=5).chain(3..=3 + others).collect::<Vec<_>>());
        let new = [&["old"; 2][..], &["lost"; 3], &vec!["new"; others as usize], &["end"]].concat();
        assert_eq!(node.texts(), new);
        // Nothing is found to be other than it was.
        relay.cut();
        node.away();
        relay.restore();
        assert_eq!(node.connected().from_sequence, 4 + others);
    }
}

#[test]
fn a_stream_made_anew_is_read_from_its_start() {
    let servers = servers_with_stream(1);
    let options = options(&servers.addresses());
    let (mut node, first) = Node::connect(&options, None);
    node.say("one");
    node.say("two");
    servers.delete(STREAM);
    let why = unusable(node.away());
    assert_eq!(why, "there is no stream room; create it with 'wschat cluster init'");
    init(&options, init_options(1)).unwrap();
    publish_raw(&servers, 1, "three");
    let second = node.connected();
    assert!(second.newest.created > first.newest.created);
    assert_eq!((second.from_sequence, second.first_sequence), (1, 1));
    node.read_to(1);
    while node.delivered.len() < 3 {
        node.step();
    }
    assert_eq!(node.texts(), ["one", "two", "three"]);
    assert_eq!(node.delivered[2].position, Position { sequence: 1, ..second.newest });
}

#[test]
fn a_fresh_node_reads_the_newest_part() {
    let servers = servers_with_stream(1);
    let mut options = options(&servers.addresses());
    options.feed_tail_bytes = 10_000;
    publish_raw(&servers, 2000, "0123456789012345678901234567890123456789");
    let (mut node, connection) = Node::connect(&options, None);
    let bytes = (2001 - connection.from_sequence) * 40;
    assert!((10_000..=40_000).contains(&bytes), "{connection:?}");
    node.read_to(2000);
    assert_eq!(node.sequences()[0], connection.from_sequence);
}

#[test]
fn init_creates_and_updates() {
    let servers = Servers::start(1);
    let mut options = options(&servers.addresses());
    let created = || [InitOutcome::Created, InitOutcome::Created];
    let unchanged = || [(); 2].map(|()| InitOutcome::Unchanged(Vec::new()));
    assert_eq!(init(&options, init_options(1)), Ok(created()));
    assert_eq!(init(&options, init_options(1)), Ok(unchanged()));
    let update = InitOptions { is_update: true, ..init_options(1) };
    assert_eq!(init(&options, update), Ok(unchanged()));

    options.feed_tail_bytes = 1 << 27;
    let text =
        "its max_bytes is 268435456, and must be at least 536870912, 4 x limits.feed_tail_bytes";
    let expected = |outcome| Ok([outcome, InitOutcome::Unchanged(Vec::new())]);
    let differs = InitOutcome::Unchanged(vec![text.into()]);
    assert_eq!(init(&options, init_options(1)), expected(differs));
    let why = unusable(Node::start(&options, None).away());
    assert!(why.contains(text) && why.contains("wschat cluster init --update"), "{why}");
    let updated = InitOutcome::Updated(vec![text.into()]);
    assert_eq!(init(&options, update), expected(updated));
    let (_, connection) = Node::connect(&options, None);
    assert_eq!(connection.from_sequence, 1);

    let why = init(&options, InitOptions { max_bytes: Some(1), ..update }).unwrap_err();
    assert_eq!(why, "max-bytes must be at least 536870912, 4 x limits.feed_tail_bytes");
    options.stream = "other".parse().unwrap();
    let why = init(&options, init_options(3)).unwrap_err();
    assert!(why.starts_with("the stream other: "), "{why}");
}

#[test]
fn what_a_server_lacks_is_named() {
    let refused = options(&["127.0.0.1:1", "nats://u:s3cret@127.0.0.1:2"]);
    assert_eq!(
        unreachable(Node::start(&refused, None).away()),
        "cannot reach nats://127.0.0.1:1: IO error: Connection refused (os error 111); cannot \
         reach nats://u:********@127.0.0.1:2: IO error: Connection refused (os error 111)"
    );
    let servers = Servers::with_config(1, "max_payload: 32768");
    let options = options(&servers.addresses());
    let why = unusable(Node::start(&options, None).away());
    assert!(why.contains("its max_payload is 32768, and must be at least 40960"), "{why}");
}

#[test]
fn passwords_and_seeds() {
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let config = format!(
        "authorization {{ users: [{{ user: u, password: \"s3cret@/\" }}, {{ nkey: {KEY} }}] }}"
    );
    let servers = Servers::with_config(1, &config);
    let address = servers.addresses()[0];
    let by_password = options(&[format!("nats://u:s3cret%40%2f@{address}")]);
    until("the stream is created", || init(&by_password, init_options(1)).ok());
    let (mut node, connection) = Node::connect(&by_password, None);
    node.say("one");
    assert!(!connection.server.contains("s3cret"));
    let seed = Some(Credentials::parse(SEED.as_bytes()).unwrap());
    let by_seed = EngineOptions { credentials: seed, ..options(&[address]) };
    let (mut node, _) = Node::connect(&by_seed, None);
    node.read_to(1);
    for (wrong, which) in [
        (options(&[address]), "refused a node without credentials"),
        (options(&[format!("nats://u:wrong@{address}")]), "refused the credentials"),
    ] {
        let why = unusable(Node::start(&wrong, None).away());
        assert!(why.contains(which) && !why.contains("wrong@"), "{why}");
    }
}

/// async-nats closes the connection, or panics, when it reads such header fields.
#[test]
fn a_record_that_the_client_cannot_read_is_skipped() {
    let servers = servers_with_stream(1);
    let (mut node, _) = Node::connect(&options(&servers.addresses()), None);
    node.say("one");
    publish_unreadable(&servers);
    publish_raw(&servers, 1, "four");
    node.read_to(4);
    assert_eq!(node.sequences(), [1, 2, 3, 4]);
    assert_eq!(node.delivered[3].payload, "four");
}

/// Publishes two records that the client of NATS cannot read.
pub fn publish_unreadable(servers: &Servers) {
    for header in [&b"NATS/1.0\r\nWschat-By: a\rb\r\n\r\n"[..], b"NATS/1.0\r\nX: \xff\r\n\r\n"] {
        publish_bytes(servers, header);
    }
}

/// Publishes a record whose header is these bytes.
fn publish_bytes(servers: &Servers, header: &[u8]) {
    use std::io::{Read, Write};
    let before = servers.last_sequence(STREAM);
    let mut socket = std::net::TcpStream::connect(servers.addresses()[0]).unwrap();
    let mut bytes = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    let length = header.len();
    write!(bytes, "HPUB {STREAM} {length} {length}\r\n").unwrap();
    bytes.extend(header);
    bytes.extend(b"\r\nPING\r\n");
    socket.write_all(&bytes).unwrap();
    until("it is stored", || {
        let _ = socket.read(&mut [0; 4096]).unwrap();
        (servers.last_sequence(STREAM) > before).then_some(())
    });
}

#[test]
fn a_client_that_may_not_publish() {
    let config = "authorization { users: [
        { user: admin, password: p },
        { user: node, password: p, permissions: {
            publish: [\"$JS.API.STREAM.INFO.room\", \"$JS.API.CONSUMER.CREATE.room\", \"$JS.FC.>\"],
            subscribe: [\"_INBOX.room.>\"] } }] }";
    let servers = Servers::with_config(1, config);
    let address = servers.addresses()[0];
    let admin = options(&[format!("nats://admin:p@{address}")]);
    until("the stream is created", || init(&admin, init_options(1)).ok());
    let (mut node, _) = Node::connect(&options(&[format!("nats://node:p@{address}")]), None);
    node.publish("refused");
    let why = unusable(node.away());
    assert!(why.contains("does not let this node publish"), "{why}");
    node.connected();
    let (mut admin, _) = Node::connect(&admin, None);
    admin.say("one");
    node.read_to(1);
}

/// A folder with the certificate of an authority, and with a certificate for this address and its
/// key.
fn certificates(address: Ipv4Addr) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![address.to_string()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    for (name, pem) in
        [("ca", issuer.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())]
    {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    folder
}

#[test]
fn tls_with_the_certificate_of_an_authority() {
    let folder = RefCell::new(None);
    let servers = Servers::with_config_of(1, |address| {
        let made = certificates(address);
        let path = made.path().display().to_string();
        folder.replace(Some(made));
        format!("tls {{ cert_file: \"{path}/cert\", key_file: \"{path}/key\" }}")
    });
    let folder = folder.take().unwrap();
    let address = servers.addresses()[0];
    let with_ca = |scheme: &str, ca: &TempDir| EngineOptions {
        tls_ca_file: Some(ca.path().join("ca")),
        ..options(&[format!("{scheme}://{address}")])
    };
    until("the stream is created", || init(&with_ca("tls", &folder), init_options(1)).ok());
    for scheme in ["tls", "nats"] {
        let (mut node, _) = Node::connect(&with_ca(scheme, &folder), None);
        node.say(scheme);
    }
    let other = certificates(Ipv4Addr::LOCALHOST);
    let why = unreachable(Node::start(&with_ca("tls", &other), None).away());
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = unreachable(Node::start(&options(&[format!("tls://{address}")]), None).away());
    assert!(why.ends_with("UnknownIssuer; see cluster.tls_ca_file"), "{why}");

    // A server without TLS does not get the password.
    let plain = Servers::start(1);
    let url = format!("nats://u:p@{}", plain.addresses()[0]);
    let without = EngineOptions { tls_ca_file: Some(other.path().join("ca")), ..options(&[url]) };
    unreachable(Node::start(&without, None).away());
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let config = "authorization { users: [{ user: node, password: p, permissions: {
        publish: [\"room\"], subscribe: [\"_INBOX.room.>\"] } }] }";
    let servers = Servers::with_config(1, config);
    let options = options(&[format!("nats://node:p@{}", servers.addresses()[0])]);
    let why = unusable(Node::start(&options, None).away());
    assert!(why.contains("Publish to \"$JS.API.STREAM.INFO.room\""), "{why}");
}

/// Compares with a bare client in the same run: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn throughput() {
    const RECORDS: u64 = 300_000;
    let servers = servers_with_stream(1);
    let (mut node, _) = Node::connect(&options(&servers.addresses()), None);
    let payload = "x".repeat(200);
    let start = Instant::now();
    let (mut sent, mut answered, mut read) = (0, 0, 0);
    while answered < RECORDS || read < RECORDS {
        while sent < RECORDS && sent - answered < 256 {
            sent = node.publish(&payload);
        }
        node.step();
        answered += node.answers.len() as u64;
        read += node.delivered.len() as u64;
        node.answers.clear();
        node.delivered.clear();
    }
    let secs = start.elapsed().as_secs_f64();
    eprintln!("{:.0} records/s", RECORDS as f64 / secs);
}
