//! The log lines about clients that are refused or disconnected.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{DEADLINE, Daemon, UPGRADE, until};

const SECRET: &str = "auth.jwt_secret = 'a secret that is longer than 32 bytes'\n";
/// What a client sends to have somebody else blamed, wherever it can write something.
const FORGED: &str = "refused a message from 192.0.2.9, id 1: rate-limited";

/// The lines about clients, without time and level.
fn lines(log: &str) -> Vec<&str> {
    let texts = log.lines().filter_map(|line| Some(line.split_once(" INFO ")?.1));
    texts.filter(|text| ["refused a ", "closed a "].iter().any(|it| text.starts_with(it))).collect()
}

/// How many events the lines are about.
fn events(lines: &[&str]) -> usize {
    let more = |line: &&str| {
        let (_, count) = line.rsplit_once(", and ")?;
        count.strip_suffix(" more events of this address")?.parse::<usize>().ok()
    };
    lines.len() + lines.iter().filter_map(more).sum::<usize>()
}

/// Sends an upgrade request with further header fields. Returns the response.
fn upgrade(daemon: &Daemon, fields: &str) -> String {
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{}\r\n{fields}\r\n", UPGRADE.trim_end()).as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_flood_has_a_line_a_second_and_every_event_is_counted() {
    let daemon = Daemon::start("limits.messages_per_sec = 1\n");
    let mut ann = daemon.connect();
    (0..200).for_each(|number| ann.say("ann", &format!("message {number}")));
    let refused = until("all are handled", || {
        let out = daemon.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&out.stdout).unwrap();
        let refused = status["refused"]["rate-limited"].as_u64().unwrap();
        (status["messages"].as_u64().unwrap() + refused == 200).then_some(refused as usize)
    });
    // A flood of requests from the same address counts with it.
    for _ in 0..20 {
        assert!(daemon.http("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.ends_with();
    let lines = lines(&log);
    assert!(lines[0].starts_with("refused a message from 127.0.0.1, id "), "{log}");
    assert!(lines[0].ends_with(": rate-limited"), "{log}");
    assert!(lines.len() < refused, "{log}");
    assert_eq!(events(&lines), refused + 20, "{log}");
}

#[test]
fn nothing_that_a_client_writes_is_in_a_line() {
    let daemon = Daemon::start(&format!("{SECRET}listen.origins = ['https://chat.example']\n"));
    let mut ann = daemon.connect();
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.a-token-that-is-not-valid-here";
    for usr in [FORGED.to_owned(), format!("x\\n{FORGED}"), format!("x\\r\\n2026 INFO {FORGED}")] {
        ann.send(&format!(r#"{{"usr":"{usr}","msg":"{usr}","jwt":"{token}"}}"#));
        ann.text();
    }
    for name in ["Origin", "User-Agent", "X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        upgrade(
            &daemon,
            &format!("Origin: https://evil.example\r\n{name}: 192.0.2.9 {FORGED}\r\n"),
        );
    }
    daemon.http(&format!("GET /?since={} HTTP/1.1\r\nHost: {FORGED}\r\n\r\n", "192.0.2.9"));
    daemon.http(&format!("{FORGED}\r\n\r\n"));
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.ends_with();
    assert!(lines(&log)[0].ends_with(": jwt-invalid"), "{log}");
    for foreign in ["192.0.2.9", "evil", "token-that"] {
        assert!(!log.contains(foreign), "{foreign} is in\n{log}");
    }
}

#[test]
fn the_address_behind_a_proxy_is_the_last_that_no_proxy_has() {
    let daemon =
        Daemon::start("listen.trusted_proxies = ['127.0.0.1']\nlisten.origins = ['https://a.b']\n");
    let from = |fields: &str| drop(upgrade(&daemon, &format!("Origin: https://c.d\r\n{fields}")));
    from("X-Forwarded-For: 192.0.2.9, 198.51.100.7\r\n");
    from("X-Forwarded-For: 192.0.2.9, 2001:db8::5\r\n");
    // Nobody is banned for the clients of a proxy that does not name them.
    from("");
    from("X-Forwarded-For: 192.0.2.9, unknown\r\n");
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.ends_with();
    assert_eq!(
        lines(&log),
        [
            "refused a connection from 198.51.100.7: origin",
            "refused a connection from 2001:db8::5 (2001:db8::/64): origin",
            "refused a connection through the proxy 127.0.0.1: origin",
            "refused a connection through the proxy 127.0.0.1: origin",
        ],
        "{log}"
    );
}

#[test]
fn closed_connections_have_their_id_and_silent_ones_no_line() {
    let daemon = Daemon::start("limits.handshake_timeout_secs = 1\n");
    let mut silent = TcpStream::connect(daemon.addr).unwrap();
    let mut begun = TcpStream::connect(daemon.addr).unwrap();
    begun.write_all(b"GET / HTT").unwrap();
    let mut ann = daemon.connect();
    ann.say("ann", "hello");
    ann.hear();
    assert!(daemon.command(&["kick", "ann"]).status().unwrap().success());
    assert_eq!(ann.closed().2, "kicked");
    // Both have waited for their time.
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    begun.read_to_end(&mut Vec::new()).unwrap();
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.ends_with();
    let lines = lines(&log);
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].starts_with("closed a connection from 127.0.0.1, id "), "{log}");
    assert!(lines[0].ends_with(": kicked"), "{log}");
    assert_eq!(lines[1], "refused a connection from 127.0.0.1: late", "{log}");
}

#[test]
fn the_lines_have_the_level_info() {
    let daemon = Daemon::start("");
    daemon.configure("log.level = 'warn'\n");
    assert!(daemon.command(&["reload"]).status().unwrap().success());
    daemon.connect().send("no JSON");
    daemon.http("GET / HTTP/1.1\r\n\r\n");
    daemon.signal(Signal::TERM);
    let (_, log) = daemon.ends_with();
    assert_eq!(lines(&log), [""; 0], "{log}");
}
