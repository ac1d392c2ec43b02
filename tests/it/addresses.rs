//! The limits of one address: open connections, and new ones per second.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::harness::{DEADLINE, Daemon, Setup, UPGRADE, until};
use crate::manager::Manager;

/// Two addresses of this machine.
const ANN: &str = "127.0.0.2";
const BOB: &str = "127.0.0.3";

/// Sends a handshake from that address; returns the head of the response.
fn connect(daemon: &Daemon, from: &str) -> (TcpStream, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&daemon.addr.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = upgrade(&mut stream, "");
    (stream, head)
}

fn upgrade(stream: &mut (impl Read + Write), fields: &str) -> String {
    let request = UPGRADE.trim_end().to_owned() + "\r\n" + fields + "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn is_admitted(head: &str) -> bool {
    assert!(head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 429 "), "{head}");
    head.starts_with("HTTP/1.1 101 ")
}

/// Opens connections from `from` until one is rejected, at most `most`.
fn fill(daemon: &Daemon, from: &str, most: usize) -> Vec<TcpStream> {
    let tries = (0..most).map(|_| connect(daemon, from));
    tries.take_while(|(_, head)| is_admitted(head)).map(|(stream, _)| stream).collect()
}

/// The number of connections that were rejected for that reason.
fn rejected(daemon: &Daemon, reason: &str) -> u64 {
    let out = daemon.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    status["refused_connections"][reason].as_u64().unwrap()
}

#[test]
fn the_connections_of_an_address_are_limited_over_all_shards() {
    let daemon = Daemon::start("limits.connections_per_address_max = 5\n[server]\nthreads = 3\n");
    let mut ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 5);
    let (_, head) = connect(&daemon, ANN);
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
    assert!(head.contains("\r\nretry-after: 10\r\n"), "{head}");
    assert_eq!(fill(&daemon, BOB, 5).len(), 5, "each address has its own limit");

    // Each end of a connection frees a permit: FIN, close frame, protocol error.
    for end in [&b""[..], &[0x88, 0x80, 0, 0, 0, 0], &[0xff; 16]] {
        let mut leaving = ann.pop().unwrap();
        leaving.write_all(end).unwrap();
        if !end.is_empty() {
            leaving.read_to_end(&mut Vec::new()).unwrap();
        }
        drop(leaving);
        ann.push(until("a permit", || {
            let (stream, head) = connect(&daemon, ANN);
            is_admitted(&head).then_some(stream)
        }));
        assert!(!is_admitted(&connect(&daemon, ANN).1));
    }
    let count = rejected(&daemon, "address-full");
    assert!(count >= 5, "{count}");
    let out = daemon.command(&["metrics"]).output().unwrap();
    let metrics = String::from_utf8(out.stdout).unwrap();
    let line = format!("\nwschat_refused_connections_total{{reason=\"address-full\"}} {count}\n");
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn a_rejected_connection_is_not_charged_to_the_rate() {
    // The rate allows five connections at once, and then none for long.
    let limits = "limits.connections_per_address_max = 1\n\
        limits.connects_per_address_per_sec = 1\n";
    let daemon = Daemon::start(limits);
    let ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 1);
    (0..5).for_each(|_| assert!(!is_admitted(&connect(&daemon, ANN).1)));
    assert_eq!(rejected(&daemon, "address-rate"), 0);
    drop(ann);
    let _ann = until("a permit", || {
        let (stream, head) = connect(&daemon, ANN);
        is_admitted(&head).then_some(stream)
    });
    assert_eq!(rejected(&daemon, "address-rate"), 0);
}

#[test]
fn a_new_limit_counts_open_connections() {
    let daemon = Daemon::start("server.threads = 2");
    let mut ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 10);
    let three = "limits.connections_per_address_max = 3\nserver.threads = 2\n";
    daemon.reload(three);
    until("the bound", || (!is_admitted(&connect(&daemon, ANN).1)).then_some(()));
    // They stay open, and count as soon as their shard has applied the limit.
    ann.truncate(3);
    until("the count of all of them", || (!is_admitted(&connect(&daemon, ANN).1)).then_some(()));
    ann.truncate(2);
    until("a permit", || is_admitted(&connect(&daemon, ANN).1).then_some(()));

    daemon.reload("server.threads = 2");
    ann.extend(fill(&daemon, ANN, 10));
    assert_eq!(ann.len(), 12);
    // The count from before is gone.
    ann.truncate(1);
    daemon.reload(three);
    until("two permits", || (fill(&daemon, ANN, 3).len() == 2).then_some(()));
}

#[test]
fn connections_that_were_handed_over_count() {
    let manager = Manager::with_config("limits.connections_per_address_max = 2\n");
    let daemon = manager.start();
    let mut ann = fill(&daemon, ANN, 9);
    assert_eq!(ann.len(), 2);
    let daemon = manager.restart(daemon);
    until("the count", || (!is_admitted(&connect(&daemon, ANN).1)).then_some(()));
    ann.pop();
    until("a permit", || is_admitted(&connect(&daemon, ANN).1).then_some(()));
    assert!(rejected(&daemon, "address-full") > 1, "the counter continues after the restart");
}

#[test]
fn new_connections_per_second_are_limited() {
    // Slow enough that no machine takes a second for the burst.
    let daemon = Daemon::start("limits.connects_per_address_per_sec = 1");
    let first = fill(&daemon, ANN, 100);
    assert!((5..100).contains(&first.len()), "{}", first.len());
    // Closing connections does not help.
    drop(first);
    let head =
        until("a rejection", || Some(connect(&daemon, ANN).1).filter(|head| !is_admitted(head)));
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert_eq!(fill(&daemon, BOB, 5).len(), 5);
    until("the next second", || is_admitted(&connect(&daemon, ANN).1).then_some(()));
    assert!(rejected(&daemon, "address-rate") >= 2);
    daemon.reload("");
    assert_eq!(fill(&daemon, ANN, 20).len(), 20);
}

#[test]
fn behind_a_proxy_the_limits_are_those_of_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    let config = |proxies: &str| {
        format!(
            "limits.connections_per_address_max = 1\n[listen]\naddresses = ['unix:{}']\n\
             trusted_proxies = {proxies}\n",
            path.display()
        )
    };
    let daemon = Setup::new(&config("['unix']")).without_listen().start();
    let mut kept = Vec::new();
    let mut connect = |client: &str, want: bool| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = upgrade(&mut stream, &format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(is_admitted(&head), want, "{client}");
        kept.push(stream);
    };
    for (client, want) in [
        ("192.0.2.7", true),
        ("192.0.2.7", false),
        ("192.0.2.8", true),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("2001:db8:0:1::2", true),
    ] {
        connect(client, want);
    }
    // Without a trusted proxy, all clients of the Unix socket count as one.
    daemon.reload(&config("[]"));
    connect("192.0.2.9", true);
    connect("192.0.2.10", false);
}

#[test]
fn rejections_are_counted_by_reason() {
    let daemon = Daemon::start(
        "limits.connections_max = 1\nlimits.handshake_timeout_secs = 1\n\
         listen.origins = ['https://chat.example']\n",
    );
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    assert!(upgrade(&mut stream, "Origin: https://evil.example\r\n").contains(" 403 "));
    let (_kept, head) = connect(&daemon, ANN);
    assert!(is_admitted(&head));
    assert!(daemon.http(UPGRADE).starts_with("HTTP/1.1 503 "));
    let mut late = TcpStream::connect(daemon.addr).unwrap();
    late.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap_or(0), 0);
    let counts = ["origin", "full", "late", "address-full"].map(|reason| rejected(&daemon, reason));
    assert_eq!(counts, [1, 1, 1, 0]);
    let out = daemon.command(&["status"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("\nturned away  3: full 1, late 1, origin 1\n"), "{text}");
}
