//! The address of a client behind a proxy, and the origins of pages that may connect.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::harness::{DEADLINE, Daemon, Setup, until};

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// A PROXY header with the client 192.0.2.7, port 4711.
const PROXY_HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\x1f\x90";

/// Sends a handshake with these header fields; returns the status of the response.
fn connect(stream: &mut (impl Read + Write), proxy_header: &[u8], fields: &str) -> String {
    let request = format!("{UPGRADE}{fields}\r\n");
    // In pieces, one of which is part of the PROXY header and of the request.
    let bytes = [proxy_header, request.as_bytes()].concat();
    for piece in bytes.chunks(5) {
        stream.write_all(piece).unwrap();
    }
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        response.extend(byte);
    }
    String::from_utf8(response[9..12].to_vec()).unwrap()
}

fn tcp(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The address of the only client, as an operator sees it.
fn address(daemon: &Daemon) -> String {
    until("the client", || addresses(daemon).pop())
}

/// The addresses of all clients.
fn addresses(daemon: &Daemon) -> Vec<String> {
    let out = daemon.command(&["clients", "--json"]).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let address = |line| {
        let client: Value = serde_json::from_str(line).unwrap();
        client["address"].as_str().unwrap().to_owned()
    };
    out.lines().map(address).collect()
}

#[test]
fn a_listed_proxy_names_its_client() {
    let daemon = Daemon::start("listen.trusted_proxies = ['127.0.0.1', '10.0.0.0/8']");
    for (proxy_header, fields, want) in [
        (PROXY_HEADER, "", "192.0.2.7:4711"),
        (b"", "X-Forwarded-For: 1.1.1.1, 192.0.2.8, 10.1.1.1\r\n", "192.0.2.8"),
        // The client that the proxy names is not trusted.
        (PROXY_HEADER, "X-Forwarded-For: 192.0.2.8\r\n", "192.0.2.7:4711"),
    ] {
        let mut stream = tcp(&daemon);
        assert_eq!(connect(&mut stream, proxy_header, fields), "101");
        assert_eq!(address(&daemon), want);
        drop(stream);
        until("it leaves", || {
            let out = daemon.command(&["clients", "--json"]).output().unwrap();
            out.stdout.is_empty().then_some(())
        });
    }
    let mut direct = tcp(&daemon);
    assert_eq!(connect(&mut direct, b"", ""), "101");
    assert_eq!(address(&daemon), direct.local_addr().unwrap().to_string());
}

#[test]
fn empty_lines_before_the_request_of_a_listed_proxy_are_ignored() {
    let daemon = Daemon::start("listen.trusted_proxies = ['127.0.0.1']");
    for lines in [&["\r\n"][..], &["\r\n\r\n"], &["\r\n", "\r\n", "\r\n"], &["\r", "\n\r", "\n"]] {
        let mut stream = tcp(&daemon);
        for line in lines {
            stream.write_all(line.as_bytes()).unwrap();
            // When a later client has connected, the server has read these bytes.
            drop(daemon.connect());
        }
        assert_eq!(connect(&mut stream, b"", "X-Forwarded-For: 192.0.2.8\r\n"), "101", "{lines:?}");
        until("only that client", || (addresses(&daemon) == ["192.0.2.8"]).then_some(()));
    }
    let mut stream = tcp(&daemon);
    stream.write_all(b"\rG").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "LF must follow CR");
}

#[test]
fn a_proxy_that_is_not_listed_is_logged_once() {
    let daemon = Daemon::start("listen.trusted_proxies = ['192.0.2.1', 'unix']");
    for _ in 0..20 {
        assert_eq!(connect(&mut tcp(&daemon), b"", "X-Forwarded-For: 192.0.2.8\r\n"), "101");
    }
    let line = daemon.wait_for_log("X-Forwarded-For");
    assert!(line.contains(" WARN ") && line.contains("from 127.0.0.1:"), "{line}");
    assert!(!line.contains("192.0.2.8"), "a client may have made it up: {line}");
    assert_eq!(daemon.log().matches("X-Forwarded-For").count(), 1, "{}", daemon.log());

    let daemon = Daemon::start("listen.trusted_proxies = ['::ffff:127.0.0.1']");
    assert_eq!(connect(&mut tcp(&daemon), b"", ""), "101");
    let mut stream = tcp(&daemon);
    assert_eq!(connect(&mut stream, b"", "X-Forwarded-For: fe80::1%eth0\r\n"), "101");
    until("the client", || addresses(&daemon).contains(&"fe80::1".to_owned()).then_some(()));
    assert!(!daemon.log().contains("X-Forwarded-For"), "{}", daemon.log());
}

#[test]
fn a_peer_that_is_not_listed_is_not_trusted() {
    let daemon = Daemon::start("listen.trusted_proxies = ['192.0.2.1', 'unix']");
    assert_eq!(connect(&mut tcp(&daemon), PROXY_HEADER, ""), "400");
    let mut stream = tcp(&daemon);
    assert_eq!(connect(&mut stream, b"", "X-Forwarded-For: 192.0.2.8\r\n"), "101");
    assert_eq!(address(&daemon), stream.local_addr().unwrap().to_string());
}

#[test]
fn a_proxy_on_a_unix_socket_is_trusted_if_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    for (proxies, want) in [("['unix']", "192.0.2.7:4711"), ("['0.0.0.0/0', '::/0']", "unix")] {
        let config = format!(
            "[listen]\naddresses = ['unix:{}']\ntrusted_proxies = {proxies}\n",
            path.display()
        );
        let daemon = Setup::new(&config).without_listen().start();
        let mut stream = UnixStream::connect(&path).unwrap();
        let is_trusted = want != "unix";
        let proxy_header = if is_trusted { PROXY_HEADER } else { b"" };
        assert_eq!(connect(&mut stream, proxy_header, "X-Forwarded-For: 192.0.2.8\r\n"), "101");
        assert_eq!(address(&daemon), want);
    }
}

#[test]
fn an_incomplete_proxy_header_times_out() {
    let daemon =
        Daemon::start("listen.trusted_proxies = ['127.0.0.1']\nlimits.handshake_timeout_secs = 1");
    let mut stream = tcp(&daemon);
    stream.write_all(&PROXY_HEADER[..20]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it is closed");
}

#[test]
fn only_pages_of_listed_origins_can_connect() {
    let daemon = Daemon::start(
        "listen.origins = ['https://Chat.example', 'http://b\u{fc}cher.example:8080', \
         'http://[::1]']",
    );
    for (origin, want) in [
        ("", "101"),
        ("Origin: https://chat.example\r\n", "101"),
        ("Origin: HTTPS://CHAT.EXAMPLE:443\r\n", "101"),
        ("Origin: http://xn--bcher-kva.example:8080\r\n", "101"),
        ("Origin: http://[::1]\r\n", "101"),
        ("Origin: http://chat.example\r\n", "403"),
        ("Origin: https://chat.example:8443\r\n", "403"),
        ("Origin: https://chat.example.\r\n", "403"),
        ("Origin: https://a.chat.example\r\n", "403"),
        ("Origin: https://chat.example\r\nOrigin: https://evil.example\r\n", "403"),
        ("Origin: \r\n", "403"),
        ("Origin: https://chat.example.evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
    ] {
        assert_eq!(connect(&mut tcp(&daemon), b"", origin), want, "{origin}");
    }
    daemon.reload("");
    assert_eq!(connect(&mut tcp(&daemon), b"", "Origin: https://evil.example\r\n"), "101");
}
