//! What nodes tell each other by the core of NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use wschat::cluster::nats::PresenceTask;
use wschat::cluster::{ClusterState, KickAnswer, KickTotal, Kicks, NodeProcess, StreamName};
use wschat::feed::Position;

use crate::harness::{Daemon, until};
use crate::nodes::{self, Cluster, create_stream};
use crate::servers::{Servers, runtime, wait_for};

/// The presence of a node, without the rest of it.
struct Node {
    state: Arc<ClusterState>,
    kicks: Arc<Kicks>,
    listeners: Arc<AtomicU64>,
    /// The listeners of the others, as it was told.
    elsewhere: Arc<AtomicU64>,
    client: watch::Sender<Option<Client>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(runtime: &Runtime, room: &str, name: &str, incarnation: u64) -> Self {
        let stream: StreamName = room.parse().unwrap();
        let state = Arc::new(ClusterState::new(&stream, &name.parse().unwrap(), incarnation));
        let (kicks, answers) = Kicks::new();
        let (kicks, listeners) = (Arc::new(kicks), Arc::new(AtomicU64::new(0)));
        let (client, clients) = watch::channel(None);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = PresenceTask {
            stream,
            client: clients,
            state: Arc::clone(&state),
            kicks: Arc::clone(&kicks),
            answers,
        };
        let (count, elsewhere) = (Arc::clone(&listeners), Arc::new(AtomicU64::new(0)));
        let told = Arc::clone(&elsewhere);
        let task = runtime.spawn(task.run(
            move || count.load(Ordering::Relaxed),
            move |listeners| told.store(listeners, Ordering::Relaxed),
            async move { drop(stopped.await) },
        ));
        Self { state, kicks, listeners, elsewhere, client, stop, task }
    }

    fn connect(&self, runtime: &Runtime, servers: &Servers) {
        let client = runtime.block_on(async_nats::connect(servers.addresses()[0].to_string()));
        self.client.send_replace(Some(client.unwrap()));
    }

    /// Names and listeners.
    fn sees(&self) -> Vec<(String, u64)> {
        let nodes = self.state.status().nodes.into_iter();
        nodes.map(|node| (node.name, node.listeners)).collect()
    }
}

/// Lets the tasks go on until `condition` returns a value.
fn wait<T>(runtime: &Runtime, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    until(what, || {
        // The tasks run only while the runtime is polled.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        condition()
    })
}

fn seen(nodes: &[(&str, u64)]) -> Vec<(String, u64)> {
    nodes.iter().map(|(name, listeners)| ((*name).to_owned(), *listeners)).collect()
}

#[test]
fn nodes_see_each_other_until_they_stop() {
    let servers = Servers::start(1);
    let runtime = runtime();
    let [a, b] = ["a", "b"].map(|name| Node::start(&runtime, "wschat", name, 1));
    let other_room = Node::start(&runtime, "other", "c", 1);
    a.listeners.store(10, Ordering::Relaxed);
    b.listeners.store(20, Ordering::Relaxed);
    // Without a connection a node knows of itself.
    wait(&runtime, "it sees itself", || (a.sees() == seen(&[("a", 10)])).then_some(()));
    [&a, &b, &other_room].into_iter().for_each(|node| node.connect(&runtime, &servers));
    for node in [&a, &b] {
        wait(&runtime, "they see each other", || {
            (node.sees() == seen(&[("a", 10), ("b", 20)])).then_some(())
        });
        assert_eq!(node.state.status().listeners_total(), 30);
    }
    b.listeners.store(21, Ordering::Relaxed);
    wait(&runtime, "the new number", || (a.sees() == seen(&[("a", 10), ("b", 21)])).then_some(()));

    wait(&runtime, "a is told the number of b", || {
        (a.elsewhere.load(Ordering::Relaxed) == 21).then_some(())
    });

    // Messages of somebody else are counted.
    servers.ask(async |engine| {
        engine.client().publish("wschat.presence", "nonsense".into()).await?;
        Ok(engine.client().flush().await?)
    });
    wait(&runtime, "it is counted", || (a.state.status().bad_presence == 1).then_some(()));

    // One that stops says so.
    let _entered = runtime.enter();
    let address = servers.addresses()[0].to_string();
    let mut told = runtime.block_on(async {
        let client = async_nats::connect(address).await.unwrap();
        let mut told = client.subscribe("wschat.presence").await.unwrap();
        // The server has the subscription when it delivers what follows it.
        client.publish("wschat.presence", "probe".into()).await.unwrap();
        while told.next().await.unwrap().payload != "probe" {}
        told
    });
    b.stop.send(()).unwrap();
    runtime.block_on(b.task).unwrap();
    wait(&runtime, "it says that it stops", || {
        let message = runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(100), told.next()).await
        });
        let told: Value = serde_json::from_slice(&message.ok()??.payload).unwrap();
        (told["node"] == "b" && told["stops"] == true).then_some(())
    });
    wait(&runtime, "it is gone", || (a.sees() == seen(&[("a", 10)])).then_some(()));
    wait(&runtime, "so are its listeners", || {
        (a.elsewhere.load(Ordering::Relaxed) == 0).then_some(())
    });
    assert_eq!(other_room.sees(), seen(&[("c", 0)]), "two rooms on one engine share nothing");
}

#[test]
fn a_kick_is_answered_by_all_nodes() {
    let servers = Servers::start(1);
    let runtime = runtime();
    let [a, b, c] = ["a", "b", "c"].map(|name| Node::start(&runtime, "wschat", name, 1));
    for node in [&a, &b, &c] {
        node.connect(&runtime, &servers);
    }
    wait(&runtime, "a sees all", || (a.sees().len() == 3).then_some(()));
    let at = |sequence| Position { created: 1, sequence };
    let answer = |node: &Node, sequence, closed| {
        let process = node.state.process().clone();
        node.kicks.answer(KickAnswer {
            position: at(sequence),
            process,
            closed,
            kicked: Vec::new(),
        });
    };
    let total =
        |sequence, nodes: &[NodeProcess]| runtime.block_on(a.kicks.total(at(sequence), nodes));
    let nodes = a.state.processes();
    assert_eq!(nodes.len(), 3);

    answer(&a, 1, 1);
    answer(&b, 1, 2);
    answer(&c, 1, 0);
    assert_eq!(total(1, &nodes), KickTotal { closed: 3, silent: 0 });

    answer(&a, 2, 1);
    answer(&b, 2, 2);
    assert_eq!(total(2, &nodes), KickTotal { closed: 3, silent: 1 });

    servers.ask(async |engine| {
        engine.client().publish("wschat.kick", "nonsense".into()).await?;
        Ok(engine.client().flush().await?)
    });
    wait(&runtime, "it is counted", || (a.state.status().bad_presence == 1).then_some(()));
}

/// The exit code of a command, and what it prints.
fn run(node: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    let out = node.command(words).output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

#[test]
fn a_kick_says_how_many_nodes_did_not_answer() {
    let cluster = Cluster::start(1, 3);
    let [one, two, three] = &cluster.nodes[..] else { unreachable!() };
    let known = |count| {
        let nodes = one.status()["cluster"]["nodes"].as_array().unwrap().len();
        (nodes == count).then_some(())
    };
    wait_for("all nodes are known", || known(3));
    let mut bob = two.daemon.connect();
    bob.say("bob", "hi");
    assert_eq!(bob.hear(), "hi");
    let (code, text) = run(&one.daemon, &["kick", "nobody"]);
    assert_eq!((code, text.as_str()), (Some(1), "\"nobody\" is not connected\n"));
    three.relay.cut();
    let (code, text) = run(&one.daemon, &["kick", "bob"]);
    let want = "kicked \"bob\", connections: 1, nodes that did not answer: 1\n";
    assert_eq!((code, text.as_str()), (Some(0), want));
    assert_eq!(bob.closed().1, 1008);
}

#[test]
fn listeners_are_told_the_number_of_the_whole_room() {
    let cluster = Cluster::start(1, 2);
    let [one, two] = &cluster.nodes[..] else { unreachable!() };
    let mut client = one.daemon.connect();
    let mut others = [(); 3].map(|()| two.daemon.connect());
    while client.presence()["listeners"] != 4 {}
    while others[0].presence()["listeners"] != 4 {}
    let output = one.daemon.command(&["lock"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    while others[1].presence()["locked"] != true {}
    drop(client);
    while others[2].presence()["listeners"] != 3 {}
}

#[test]
fn two_nodes_of_one_name_are_told_apart() {
    let servers = Servers::start(1);
    create_stream(&servers, "");
    let nodes = [7, 7, 8].map(|number| nodes::Node::start(&servers, number, ""));
    let line = "more than one node has the name node-7";
    wait_for("it is noticed", || {
        nodes.iter().all(|it| it.daemon.log().contains(line)).then_some(())
    });
    for node in &nodes {
        let status = node.status();
        let seen = status["cluster"]["nodes"].as_array().unwrap().iter();
        let seen: Vec<_> = seen.map(|it| (it["name"].clone(), it["has_twin"].clone())).collect();
        let of = |name: &str, has_twin: bool| (json!(name), json!(has_twin));
        assert_eq!(seen, [of("node-7", true), of("node-7", true), of("node-8", false)]);
        assert_eq!(node.daemon.log().matches(line).count(), 1, "one line");
    }
}
