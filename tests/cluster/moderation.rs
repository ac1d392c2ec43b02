//! The key-value bucket with the moderation.

use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use tokio::sync::{mpsc, watch};
use wschat::chat::{Actor, ModAction, Moderation, Target, Tim};
use wschat::cluster::nats::{
    History, KeeperEvent, ModerationKeeper, ModerationStore, StoreError, Written,
};
use wschat::cluster::{
    FoundModeration, STORED_BYTES_MAX, StoredModeration, StreamName, can_be_stored,
};
use wschat::feed::Position;

use crate::nodes::{Node, create_stream};
use crate::servers::{Servers, runtime, wait_for};

/// A value that counts up to this record, and has so many mutes.
fn value(created: u64, sequence: u64, mutes: usize) -> StoredModeration {
    let mutes: Vec<_> = (0..mutes)
        .map(|n| {
            let name = format!("{n:05}{}", "x".repeat(100));
            serde_json::json!({
                "target": { "Name": name }, "since_secs": sequence, "until_secs": null, "by": "uid 0"
            })
        })
        .collect();
    let json = serde_json::json!({ "locked": false, "slow_secs": sequence, "mutes": mutes });
    let moderation = serde_json::from_value(json).unwrap();
    StoredModeration { position: Position { created, sequence }, moderation }
}

/// Executes requests once.
fn with_engine(
    servers: &Servers,
    requests: impl AsyncFnOnce(Context) -> Result<(), async_nats::Error>,
) {
    let address = servers.addresses()[0].to_string();
    let done = runtime()
        .block_on(async { requests(jetstream::new(async_nats::connect(address).await?)).await });
    done.unwrap();
}

fn store(engine: Context) -> ModerationStore {
    ModerationStore::new(engine, StreamName::default())
}

#[test]
fn a_missing_bucket_says_what_to_do() {
    let servers = Servers::start(1);
    with_engine(&servers, async |engine| {
        let store = store(engine);
        let error = store.read().await.unwrap_err();
        assert!(matches!(error, StoreError::Missing(_)), "{error}");
        assert!(error.to_string().contains("wschat cluster init"), "{error}");
        assert!(store.write(&value(1, 1, 1)).await.is_err());
        Ok(())
    });
}

#[test]
fn values_are_written_in_the_order_of_the_log() {
    let servers = Servers::start(1);
    with_engine(&servers, async |engine| {
        let stream = Config { name: "wschat".into(), ..Config::default() };
        let stream = engine.create_stream(stream).await?;
        for _ in 0..9 {
            engine.publish("wschat", "".into()).await?.await?;
        }
        let created = u64::try_from(stream.cached_info().created.unix_timestamp_nanos()).unwrap();
        let store = store(engine.clone());
        for _ in 0..2 {
            store.create(1, StorageType::File, false).await?;
        }
        assert_eq!(store.read().await?, None);
        assert_eq!(store.history(|_| false).await?, History { values: Vec::new(), is_whole: true });

        // The copy of a room that was single counts from the beginning of the stream.
        assert!(store.copy(value(0, 0, 2).moderation).await?);
        assert!(!store.copy(value(0, 0, 3).moderation).await?);
        assert_eq!(store.read().await?, Some(value(0, 0, 2)));

        assert_eq!(store.write(&value(created, 5, 1)).await?, Written::Stored);
        for sequence in [1, 4, 5] {
            let kept = store.write(&value(created, sequence, 9)).await?;
            assert_eq!(kept, Written::Kept(value(created, 5, 1)));
        }
        assert_eq!(store.write(&value(created, 9, 1)).await?, Written::Stored);
        // The stream has lost the records up to which it counts.
        let lost =
            StoredModeration { position: Position { created, sequence: 10 }, ..value(0, 10, 1) };
        assert_eq!(store.write(&lost).await?, Written::Stored);
        assert_eq!(store.write(&value(created, 9, 1)).await?, Written::Stored);
        // A node that has not noticed yet that the stream was made anew.
        let kept = store.write(&value(created - 1, 100, 1)).await?;
        assert_eq!(kept, Written::Kept(value(created, 9, 1)));

        let History { values, is_whole } = store.history(|_| false).await?;
        assert!(is_whole);
        let places: Vec<_> = values.iter().map(|value| value.position.sequence).collect();
        assert_eq!(places, [0, 5, 9, 10, 9]);
        let History { values, is_whole } =
            store.history(|value| value.position.sequence < 9).await?;
        assert_eq!((values.len(), is_whole), (4, false));

        // What the tools of NATS delete is gone, and can be written again.
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        let subject = "$KV.wschat_moderation.state";
        engine.publish_with_headers(subject, headers, "".into()).await?.await?;
        assert_eq!(store.read().await?, None);
        assert_eq!(store.write(&value(created, 9, 1)).await?, Written::Stored);

        // What is not valid is replaced, but nothing starts with it.
        engine.publish(subject, "rubbish".into()).await?.await?;
        let error = store.read().await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(..)), "{error}");
        assert_eq!(store.write(&value(created, 3, 1)).await?, Written::Stored);
        engine.publish(subject, r#"{"version":2}"#.into()).await?.await?;
        let error = store.write(&value(created, 99, 1)).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("version 2") && !error.contains("nats kv del"), "{error}");
        assert!(store.history(|_| false).await.is_err());
        Ok(())
    });
}

#[test]
fn nodes_that_write_at_the_same_time_leave_the_newest_value() {
    let servers = Servers::start(3);
    with_engine(&servers, async |engine| {
        let stream = Config { name: "wschat".into(), ..Config::default() };
        engine.create_stream(stream).await?;
        let store = store(engine);
        store.create(3, StorageType::File, false).await?;
        let writes = (1..=20).map(|sequence| {
            let store = store.clone();
            async move { store.write(&value(7, sequence, 1)).await }
        });
        let written = futures_util::future::join_all(writes).await;
        let stored = written.into_iter().map(|written| written.unwrap() == Written::Stored);
        assert!(stored.filter(|stored| *stored).count() > 0);
        assert_eq!(store.read().await?, Some(value(7, 20, 1)));
        Ok(())
    });
}

#[test]
fn the_longest_value_can_be_stored_and_read() {
    let servers = Servers::start(1);
    with_engine(&servers, async |engine| {
        let store = store(engine);
        store.create(1, StorageType::Memory, false).await?;
        let mut count = 0;
        while value(7, 1, count + 100).to_json().len() <= STORED_BYTES_MAX {
            count += 100;
        }
        let long = value(7, 1, count);
        assert!(can_be_stored(&long.moderation, 1024 * 1024) && count > 4000);
        assert!(store.write(&long).await? == Written::Stored);
        assert!(store.read().await? == Some(long));
        let error = store.write(&value(7, 2, 9_000)).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLong(_)), "{error}");
        Ok(())
    });
}

#[test]
fn the_number_of_replicas_changes_when_it_is_asked_for() {
    let servers = Servers::start(3);
    with_engine(&servers, async |engine| {
        let store = store(engine.clone());
        let replicas = async || {
            let stream = engine.get_stream("KV_wschat_moderation").await.unwrap();
            stream.cached_info().config.num_replicas
        };
        store.create(1, StorageType::File, false).await?;
        store.create(3, StorageType::File, false).await?;
        assert_eq!(replicas().await, 1);
        store.create(3, StorageType::File, true).await?;
        assert_eq!(replicas().await, 3);
        Ok(())
    });
}

/// Used by the values above.
#[test]
fn values_are_those_of_the_room() {
    let mut moderation = Moderation::default();
    let slow = ModAction::Slow { secs: Some(5) };
    moderation.apply(&slow, &Actor::operator(0), Tim::default()).unwrap();
    assert_eq!(value(1, 5, 0).moderation, moderation);
    let mute = ModAction::Mute { target: Target::name("eve"), secs: None };
    moderation.apply(&mute, &Actor::operator(0), Tim::default()).unwrap();
    assert!(can_be_stored(&moderation, 1024 * 1024));
}

/// The keepers of nodes, without the rest of them.
#[test]
fn keepers_share_what_nodes_know() {
    let servers = Servers::start(1);
    with_engine(&servers, async |engine| {
        let (client, clients) = watch::channel(None);
        let stream = Config { name: "wschat".into(), ..Config::default() };
        engine.create_stream(stream).await?;
        let keeper = |place| {
            let (newest, known) = watch::channel(None);
            let (_, wanted) = watch::channel((1, Some(place)));
            let (sender, events) = mpsc::channel(8);
            let keeper = ModerationKeeper {
                room: StreamName::default(),
                client: clients.clone(),
                local: value(0, 4, 2).moderation,
                wanted,
                newest: known,
                events: sender,
            };
            tokio::spawn(keeper.run());
            (newest, events)
        };
        let place = |sequence| Position { created: 7, sequence };
        let (newest, mut events) = keeper(place(0));
        client.send_replace(Some(engine.client()));
        // Without a bucket nothing is known, until it is there.
        let why = match events.recv().await {
            Some(KeeperEvent::Failed { number: 1, why }) => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(why.contains("wschat cluster init"), "{why}");
        let store = store(engine.clone());
        store.create(1, StorageType::Memory, false).await?;
        // The first node gives what it has.
        let read = |place, start, later| {
            let found = FoundModeration { start, later, ..FoundModeration::default() };
            Some(KeeperEvent::Read { number: 1, place, found })
        };
        let local = StoredModeration { position: place(0), ..value(0, 4, 2) };
        let copied = StoredModeration { position: Position::default(), ..local.clone() };
        let event = loop {
            match events.recv().await {
                Some(KeeperEvent::Failed { .. }) => {}
                event => break event,
            }
        };
        assert_eq!(event, read(place(0), local, Vec::new()));
        assert_eq!(store.read().await?, Some(copied));

        // A node that starts gets what the other one has stored.
        let written = async |sequence| loop {
            // Rubbish is no value.
            let stored = store.read().await.unwrap_or_default();
            if stored.is_some_and(|stored| stored.position.sequence == sequence) {
                break;
            }
            tokio::task::yield_now().await;
        };
        for sequence in [1, 2] {
            newest.send_replace(Some(value(7, sequence, 1)));
            written(sequence).await;
        }
        let (newest_too, mut events_too) = keeper(place(1));
        let event = events_too.recv().await;
        assert_eq!(event, read(place(1), value(7, 1, 1), vec![value(7, 2, 1)]));

        // Who knows less is told what is stored; who knows more stores it.
        newest_too.send_replace(Some(value(7, 1, 1)));
        assert_eq!(events_too.recv().await, Some(KeeperEvent::Found(value(7, 2, 1))));
        newest_too.send_replace(Some(value(7, 3, 1)));
        written(3).await;

        // The timer repairs what was deleted.
        engine.publish("$KV.wschat_moderation.state", "rubbish".into()).await?.await?;
        written(3).await;
        Ok(())
    });
}

/// Nobody may speak before it is known who may not.
#[test]
fn a_node_waits_for_the_bucket_and_says_why() {
    let mut servers = Servers::start(1);
    create_stream(&servers, "");
    servers.delete("KV_room_moderation");
    let node = Node::start(&servers, 0, "");
    let reason = || node.status()["cluster"]["reason"].as_str().unwrap_or_default().to_owned();
    wait_for("it says why", || reason().contains("wschat cluster init").then_some(()));
    assert!(!node.is_connected());
    create_stream(&servers, "");
    node.wait_until_connected();

    servers.kill(0);
    let node = Node::start(&servers, 1, "");
    let reason = || node.status()["cluster"]["reason"].as_str().unwrap_or_default().to_owned();
    wait_for("it says why", || (reason() != "not connected yet").then_some(()));
    assert!(!reason().contains("bucket"), "{}", reason());
    servers.restart(0);
    node.wait_until_connected();
}
