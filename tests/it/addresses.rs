//! What one address may have open, and open in a second.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::handover::Manager;
use crate::harness::{DEADLINE, Daemon, Setup, UPGRADE, until};

/// Two addresses of this machine.
const ANN: &str = "127.0.0.2";
const BOB: &str = "127.0.0.3";

/// Asks for a WebSocket from that address; gives back the head of the answer.
fn ask(daemon: &Daemon, from: &str) -> (TcpStream, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&daemon.addr.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = upgrade(&mut stream, "");
    (stream, head)
}

fn upgrade(stream: &mut (impl Read + Write), headers: &str) -> String {
    let request = UPGRADE.trim_end().to_owned() + "\r\n" + headers + "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn is_in(head: &str) -> bool {
    assert!(head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 429 "), "{head}");
    head.starts_with("HTTP/1.1 101 ")
}

/// Connections from `from` until one is refused, no more than `most`.
fn fill(daemon: &Daemon, from: &str, most: usize) -> Vec<TcpStream> {
    let tries = (0..most).map(|_| ask(daemon, from));
    tries.take_while(|(_, head)| is_in(head)).map(|(stream, _)| stream).collect()
}

/// How many connections were refused for that reason.
fn refused(daemon: &Daemon, why: &str) -> u64 {
    let out = daemon.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    status["refused_connections"][why].as_u64().unwrap()
}

#[test]
fn an_address_has_so_many_connections_over_all_shards() {
    let daemon = Daemon::start("limits.connections_per_address_max = 5\n[server]\nthreads = 3\n");
    let mut ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 5);
    let (_, head) = ask(&daemon, ANN);
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
    assert!(head.contains("\r\nretry-after: 10\r\n"), "{head}");
    assert_eq!(fill(&daemon, BOB, 5).len(), 5, "another address is not concerned");

    // However a connection ends, it makes room for one: by a FIN, by a close
    // frame, by a broken rule.
    for farewell in [&b""[..], &[0x88, 0x80, 0, 0, 0, 0], &[0xff; 16]] {
        let mut leaving = ann.pop().unwrap();
        leaving.write_all(farewell).unwrap();
        if !farewell.is_empty() {
            leaving.read_to_end(&mut Vec::new()).unwrap();
        }
        drop(leaving);
        ann.push(until("a place", || {
            let (stream, head) = ask(&daemon, ANN);
            is_in(&head).then_some(stream)
        }));
        assert!(!is_in(&ask(&daemon, ANN).1));
    }
    let count = refused(&daemon, "address-full");
    assert!(count >= 5, "{count}");
    let out = daemon.command(&["metrics"]).output().unwrap();
    let metrics = String::from_utf8(out.stdout).unwrap();
    let line = format!("\nwschat_refused_connections_total{{reason=\"address-full\"}} {count}\n");
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn who_finds_no_place_has_used_nothing_up() {
    // Five connections at once, and then none for long.
    let limits = "limits.connections_per_address_max = 1\n\
        limits.connects_per_address_per_sec = 1\n";
    let daemon = Daemon::start(limits);
    let ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 1);
    (0..5).for_each(|_| assert!(!is_in(&ask(&daemon, ANN).1)));
    assert_eq!(refused(&daemon, "address-rate"), 0);
    drop(ann);
    let _ann = until("a place", || {
        let (stream, head) = ask(&daemon, ANN);
        is_in(&head).then_some(stream)
    });
    assert_eq!(refused(&daemon, "address-rate"), 0);
}

#[test]
fn a_reload_counts_those_who_are_there() {
    let daemon = Daemon::start("server.threads = 2");
    let mut ann = fill(&daemon, ANN, 10);
    assert_eq!(ann.len(), 10);
    let three = "limits.connections_per_address_max = 3\nserver.threads = 2\n";
    daemon.reload(three);
    until("the bound", || (!is_in(&ask(&daemon, ANN).1)).then_some(()));
    // They stay, and count, as soon as their shard has looked after them.
    ann.truncate(3);
    until("the count of all of them", || (!is_in(&ask(&daemon, ANN).1)).then_some(()));
    ann.truncate(2);
    until("a place", || is_in(&ask(&daemon, ANN).1).then_some(()));

    daemon.reload("server.threads = 2");
    ann.extend(fill(&daemon, ANN, 10));
    assert_eq!(ann.len(), 12);
    // Nobody is left in the count from before.
    ann.truncate(1);
    daemon.reload(three);
    until("two places", || (fill(&daemon, ANN, 3).len() == 2).then_some(()));
}

#[test]
fn who_was_handed_over_counts() {
    let manager = Manager::with_config("limits.connections_per_address_max = 2\n");
    let daemon = manager.start(None);
    let mut ann = fill(&daemon, ANN, 9);
    assert_eq!(ann.len(), 2);
    let daemon = manager.restart(daemon);
    until("the count", || (!is_in(&ask(&daemon, ANN).1)).then_some(()));
    ann.pop();
    until("a place", || is_in(&ask(&daemon, ANN).1).then_some(()));
    assert!(refused(&daemon, "address-full") > 1, "those before the restart, too");
}

#[test]
fn an_address_opens_so_many_in_a_second() {
    // Slow enough that no machine takes a second for the burst.
    let daemon = Daemon::start("limits.connects_per_address_per_sec = 1");
    let first = fill(&daemon, ANN, 100);
    assert!((5..100).contains(&first.len()), "{}", first.len());
    // Going and coming back is no way around it.
    drop(first);
    let head = until("a refusal", || Some(ask(&daemon, ANN).1).filter(|head| !is_in(head)));
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert_eq!(fill(&daemon, BOB, 5).len(), 5);
    until("the next second", || is_in(&ask(&daemon, ANN).1).then_some(()));
    assert!(refused(&daemon, "address-rate") >= 2);
    daemon.reload("");
    assert_eq!(fill(&daemon, ANN, 20).len(), 20);
}

#[test]
fn behind_a_proxy_it_is_the_address_of_the_client() {
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
    let mut ask = |client: &str, want: bool| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = upgrade(&mut stream, &format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(is_in(&head), want, "{client}");
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
        ask(client, want);
    }
    // Those whom no proxy names are together one.
    daemon.reload(&config("[]"));
    ask("192.0.2.9", true);
    ask("192.0.2.10", false);
}

#[test]
fn foreign_pages_full_rooms_and_late_guests_are_counted() {
    let daemon = Daemon::start(
        "limits.connections_max = 1\nlimits.handshake_timeout_secs = 1\n\
         listen.origins = ['https://chat.example']\n",
    );
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    assert!(upgrade(&mut stream, "Origin: https://evil.example\r\n").contains(" 403 "));
    let (_kept, head) = ask(&daemon, ANN);
    assert!(is_in(&head));
    assert!(daemon.http(UPGRADE).starts_with("HTTP/1.1 503 "));
    let mut late = TcpStream::connect(daemon.addr).unwrap();
    late.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap_or(0), 0);
    let counts = ["origin", "full", "late", "address-full"].map(|why| refused(&daemon, why));
    assert_eq!(counts, [1, 1, 1, 0]);
    let out = daemon.command(&["status"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("\nturned away  3: full 1, late 1, origin 1\n"), "{text}");
}
