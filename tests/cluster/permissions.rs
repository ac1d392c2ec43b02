//! The permissions of wschat.toml(5) are enough for a node and for `wschat cluster init`, and
//! allow nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{Client, ConnectOptions, Event, jetstream};
use bytes::Bytes;
use futures_util::StreamExt;
use wschat::chat::Moderation;
use wschat::cluster::engine::{EngineEvent, Publish};
use wschat::cluster::nats::{self, InitOptions, InitOutcome, ModerationStore, Written};
use wschat::cluster::options::EngineOptions;
use wschat::cluster::{StoredModeration, StreamName};
use wschat::feed::Position;

use crate::harness::{DEADLINE, until};
use crate::servers::{Servers, runtime};

const MANUAL: &str = include_str!("../../man/wschat.toml.5");

/// The permissions that the manual lists, for the room `lobby`: of a node, and of init.
fn permissions() -> [String; 2] {
    let blocks = MANUAL.split(".Bd -literal -offset indent\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n.Ed").next().unwrap());
    let found: Vec<_> = blocks
        .filter(|block| block.starts_with("publish: ["))
        .map(|block| block.replace("wschat", "lobby"))
        .collect();
    found.try_into().expect("two lists")
}

fn servers() -> Servers {
    let [node, init] = permissions();
    Servers::with_config(
        1,
        &format!(
            "authorization {{ users: [ {{ user: admin, password: p }}, \
             {{ user: node, password: p, permissions: {{ {node} }} }}, \
             {{ user: init, password: p, permissions: {{ {init} }} }} ] }}"
        ),
    )
}

fn options(servers: &Servers, user: &str) -> EngineOptions {
    EngineOptions {
        servers: vec![format!("nats://{user}:p@{}", servers.addresses()[0]).parse().unwrap()],
        stream: "lobby".parse().unwrap(),
        credentials: None,
        tls_ca_file: None,
        node: "a".parse().unwrap(),
        feed_tail_bytes: 1 << 22,
        message_bytes_max: 16_384,
    }
}

/// A bare client of this user, and how often the server has refused something.
async fn client(servers: &Servers, user: &str) -> (Client, Arc<AtomicUsize>) {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let connect = ConnectOptions::with_user_and_password(user.into(), "p".into())
        .custom_inbox_prefix("_INBOX.lobby")
        .event_callback(move |event| {
            if matches!(event, Event::ServerError(_)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            async {}
        });
    let client = connect.connect(servers.addresses()[0].to_string()).await.unwrap();
    (client, refused)
}

fn init_as(servers: &Servers, user: &str, is_update: bool) -> [InitOutcome; 2] {
    let init = InitOptions { replicas: Some(1), is_memory: false, max_bytes: None, is_update };
    let copied = Some(Moderation::default());
    let options = options(servers, user);
    let report = until("the stream is created", || {
        runtime().block_on(nats::init(&options, init, copied.clone())).ok()
    });
    report.parts.map(|(_, outcome)| outcome)
}

#[test]
fn a_node_and_init_need_no_other_permission() {
    let servers = servers();
    assert_eq!(init_as(&servers, "init", false), [InitOutcome::Created, InitOutcome::Created]);
    let unchanged = || InitOutcome::Unchanged(Vec::new());
    assert_eq!(init_as(&servers, "init", true), [unchanged(), unchanged()]);

    runtime().block_on(async {
        let mut engine = nats::start(options(&servers, "node"), None);
        let EngineEvent::Connected(connection) = engine.next_event(false).await.unwrap() else {
            panic!("it is not connected")
        };
        let records = 3_000;
        for number in 1..=records {
            let payload = Bytes::from(vec![b'x'; 10_000]);
            let mut publish = Publish { number, headers: Vec::new(), payload };
            // What is in flight is bounded.
            while let Err(waiting) = engine.publish(publish) {
                publish = waiting;
                tokio::task::yield_now().await;
            }
            // Flow control needs an answer of the node.
            let mut has = false;
            while !has {
                let event = tokio::time::timeout(DEADLINE, engine.next_event(false)).await;
                match event.expect("flow control has stopped the stream").unwrap() {
                    EngineEvent::Delivered(delivery) => has = delivery.position.sequence == number,
                    EngineEvent::Acknowledged { stored, .. } => assert!(stored.is_ok()),
                    EngineEvent::Heartbeat => {}
                    other => panic!("{other:?}"),
                }
            }
        }

        let client = engine.client().borrow().clone().unwrap();
        let room: StreamName = "lobby".parse().unwrap();
        let store = ModerationStore::new(jetstream::new(client.clone()), room.clone());
        let position = Position { created: connection.newest.created, sequence: 2 };
        let value = StoredModeration { position, moderation: Moderation::default() };
        assert_eq!(store.write(&value).await.unwrap(), Written::Stored);
        assert_eq!(store.read().await.unwrap().as_ref(), Some(&value));

        for subject in [room.presence_subject(), room.kick_subject()] {
            let mut heard = client.subscribe(subject.clone()).await.unwrap();
            client.publish(subject, "hello".into()).await.unwrap();
            assert_eq!(heard.next().await.unwrap().payload, "hello");
        }
    });
}

#[test]
fn init_names_the_permission_that_is_missing() {
    let servers = servers();
    init_as(&servers, "admin", false);
    let init = InitOptions { replicas: None, is_memory: false, max_bytes: None, is_update: false };
    let why = runtime().block_on(nats::init(&options(&servers, "node"), init, None)).unwrap_err();
    assert!(why.contains("Publish to \"$JS.API.STREAM.INFO.KV_lobby_moderation\""), "{why}");
}

#[test]
fn a_node_can_do_nothing_else() {
    let servers = servers();
    init_as(&servers, "admin", false);
    let runtime = runtime();
    runtime.block_on(async {
        let (client, refused) = client(&servers, "node").await;
        let refuses = [
            "other",
            "lobby.other",
            "$KV.other.state",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.CREATE.other",
            "$JS.API.STREAM.DELETE.lobby",
            "$JS.API.STREAM.PURGE.lobby",
            "$JS.API.STREAM.UPDATE.lobby",
            "$JS.API.STREAM.MSG.DELETE.lobby",
            "$JS.API.STREAM.DELETE.KV_lobby_moderation",
            "$JS.API.STREAM.PURGE.KV_lobby_moderation",
            "$JS.API.STREAM.INFO.other",
            "$JS.API.CONSUMER.CREATE.other",
            "$JS.FC.other.x",
            "_INBOX.other.x",
            "$SYS.REQ.SERVER.PING",
        ];
        for subject in refuses {
            client.publish_with_reply(subject, "_INBOX.lobby.x", "{}".into()).await.unwrap();
        }
        let subscriptions = [">", "other", "lobby", "_INBOX.>", "_INBOX.other.>", "$KV.>", "$JS.>"];
        for subject in subscriptions {
            // It is kept, so that the client does not unsubscribe.
            std::mem::forget(client.subscribe(subject).await.unwrap());
        }
        client.flush().await.unwrap();
        let want = refuses.len() + subscriptions.len();
        let start = std::time::Instant::now();
        while refused.load(Ordering::Relaxed) < want {
            assert!(start.elapsed() < DEADLINE, "{refused:?} of {want}");
            tokio::task::yield_now().await;
        }
    });
}
