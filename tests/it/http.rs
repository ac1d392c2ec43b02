//! HTTP over real sockets. `requests_and_their_status` has the table of requests and responses.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use wschat::ws::frame::client_frame;

use crate::harness::{Client, DEADLINE, Daemon, Setup, UPGRADE, until};

/// Reads until the bytes end with `end`.
fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
        });
        bytes.extend(byte);
    }
    bytes
}

fn raw(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends a request whose lines are separated by `|`, and returns the response.
fn respond(daemon: &Daemon, lines: &str) -> String {
    let mut stream = raw(daemon);
    let request = format!("{}\r\n\r\n", lines.replace('|', "\r\n"));
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = read_until(&mut stream, b"\r\n\r\n");
    if !response.starts_with(b"HTTP/1.1 101 ") {
        // Without a further request the connection ends after the response.
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut response).unwrap();
    }
    String::from_utf8(response).unwrap()
}

fn check(daemon: &Daemon, lines: &str, want: &str) -> String {
    let response = respond(daemon, lines);
    let line = response.lines().next().unwrap();
    assert!(line.starts_with("HTTP/1.") && line[7..].starts_with(want), "{lines}\n{response}");
    response
}

/// The value of a header field, or nothing.
fn field<'a>(response: &'a str, name: &str) -> &'a str {
    let name = format!("{name}: ");
    response.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default()
}

const GET: &str = "GET / HTTP/1.1|Host: h";
const HANDSHAKE: &str = "GET / HTTP/1.1|Host: h|Upgrade: websocket|Connection: Upgrade|\
    Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

#[test]
fn requests_and_their_status() {
    let daemon = Daemon::start("");
    for (lines, want) in [
        (GET, "1 200 OK"),
        ("GET / HTTP/1.0", "0 200 OK"),
        ("HEAD / HTTP/1.1|Host: h", "1 200"),
        ("GET /?token=x HTTP/1.1|Host: h", "1 200"),
        ("GET /wschat.js HTTP/1.1|Host: h", "1 200"),
        ("GET /wschat.d.ts HTTP/1.1|Host: h", "1 200"),
        ("GET /page.js HTTP/1.1|Host: h", "1 404"),
        ("GET /icon.svg HTTP/1.1|Host: h", "1 200"),
        ("GET /nowhere HTTP/1.1|Host: h", "1 404 Not Found"),
        ("GET /index.html HTTP/1.1|Host: h", "1 404"),
        ("GET /favicon.ico HTTP/1.1|Host: h", "1 404"),
        ("GET // HTTP/1.1|Host: h", "1 404"),
        ("GET /../etc/passwd HTTP/1.1|Host: h", "1 404"),
        ("GET * HTTP/1.1|Host: h", "1 404"),
        ("POST /nowhere HTTP/1.1|Host: h", "1 404"),
        ("POST / HTTP/1.1|Host: h|Connection: close", "1 415"),
        ("POST /wschat.js HTTP/1.1|Host: h", "1 405"),
        ("DELETE / HTTP/1.1|Host: h", "1 405 Method Not Allowed"),
        ("PUT /wschat.js HTTP/1.1|Host: h", "1 405"),
        ("OPTIONS / HTTP/1.1|Host: h", "1 200"),
        // The default health check of HAProxy.
        ("OPTIONS / HTTP/1.0", "0 200 OK"),
        ("OPTIONS * HTTP/1.1|Host: h", "1 200 OK"),
        ("OPTIONS /wschat.js HTTP/1.1|Host: h", "1 200"),
        ("OPTIONS /nowhere HTTP/1.1|Host: h", "1 404"),
        ("OPTIONS / HTTP/1.1", "1 400"),
        ("nonsense", "1 400 Bad Request"),
        // The server ignores an upgrade to another protocol.
        ("GET / HTTP/1.1|Host: h|Upgrade: h2c|Connection: Upgrade", "1 200"),
        // One valid Host.
        ("GET http://h/ HTTP/1.1|Host: h", "1 200"),
        ("GET http://h/ HTTP/1.1|Host: a b", "1 400"),
        ("GET / HTTP/1.0|Host: h", "0 200"),
        ("GET / HTTP/1.0|Host: ", "0 200"),
        ("GET / HTTP/1.1", "1 400 Bad Request"),
        ("GET / HTTP/1.1|Host: h|Host: h", "1 400"),
        ("GET / HTTP/1.1|Host: |Host: ", "1 400"),
        ("GET /nowhere HTTP/1.1|Host: a@b", "1 400"),
        ("GET / HTTP/1.0|Host: a/b", "0 400"),
        ("GET / HTTP/1.0|Host: h|Host: h", "0 400"),
        // A later minor version is served like HTTP/1.1.
        ("GET / HTTP/1.2|Host: h", "1 200 OK"),
        ("|GET /nowhere HTTP/1.9|Host: h", "1 404 Not Found"),
        ("GET / HTTP/1.2", "1 400"),
        ("GET / HTTP/1.12|Host: h", "1 400"),
    ] {
        check(&daemon, lines, want);
    }
}

#[test]
fn hosts_that_are_valid() {
    let daemon = Daemon::start("");
    // A client that has no host sends an empty one (RFC 9112, 3.2).
    let valid = "\n:80\nchat.example\nchat.example.\nCHAT.example:8080\nchat.example:\n\
        127.0.0.1:80\n[::1]\n[::ffff:192.0.2.1]:80\n[::1]:\n[v1.a:b]\na_b-c~d\n\
        b%C3%BCcher.example\na,b;c=d";
    let invalid = "a b\na\tb\na/b\na?b\na#b\na@b\nuser:password@h\nhttp://h\nh:80:80\nh:8o\n\
        h:-1\nh: 80\na\\b\n<h>\n\"h\"\nh^\nh|\n{h}\nh%\nh%2\nh%zz\nb\u{fc}cher.example\n::1\n\
        [::1\n::1]\n[::1]80\n[::1]:8o\n[::1]]\n[]\n[h]\n[127.0.0.1]\n[fe80::1%eth0]\n[v.a]\n\
        [v1.]";
    for (hosts, want) in [(valid, "HTTP/1.1 200 "), (invalid, "HTTP/1.1 400 ")] {
        for host in hosts.split('\n') {
            let response = daemon.http(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert!(response.starts_with(want), "{host:?}\n{response}");
        }
    }
}

#[test]
fn handshakes_and_their_status() {
    let daemon = Daemon::start("");
    let response = check(&daemon, HANDSHAKE, "1 101 Switching Protocols");
    // The example of RFC 6455, 1.3.
    assert_eq!(field(&response, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(field(&response, "upgrade"), "websocket");
    assert_eq!(field(&response, "connection"), "Upgrade");
    for (from, to, want) in [
        ("GET /", "GET /?a=b", "1 101"),
        ("GET /", "GET /chat", "1 404"),
        ("GET /", "GET /wschat.js", "1 200"),
        ("GET /", "HEAD /", "1 200"),
        ("GET /", "OPTIONS /", "1 200"),
        ("HTTP/1.1", "HTTP/1.0", "0 200 OK"),
        ("|Host: h", "", "1 400"),
        ("|Host: h", "|Host: h/", "1 400"),
        ("Upgrade: websocket", "Upgrade: WebSocket", "1 101"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket", "1 101"),
        ("Upgrade: websocket|", "", "1 400"),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade", "1 101"),
        ("Connection: Upgrade", "Connection: keep-alive|Connection: upgrade", "1 101"),
        ("Connection: Upgrade", "Connection: close", "1 400"),
        ("Sec-WebSocket-Version: 13|", "", "1 400"),
        ("Version: 13", "Version: 8", "1 426 Upgrade Required"),
        ("Version: 13", "Version: 14", "1 426"),
        ("Version: 13", "Version: x", "1 426"),
        ("Version: 13", "Version: 13|Sec-WebSocket-Version: 13", "1 400"),
        ("|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "1 400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "1 400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25=", "1 400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbX!sZSBub25jZQ==", "1 400"),
        (
            "|Sec-WebSocket-Key",
            "|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==|Sec-WebSocket-Key",
            "1 400",
        ),
        ("|Host: h", "|Host: h|Content-Length: 0", "1 101"),
        ("|Host: h", "|Host: h|Content-Length: 1", "1 400"),
    ] {
        let changed = HANDSHAKE.replacen(from, to, 1);
        assert_ne!(changed, HANDSHAKE, "{from} is in the request");
        check(&daemon, &changed, want);
    }
}

/// The first that the client offers and the server knows, or none; by both paths.
#[test]
fn subprotocols_that_are_agreed_to() {
    let daemon = Daemon::start("");
    for (offers, want) in [
        (&[][..], ""),
        (&["wschat"], "wschat"),
        (&["chat"], "chat"),
        (&["chat, wschat"], "chat"),
        (&["wschat,chat"], "wschat"),
        (&["mqtt , \t wschat"], "wschat"),
        (&["soap, v2.chat"], ""),
        (&["mqtt", "chat", "wschat"], "chat"),
        (&["wschat, eyJhbGciOiJIUzI1NiJ9.e30.c2ln"], "wschat"),
        // Names are compared exactly.
        (&["WSCHAT"], ""),
        (&["Chat"], ""),
        (&["wschat2"], ""),
        (&["superchat, chat;q=1"], ""),
        (&["\"chat\""], ""),
        (&["w chat"], ""),
        (&["", ", ,"], ""),
        (&["b\u{fc}cher, chat"], ""),
        (&["b\u{fc}cher", "chat"], "chat"),
    ] {
        let fields = offers.iter().map(|offer| format!("|Sec-WebSocket-Protocol: {offer}"));
        let lines = HANDSHAKE.to_owned() + &fields.collect::<String>();
        let response = check(&daemon, &lines, "1 101");
        assert_eq!(field(&response, "sec-websocket-protocol"), want, "{offers:?}");
        assert_eq!(
            response.matches("sec-websocket-protocol").count(),
            usize::from(!want.is_empty())
        );
        // With another request before it, hyper reads this one.
        let mut stream = raw(&daemon);
        exchange(&mut stream, GET);
        let (head, _) = exchange(&mut stream, &lines);
        assert_eq!(field(&head, "sec-websocket-protocol"), want, "{offers:?}");
    }
    // A refused handshake agrees to nothing.
    let refused = HANDSHAKE.replace("Version: 13", "Version: 7|Sec-WebSocket-Protocol: chat");
    assert_eq!(field(&check(&daemon, &refused, "1 426"), "sec-websocket-protocol"), "");
}

#[test]
fn header_fields_of_responses() {
    let daemon = Daemon::start("");
    let response = check(&daemon, &HANDSHAKE.replace("Version: 13", "Version: 7"), "1 426");
    assert_eq!(field(&response, "sec-websocket-version"), "13");
    assert_eq!(field(&response, "upgrade"), "websocket");
    let response = check(&daemon, &HANDSHAKE.replace("Upgrade: websocket|", ""), "1 400");
    assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    let sentence = "The request has no `Upgrade: websocket`; a proxy may have removed it.\n";
    assert_eq!(response.split_once("\r\n\r\n").unwrap().1, sentence);
    let response = check(&daemon, "DELETE / HTTP/1.1|Host: h", "1 405");
    assert_eq!(field(&response, "allow"), "GET, HEAD, POST, OPTIONS");
    let response = check(&daemon, "DELETE /wschat.js HTTP/1.1|Host: h", "1 405");
    assert_eq!(field(&response, "allow"), "GET, HEAD, OPTIONS");
    let response = check(&daemon, "OPTIONS / HTTP/1.1|Host: h", "1 200");
    assert_eq!(field(&response, "allow"), "GET, HEAD, POST, OPTIONS");
    assert_eq!(field(&response, "connection"), "close");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn without_the_page_only_websockets_are_served() {
    let daemon = Daemon::start("page.enabled = false");
    for (lines, want) in [
        (HANDSHAKE, "1 101"),
        (GET, "1 426"),
        ("HEAD / HTTP/1.1|Host: h", "1 426"),
        ("GET / HTTP/1.0", "0 426"),
        ("GET /wschat.js HTTP/1.1|Host: h", "1 404"),
        ("OPTIONS / HTTP/1.0", "0 200"),
        ("OPTIONS /wschat.js HTTP/1.0", "0 404"),
    ] {
        check(&daemon, lines, want);
    }
}

/// With the header fields that restrict it, compressed for a client that accepts it, and again
/// only if it has changed.
#[test]
fn files_of_the_page() {
    let daemon = Daemon::start("");
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/wschat.js", "text/javascript; charset=utf-8"),
        ("/wschat.d.ts", "application/typescript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let get = format!("GET {path} HTTP/1.1|Host: h");
        let response = check(&daemon, &get, "1 200");
        let policy = field(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.ends_with("; frame-ancestors 'none'"), "{policy}");
        assert_eq!(field(&response, "x-content-type-options"), "nosniff");
        assert_eq!(field(&response, "cache-control"), "no-cache, no-transform");
        assert_eq!(field(&response, "vary"), "Accept-Encoding");
        assert_eq!(field(&response, "content-encoding"), "");
        assert_eq!(field(&response, "content-type"), media_type);
        let body = response.split_once("\r\n\r\n").unwrap().1;
        let gzip = format!("{get}|Accept-Encoding: gzip, br");
        let compressed = exchange(&mut raw(&daemon), &gzip);
        assert_eq!(field(&compressed.0, "content-encoding"), "gzip");
        assert_eq!(field(&compressed.0, "vary"), "Accept-Encoding");
        assert_eq!(decompress(&compressed.1), body, "{path}");
        let etags = [&response, &compressed.0].map(|response| field(response, "etag"));
        assert_ne!(etags[0], etags[1]);
        for (get, etag) in [(&get, etags[0]), (&gzip, etags[1])] {
            assert!(etag.len() > 10, "{etag}");
            for (condition, want) in [
                (etag, "1 304"),
                (&format!("W/{etag}"), "1 304"),
                (&format!("\"other\", {etag}"), "1 304"),
                ("*", "1 304"),
            ] {
                let response = check(&daemon, &format!("{get}|If-None-Match: {condition}"), want);
                assert_eq!(field(&response, "etag"), etag);
                assert_eq!(field(&response, "vary"), "Accept-Encoding");
            }
        }
        check(&daemon, &format!("{get}|If-None-Match: {}", etags[1]), "1 200");
    }
    // The licence of the module comes with it, and no other comment.
    let source = fs::read_to_string("static/wschat.js").unwrap();
    let (notice, _) = source.split_once("\n\n").unwrap();
    let response = respond(&daemon, "GET /wschat.js HTTP/1.1|Host: h");
    let (_, module) = response.split_once("\r\n\r\n").unwrap();
    assert!(notice.contains("SPDX-License-Identifier") && module.starts_with(notice), "{module}");
    assert_eq!(module.matches("/*").count(), 1);
    assert!(module.contains("\nexport function connect("));
}

/// They can import wschat.js, and show the page in a frame.
#[test]
fn what_pages_of_other_origins_may_do_with_the_files() {
    const ORIGIN: &str = "https://www.example";
    let one_vary = ["vary: Accept-Encoding"].as_slice();
    let two_vary = ["vary: Accept-Encoding", "vary: Origin"].as_slice();
    for (listed, origin, allowed, ancestors, vary) in [
        ("", "", "*", "'none'", one_vary),
        ("", ORIGIN, "*", "'none'", one_vary),
        (ORIGIN, "", "", ORIGIN, two_vary),
        (ORIGIN, ORIGIN, ORIGIN, ORIGIN, two_vary),
        (ORIGIN, "https://other.example", "", ORIGIN, two_vary),
        (ORIGIN, "null", "", ORIGIN, two_vary),
    ] {
        let list = if listed.is_empty() { String::new() } else { format!("'{listed}'") };
        let daemon = Daemon::start(&format!("listen.origins = [{list}]"));
        let origin = if origin.is_empty() { String::new() } else { format!("|Origin: {origin}") };
        for path in ["/", "/wschat.js", "/wschat.d.ts", "/icon.svg"] {
            let get = format!("GET {path} HTTP/1.1|Host: h{origin}");
            for (lines, status) in [(&get, "1 200"), (&format!("{get}|If-None-Match: *"), "1 304")]
            {
                let response = check(&daemon, lines, status);
                let all = |name| response.lines().filter(move |line| line.starts_with(name));
                let (allowed, vary) =
                    if path == "/icon.svg" { ("", one_vary) } else { (allowed, vary) };
                assert_eq!(field(&response, "access-control-allow-origin"), allowed, "{lines}");
                let load = if allowed.is_empty() { "same-origin" } else { "cross-origin" };
                let load = format!("cross-origin-resource-policy: {load}");
                assert_eq!(all("cross-origin-resource-policy").collect::<Vec<_>>(), [load]);
                assert_eq!(all("vary: ").collect::<Vec<_>>(), vary, "{lines}");
                let policy = field(&response, "content-security-policy");
                assert!(policy.ends_with(&format!("; frame-ancestors {ancestors}")), "{policy}");
                assert_eq!(field(&response, "x-frame-options"), "");
            }
        }
        let response = check(&daemon, "GET /nowhere HTTP/1.1|Host: h", "1 404");
        let policy = field(&response, "content-security-policy");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
    }
}

/// The text of a response in gzip.
fn decompress(bytes: &[u8]) -> String {
    let mut gzip = Command::new("gzip")
        .args(["--decompress", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = gzip.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Sends a request whose lines are separated by `|`, and returns the head and the body of the
/// response; the connection stays open.
fn exchange(stream: &mut TcpStream, lines: &str) -> (String, Vec<u8>) {
    stream.write_all(format!("{}\r\n\r\n", lines.replace('|', "\r\n")).as_bytes()).unwrap();
    let head = String::from_utf8(read_until(stream, b"\r\n\r\n")).unwrap();
    let is_head = lines.starts_with("HEAD");
    let length = if is_head { "" } else { field(&head, "content-length") };
    let mut body = vec![0; length.parse().unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// A browser needs one connection for all of them.
#[test]
fn a_connection_stays_open_after_a_file_of_the_page() {
    let daemon = Daemon::start("");
    let cached = "If-None-Match: *";
    for last in
        [HANDSHAKE, "GET /nowhere HTTP/1.1|Host: h", "GET / HTTP/1.1|Host: h|Connection: close"]
    {
        let mut stream = raw(&daemon);
        for _ in 0..3 {
            for (lines, status) in [
                (GET, "200"),
                ("HEAD / HTTP/1.1|Host: h", "200"),
                ("GET /wschat.js HTTP/1.1|Host: h|Accept-Encoding: gzip", "200"),
                (&format!("{GET}|{cached}"), "304"),
                ("GET /icon.svg HTTP/1.1|Host: h", "200"),
            ] {
                let (head, _) = exchange(&mut stream, lines);
                assert_eq!(&head[9..12], status, "{lines}: {head}");
                assert_eq!(field(&head, "connection"), "", "{head}");
            }
        }
        let (head, _) = exchange(&mut stream, last);
        if last == HANDSHAKE {
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let text = br#"{"usr":"ann","msg":"after the page"}"#;
            stream.write_all(&client_frame(0x81, text)).unwrap();
            read_until(&mut stream, b"\"after the page\"");
        } else {
            assert_eq!(field(&head, "connection"), "close", "{head}");
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    }
    let mut stream = raw(&daemon);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// It waits for nothing, so that it is not rejected.
#[test]
fn an_idle_connection_ends_and_gives_way_without_a_rejection() {
    const SLOTS: usize = 1024;
    let daemon = Daemon::start("limits.handshake_timeout_secs = 1");
    let mut stream = raw(&daemon);
    exchange(&mut stream, GET);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    daemon.reload("limits.handshake_timeout_secs = 120");
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..SLOTS + 10 {
        idle.push(raw(&daemon));
        exchange(idle.last_mut().unwrap(), GET);
    }
    assert_eq!(idle[0].read(&mut [0]).unwrap(), 0);
    exchange(idle.last_mut().unwrap(), GET);
    let out = daemon.command(&["status", "--json"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for reason in ["late", "crowded"] {
        assert!(text.contains(&format!("\"{reason}\":0")), "{text}");
    }
}

#[test]
fn the_page_contains_what_it_has_to_know() {
    let daemon = Daemon::start("limits.message_bytes_max = 1000");
    let response = check(&daemon, GET, "1 200");
    assert!(response.contains("<html lang=\"en\" data-bytes-max=\"1000\">\n"), "{response}");
    let gzip = format!("{GET}|Accept-Encoding: gzip");
    let (_, compressed) = exchange(&mut raw(&daemon), &gzip);
    let page = response.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(decompress(&compressed), page);
    let cached = format!("{GET}|If-None-Match: {}", field(&response, "etag"));
    check(&daemon, &cached, "1 304");
    daemon.reload("limits.message_bytes_max = 1001");
    let changed = check(&daemon, &cached, "1 200");
    let cached = format!("{GET}|If-None-Match: {}", field(&changed, "etag"));
    let secret = "auth.jwt_secret = \"0123456789abcdef0123456789abcdef\"";
    daemon.reload(&format!(
        "limits.message_bytes_max = 1001\n{secret}\nauth.moderator_claim = \"is \\\"mod\\\"\""
    ));
    let response = check(&daemon, &cached, "1 200");
    let claim =
        "<html lang=\"en\" data-bytes-max=\"1001\" data-moderator-claim=\"is &quot;mod&quot;\">\n";
    assert!(response.contains(claim), "{response}");
}

#[test]
fn a_response_to_head_has_no_body() {
    let daemon = Daemon::start("");
    let split = |response: String| {
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter(|line| !line.starts_with("date: "));
        (lines.map(str::to_owned).collect::<Vec<_>>(), body.to_owned())
    };
    let (get_head, page) = split(respond(&daemon, GET));
    assert!(get_head.contains(&format!("content-length: {}", page.len())));
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(split(respond(&daemon, &GET.replace("GET", "HEAD"))), (get_head, String::new()));
}

#[test]
fn an_unread_request_body_does_not_lose_the_response() {
    let daemon = Daemon::start("");
    let body = "x".repeat(60_000);
    let length = body.len();
    let head = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    let response = daemon.http(&(head + &body));
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
    assert!(response.ends_with(" here.\n"), "{response}");
}

#[test]
fn a_head_that_is_too_long_is_rejected() {
    let daemon = Daemon::start("");
    let cookie = "x".repeat(20_000);
    check(&daemon, &format!("{GET}|Cookie: {cookie}"), "1 431");
}

#[test]
fn an_incomplete_request_times_out() {
    let daemon = Daemon::start("[limits]\nhandshake_timeout_secs = 1\n");
    for half in ["", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        let mut stream = raw(&daemon);
        stream.write_all(half.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // A reset is allowed; the deadline would be another error.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(rest, b"");
    }
    // The timeout does not apply to a WebSocket.
    let mut client = daemon.connect();
    client.say("ann", "still here");
    assert_eq!(client.hear(), "still here");
}

/// More connections than there are slots, with a long timeout.
#[test]
fn a_new_connection_evicts_the_oldest_handshake() {
    const SLOTS: usize = 1024;
    let daemon = Daemon::start("limits.handshake_timeout_secs = 120");
    let mut slow: Vec<TcpStream> = (0..SLOTS + 100).map(|_| raw(&daemon)).collect();
    for stream in &mut slow[SLOTS / 2..] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ").unwrap();
    }
    let mut client = daemon.connect();
    client.say("ann", "at once");
    assert_eq!(client.hear(), "at once");
    // The oldest are closed; the newest can finish their request.
    for stream in &mut slow[..100] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let last = slow.last_mut().unwrap();
    last.write_all(b"no longer\r\n\r\n").unwrap();
    assert!(read_until(last, b"\r\n").starts_with(b"HTTP/1.1 200 OK"));
    let out = daemon.command(&["status"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    // A client whose request is complete when it is accepted needs no slot.
    assert!(text.contains("crowded 100\n") || text.contains("crowded 101\n"), "{text}");
}

#[test]
fn frames_that_follow_the_request_are_not_lost() {
    let daemon = Daemon::start("");
    let text = r#"{"usr":"ann","msg":"early"}"#;
    let whole = [UPGRADE.as_bytes(), &client_frame(0x81, text.as_bytes())].concat();
    // Cut inside the request as well, and inside the frame: then a shard gets the first part.
    for cut in [whole.len(), UPGRADE.len(), UPGRADE.len() + 1, UPGRADE.len() + 9, 20] {
        let mut stream = raw(&daemon);
        stream.write_all(&whole[..cut]).unwrap();
        if cut >= UPGRADE.len() {
            read_until(&mut stream, b"\r\n\r\n");
        }
        stream.write_all(&whole[cut..]).unwrap();
        let received = read_until(&mut stream, b"\"early\"");
        assert!(received.ends_with(br#"{"usr":"ann","msg":"early""#), "cut at {cut}");
    }
}

#[test]
fn a_request_in_pieces_gets_the_same_response() {
    let daemon = Daemon::start("");
    let respond = |pieces: &[&str]| {
        let mut stream = raw(&daemon);
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            // When a later client has connected, the server has read these bytes.
            daemon.connect();
        }
        let response = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
        let mut lines: Vec<_> = response.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date: "));
        lines[1..].sort();
        lines
    };
    let (begin, end) = UPGRADE.split_at(40);
    assert_eq!(respond(&[begin, end]), respond(&[UPGRADE]));
}

#[test]
fn a_full_room_rejects_until_a_client_leaves() {
    let daemon = Daemon::start("[limits]\nconnections_max = 2\n");
    let first = daemon.connect();
    let _second = daemon.connect();
    let response = check(&daemon, HANDSHAKE, "1 503");
    assert_eq!(field(&response, "retry-after"), "10");
    check(&daemon, GET, "1 200");
    check(&daemon, &HANDSHAKE.replace("Version: 13", "Version: 7"), "1 426");
    drop(first);
    until("a permit", || respond(&daemon, HANDSHAKE).starts_with("HTTP/1.1 101 ").then_some(()));
}

/// In pieces as well, and with a message after it.
#[test]
fn a_later_version_of_http_opens_a_websocket() {
    let daemon = Daemon::start("");
    let text = client_frame(0x81, br#"{"usr":"ann","msg":"later"}"#);
    let request = UPGRADE.replace("HTTP/1.1", "HTTP/1.7");
    for pieces in [vec![request.as_bytes()], request.as_bytes().chunks(13).collect()] {
        let mut stream = raw(&daemon);
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
        stream.write_all(&text).unwrap();
        assert!(read_until(&mut stream, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 "));
        read_until(&mut stream, b"\"later\"");
    }
}

#[test]
fn a_half_closed_connection_gets_its_response() {
    let daemon = Daemon::start("");
    let mut stream = raw(&daemon);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

#[test]
fn the_room_listens_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    // A socket file that an earlier process left behind.
    drop(UnixListener::bind(&path).unwrap());
    let listen = format!("[listen]\naddresses = ['127.0.0.1:0', 'unix:{}']\n", path.display());
    let mut daemon = Setup::new(&listen).without_listen().start();
    daemon.wait_for_log(&format!(", unix:{}", path.display()));
    let mut local = Client::over(UnixStream::connect(&path).unwrap());
    let mut remote = daemon.connect();
    local.say("ann", "from here");
    assert_eq!((local.hear(), remote.hear()), ("from here".into(), "from here".into()));

    let second = Setup::new(&listen).without_listen().spawn().ends_with();
    assert_eq!(second.0, Some(69));
    let path_text = path.display();
    assert_eq!(
        second.1,
        format!("wschat: unix:{path_text}: Address already in use (os error 98)\n")
    );

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!((local.closed().1, remote.closed().1), (1001, 1001));
    daemon.wait();
    assert!(!fs::exists(&path).unwrap(), "the socket file is gone");
}

/// A daemon that may open so many descriptors, with a long handshake timeout.
fn limited(descriptors: usize, more: &str) -> Daemon {
    let script = format!("ulimit -n {descriptors}; exec \"$@\"");
    let config = format!("limits.handshake_timeout_secs = 120\n{more}");
    Setup::new(&config).wrapper(&["sh", "-c", &script, "sh"]).start()
}

#[test]
fn idle_connections_exclude_no_client_when_descriptors_are_few() {
    for descriptors in [128, 512, 1024] {
        let daemon = limited(descriptors, "");
        let _idle: Vec<TcpStream> = (0..descriptors + 100).map(|_| raw(&daemon)).collect();
        let mut client = daemon.connect();
        client.say("ann", "at once");
        assert_eq!(client.hear(), "at once");
        let status = daemon.command(&["status"]).output().unwrap();
        assert_eq!(status.status.code(), Some(0), "{descriptors}");
        assert!(!daemon.log().contains("cannot accept"), "{}", daemon.log());
    }
}

#[test]
fn a_room_without_free_descriptors_responds_with_503() {
    let daemon = limited(256, "metrics.address = '127.0.0.1:0'\n");
    let enter = || {
        let mut stream = raw(&daemon);
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let head = read_until(&mut stream, b"\r\n\r\n");
        (stream, head)
    };
    let mut members = Vec::new();
    let rejected = loop {
        let (stream, head) = enter();
        match head.starts_with(b"HTTP/1.1 101 ") {
            true => members.push(stream),
            false => break head,
        }
    };
    assert!(rejected.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&rejected));
    assert!(members.len() > 128, "{} are in", members.len());
    let _idle: Vec<TcpStream> = (0..300).map(|_| raw(&daemon)).collect();
    assert!(enter().1.starts_with(b"HTTP/1.1 503 "));
    let line = daemon.wait_for_log("metrics at http://");
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let mut health = TcpStream::connect(address).unwrap();
    health.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_until(&mut health, b"\r\n\r\n").starts_with(b"HTTP/1.1 200 "));
    let mut files: Vec<_> = (0..3).map(|_| daemon.command(&["status"])).collect();
    assert!(files.iter_mut().all(|ask| ask.status().unwrap().success()));
    // A client leaves, and another can connect.
    members.pop();
    until("a permit", || enter().1.starts_with(b"HTTP/1.1 101 ").then_some(()));
}

/// New connections wait for a descriptor.
#[test]
fn running_out_of_descriptors_is_only_a_pause() {
    let daemon = Daemon::start("");
    let mut early = daemon.connect();
    // The limit becomes the first free number, so that no descriptor is left.
    let is_open = |number: &u64| fs::exists(format!("/proc/{}/fd/{number}", daemon.pid()));
    let open = (0..).find(|number| !is_open(number).unwrap()).unwrap();
    let before = limit(&daemon, open);
    let mut late = raw(&daemon);
    late.write_all(UPGRADE.as_bytes()).unwrap();
    daemon.wait_for_log("cannot accept on");

    let ticks = cpu_ticks(&daemon);
    // Meanwhile the room works.
    for number in 0..10 {
        early.say("ann", &number.to_string());
        assert_eq!(early.hear(), number.to_string());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Half a second of a busy loop would be 50 ticks.
    let spent = cpu_ticks(&daemon) - ticks;
    assert!(spent < 25, "spent {spent} ticks on waiting");

    limit(&daemon, before);
    read_until(&mut late, b"\r\n\r\n");
    daemon.wait_for_log("accepting on");
    assert_eq!(daemon.log().matches("cannot accept on").count(), 1, "{}", daemon.log());
}

/// Limits the descriptors of a daemon, and returns the limit before.
fn limit(daemon: &Daemon, descriptors: u64) -> u64 {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = Pid::from_raw(daemon.pid() as i32);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current: Some(descriptors), maximum });
    old.unwrap().current.unwrap_or(u64::MAX)
}

/// The processor time that a daemon has used, in hundredths of a second.
fn cpu_ticks(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // The name in brackets may contain spaces; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
