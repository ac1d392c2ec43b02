//! nginx and HAProxy in front of three nodes, as in `packaging/examples/`.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::followers::Follower;
use crate::harness::Daemon;
use crate::nodes::{Cluster, Node};
use crate::outcomes::{check_told, check_with_gaps};
use crate::proxy::Proxy;
use crate::senders::{By, Outcome, Sender, Told};
use crate::servers::wait_for;

/// More lines of a node, which trusts the proxy.
const TRUST: &str = "[listen]\ntrusted_proxies = ['127.0.0.1']\n";

const LISTENERS: usize = 12;
const RESTARTS: usize = 3;

#[test]
fn clients_move_to_another_node_through_nginx() {
    clients_move(Proxy::nginx_cluster);
}

#[test]
fn clients_move_to_another_node_through_haproxy() {
    clients_move(Proxy::haproxy_cluster);
}

/// A node restarts, and its clients stay. Another one is gone, and its clients come back at the
/// others and miss nothing.
fn clients_move(proxy: impl Fn([SocketAddr; 3]) -> Proxy) {
    let mut cluster = Cluster::with_limits(1, 3, TRUST);
    let crowd = cluster.crowd(0, 1);
    let nodes: [SocketAddr; 3] = cluster.addresses().try_into().unwrap();
    let proxy = proxy(nodes);
    post_with_tls(&proxy);
    let follow = |number| {
        let follower = Follower::start(&[proxy.plain()], number, 0, "the end");
        // One after the other: the proxy counts the connections of its threads a moment later.
        wait_for("it listens, and one of the crowd", || {
            let all: usize = cluster.nodes.iter().map(listeners).sum();
            (all == number + 2).then_some(())
        });
        follower
    };
    let followers: Vec<_> = (0..LISTENERS).map(follow).collect();
    // The crowd has a listener on the first node; it is not connected through the proxy.
    for (number, node) in cluster.nodes.iter().enumerate() {
        let count = LISTENERS / 3 + usize::from(number == 0);
        wait_for("each node has as many listeners", || (listeners(node) == count).then_some(()));
    }
    let senders = Senders::start(proxy.plain());
    senders.wait_for_sent(100);
    for _ in 0..RESTARTS {
        cluster.nodes[0].restart();
        senders.wait_for_sent(50);
    }
    assert!(followers.iter().all(|follower| follower.moves() == 0));
    assert_eq!(senders.broken_websockets(), 0);

    drop(cluster.nodes.remove(1));
    wait_for("they come back", || {
        let moved = followers.iter().filter(|follower| follower.moves() == 1).count();
        (moved == LISTENERS / 3).then_some(())
    });
    senders.wait_for_sent(100);
    let told = senders.end();
    cluster.say(0, "the end");
    let (all, gaps) = check_with_gaps(&[crowd.texts_up_to("the end")]);
    assert_eq!(gaps, [0]);
    let [sent, refused, unknown] = check_told(&all, &told);
    assert!(sent >= 350, "{sent}");
    // A node that stops refuses what it has received and cannot handle any more by POST.
    assert!(refused <= RESTARTS * Senders::COUNT / 2, "{refused}");
    // Each sender has lost at most what was on its way to the node that is gone; one by POST also
    // what the proxy sent on a connection that a restart closed at that moment.
    assert!(unknown <= Senders::COUNT + RESTARTS * Senders::COUNT / 2, "{unknown}");
    for follower in followers {
        follower.check(&all);
    }
}

/// The proxy tries another node if one does not accept the connection.
#[test]
fn a_node_that_does_not_answer_loses_no_message() {
    let daemon = Daemon::start(&format!("limits.messages_per_sec = 0\n{TRUST}"));
    let silent = [Silent::new(), Silent::new()];
    let nodes = [silent[0].address, silent[1].address, daemon.addr];
    for proxy in [Proxy::nginx_cluster(nodes), Proxy::haproxy_cluster(nodes)] {
        for _ in 0..6 {
            // Each on a new connection, so that the proxy chooses a node.
            let told = Sender::connect(proxy.plain(), By::Post, "ann").say("hello");
            assert!(matches!(told.outcome, Outcome::Sent(_)), "{told:?}");
        }
    }
}

fn listeners(node: &Node) -> usize {
    node.status()["listeners"].as_u64().unwrap() as usize
}

/// Sends a message with curl.
fn post_with_tls(proxy: &Proxy) {
    let body = r#"{"usr":"curl","msg":"by TLS"}"#;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--insecure", "--data", body]);
    command.args(["--header", "Content-Type: application/json", &proxy.url("/")]);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

/// Senders that connect again when their connection has ended.
struct Senders {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<Vec<Told>>>,
}

#[derive(Default)]
struct Shared {
    has_ended: AtomicBool,
    sent: AtomicUsize,
    broken_websockets: AtomicUsize,
}

impl Senders {
    const COUNT: usize = 6;

    fn start(to: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let threads = (0..Self::COUNT).map(|number| {
            let shared = Arc::clone(&shared);
            let by = if number % 2 == 0 { By::WebSocket } else { By::Post };
            thread::spawn(move || speak(to, by, &format!("s{number}"), &shared))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    fn wait_for_sent(&self, more: usize) {
        let before = self.shared.sent.load(Ordering::Relaxed);
        wait_for("messages are sent", || {
            (self.shared.sent.load(Ordering::Relaxed) >= before + more).then_some(())
        });
    }

    fn broken_websockets(&self) -> usize {
        self.shared.broken_websockets.load(Ordering::Relaxed)
    }

    fn end(self) -> Vec<Told> {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn speak(to: SocketAddr, by: By, usr: &str, shared: &Shared) -> Vec<Told> {
    let (mut told, mut sender) = (Vec::new(), None);
    let is_websocket = by == By::WebSocket;
    while !shared.has_ended.load(Ordering::Relaxed) {
        let Some(connected) = &mut sender else {
            sender = Sender::try_connect(to, by, usr).ok();
            continue;
        };
        let msg = format!("{} of {usr}", told.len());
        let one = connected.try_say(&msg).unwrap_or_else(|(after, _)| {
            sender = None;
            shared.broken_websockets.fetch_add(usize::from(is_websocket), Ordering::Relaxed);
            Told { usr: usr.to_owned(), msg, outcome: Outcome::Unknown, after }
        });
        if let Outcome::Sent(_) = one.outcome {
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        told.push(one);
        thread::sleep(Duration::from_millis(20));
    }
    told
}

/// An address at which no connection is accepted and none is refused, like that of a machine
/// without power.
struct Silent {
    address: SocketAddr,
    _socket: Socket,
    /// It fills the queue of the socket.
    _first: TcpStream,
}

impl Silent {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let first = TcpStream::connect(address).unwrap();
        Self { address, _socket: socket, _first: first }
    }
}
