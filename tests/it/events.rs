//! Listening by server-sent events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;
use serde_json::Value;
use wschat::chat::is_presence;

use crate::harness::{Client, DEADLINE, Daemon, NO_PRESENCE, UNLIMITED, until};

/// An event: its id, if it has one, and its data.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub data: String,
}

/// A client of `GET /events` that checks each line of the stream.
pub struct EventStream(BufReader<TcpStream>);

impl EventStream {
    /// Opens a stream; `request` is the target, and more header fields after `|`.
    pub fn open(daemon: &Daemon, request: &str) -> Self {
        let (head, stream) = request_head(daemon, request, "1.1");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut stream = Self(stream);
        assert_eq!(stream.line().as_deref(), Some("retry: 3000"));
        assert_eq!(stream.line().as_deref(), Some(""));
        stream
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(line.strip_suffix('\n').expect("a complete line").to_owned()),
        }
    }

    /// The next event of a message or notice; comments and presence are skipped. `None` at the
    /// end.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let (field, data) = self.next_event()?;
            if field.as_deref() == Some("event: room") {
                assert!(is_presence(data.as_bytes()), "{data}");
                continue;
            }
            let id = field.map(|id| id.strip_prefix("id: ").expect("an id").to_owned());
            return Some(Event { id, data });
        }
    }

    /// The next event as JSON, which is presence.
    pub fn presence(&mut self) -> Value {
        let (field, data) = self.any_event();
        assert_eq!(field.as_deref(), Some("event: room"));
        serde_json::from_str(&data).unwrap()
    }

    /// The next event: its first field, if it has another one than data, and its data.
    pub fn any_event(&mut self) -> (Option<String>, String) {
        self.next_event().expect("an event")
    }

    /// As [`any_event`](Self::any_event); `None` at the end.
    fn next_event(&mut self) -> Option<(Option<String>, String)> {
        loop {
            let first = self.line()?;
            if first.starts_with(':') {
                assert_eq!(self.line().as_deref(), Some(""));
                continue;
            }
            let has_field = !first.starts_with("data: ");
            let field = has_field.then(|| first.clone());
            let data = if has_field { self.line()? } else { first };
            let data = data.strip_prefix("data: ").expect("data").to_owned();
            assert_eq!(self.line().as_deref(), Some(""));
            return Some((field, data));
        }
    }

    /// The next message or notice, whose `tim` is the id of the event if it is a message.
    pub fn json(&mut self) -> Value {
        let event = self.event().expect("an event");
        let json: Value = serde_json::from_str(&event.data).unwrap();
        let tim = json["tim"].as_str().filter(|_| json.get("err").is_none());
        assert_eq!(event.id.as_deref(), tim, "{}", event.data);
        json
    }

    /// The next message's `msg`.
    pub fn hear(&mut self) -> String {
        self.json()["msg"].as_str().unwrap().to_owned()
    }
}

/// Sends a GET request, and returns the head of the response and the stream behind it.
fn request_head(daemon: &Daemon, request: &str, version: &str) -> (String, BufReader<TcpStream>) {
    let (target, fields) = request.split_once('|').unwrap_or((request, ""));
    let fields = fields.split('|').filter(|field| !field.is_empty());
    let fields: String = fields.map(|field| format!("{field}\r\n")).collect();
    let request = format!("GET {target} HTTP/{version}\r\nHost: h\r\n{fields}\r\n");
    let mut stream = TcpStream::connect(daemon.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut stream, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    (head, stream)
}

fn count(daemon: &Daemon) -> u64 {
    let status = daemon.command(&["status", "--json"]).output().unwrap();
    serde_json::from_slice::<Value>(&status.stdout).unwrap()["listeners"].as_u64().unwrap()
}

#[test]
fn an_event_has_the_text_of_the_websocket_message() {
    let daemon = Daemon::start("");
    let mut events = EventStream::open(&daemon, "/events|Accept: text/event-stream");
    let mut client = daemon.connect();
    for text in [
        r#"{"usr":"ann","msg":"hi"}"#,
        r#"{ "usr" : "\u0061nn", "msg":"a\nb \u2028 \ud83d\ude00" , "x":1.0e+5 }"#,
        "{\"usr\":\"ann\",\"msg\":\"\",\"y\":[1,\n 2,\r\n{\"z\":\r3}]}",
    ] {
        client.send(text);
        let text = client.text();
        let event = events.event().unwrap();
        assert_eq!(event.data, text.replace(['\r', '\n'], " "));
        let json: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(event.id.as_deref(), json["tim"].as_str());
    }
}

#[test]
fn the_head_says_that_the_stream_must_not_be_stored_or_held_back() {
    let daemon = Daemon::start("");
    for (version, close) in [("1.1", ""), ("1.0", ""), ("1.1", "|Connection: close")] {
        let (head, _stream) = request_head(&daemon, &format!("/events{close}"), version);
        let head = head.to_lowercase();
        for field in [
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache, no-transform\r\n",
            "x-accel-buffering: no\r\n",
            "connection: close\r\n",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    }
    until("the listeners are gone", || (count(&daemon) == 0).then_some(()));
    let head = daemon.http("HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert_eq!(count(&daemon), 0);
}

#[test]
fn other_requests_get_a_reason() {
    let daemon = Daemon::start("limits.connections_max = 1\n");
    for (request, want) in [
        ("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n", "406"),
        ("GET /events?since=x HTTP/1.1\r\nHost: h\r\n\r\n", "400"),
        ("GET /events HTTP/1.1\r\n\r\n", "400"),
        ("DELETE /events HTTP/1.1\r\nHost: h\r\n\r\n", "405"),
        ("GET /events/ HTTP/1.1\r\nHost: h\r\n\r\n", "404"),
    ] {
        let response = daemon.http(request);
        assert!(response.starts_with(&format!("HTTP/1.1 {want} ")), "{request}{response}");
    }
    let _listener = EventStream::open(&daemon, "/events");
    let full = daemon.http("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(full.starts_with("HTTP/1.1 503 ") && full.contains("retry-after: "), "{full}");
}

#[test]
fn a_foreign_origin_is_rejected() {
    let daemon = Daemon::start("listen.origins = [\"https://a.example\"]\n");
    let _listener = EventStream::open(&daemon, "/events|Origin: https://a.example");
    let _no_browser = EventStream::open(&daemon, "/events");
    for (method, origin, want) in [("GET", "b", "403"), ("HEAD", "b", "403"), ("HEAD", "a", "200")]
    {
        let origin = format!("Origin: https://{origin}.example");
        let request = format!("{method} /events HTTP/1.1\r\nHost: h\r\n{origin}\r\n\r\n");
        let response = daemon.http(&request);
        assert!(response.starts_with(&format!("HTTP/1.1 {want} ")), "{request}{response}");
    }
}

/// A request that arrives in parts, or with a body, is read by another parser.
#[test]
fn what_follows_the_request_is_ignored() {
    let daemon = Daemon::start(UNLIMITED);
    let mut client = daemon.connect();
    let get = "GET /events HTTP/1.1\r\nHost: h\r\n";
    for parts in [
        vec![format!("{get}\r\nGET / HTTP/1.1\r\n\r\n\u{81}\x05hello")],
        vec![get.into(), "\r\n".into(), "more".into()],
        vec![format!("{get}Content-Length: 7\r\n\r\ngarb"), "age".into()],
        vec![format!("{get}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")],
        vec![format!("{get}Content-Length: 100000\r\nExpect: 100-continue\r\n\r\nx")],
        vec![format!("{get}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")],
        vec![format!("{get}\r\n"), "garbage\r\n\r\n".repeat(10_000)],
    ] {
        let before = count(&daemon);
        let mut stream = TcpStream::connect(daemon.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        for part in &parts {
            stream.write_all(part.as_bytes()).unwrap();
        }
        until("it listens", || (count(&daemon) == before + 1).then_some(()));
        client.say("ann", "to all");
        client.text();
        let mut response = String::new();
        let mut stream = BufReader::new(stream);
        while !response.contains("to all") {
            assert!(stream.read_line(&mut response).unwrap() > 0, "{parts:?}: {response}");
        }
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert_eq!(response.matches("HTTP/").count(), 1, "{response}");
        drop(stream);
        until("it is gone", || (count(&daemon) == before).then_some(()));
    }
}

#[test]
fn a_stream_is_a_listener_in_the_list_and_can_be_closed() {
    let daemon = Daemon::start(NO_PRESENCE);
    let mut events = EventStream::open(&daemon, "/events");
    let _client = daemon.connect();
    let list = || -> Vec<Value> {
        let out = daemon.command(&["clients", "--json"]).output().unwrap().stdout;
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    };
    let clients = until("two clients", || Some(list()).filter(|list| list.len() == 2));
    let transports: Vec<_> = clients.iter().map(|client| &client["transport"]).collect();
    assert_eq!(transports, ["sse", "ws"]);
    let id = clients[0]["id"].to_string();
    let kicked = daemon.command(&["kick", "--id", &id]).output().unwrap();
    assert!(kicked.status.success(), "{kicked:?}");
    let mut rest = String::new();
    events.0.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, ": closed: kicked\n\n");
    until("one client", || (list().len() == 1).then_some(()));
}

#[test]
fn at_a_stop_everything_due_comes_and_then_the_end() {
    const MESSAGES: usize = 2_000;
    let mut daemon = Daemon::start(UNLIMITED);
    let mut streams: Vec<_> = (0..20).map(|_| EventStream::open(&daemon, "/events")).collect();
    let mut client = daemon.connect();
    for number in 0..MESSAGES {
        client.say("ann", &format!("{number} {}", "x".repeat(500)));
        client.text();
    }
    daemon.signal(Signal::TERM);
    for stream in &mut streams {
        for number in 0..MESSAGES {
            assert!(stream.hear().starts_with(&format!("{number} ")));
        }
        assert_eq!(stream.event(), None);
    }
    assert!(daemon.wait().success());
}

#[test]
fn a_client_that_closes_is_gone() {
    let daemon = Daemon::start("");
    let half_closed = EventStream::open(&daemon, "/events");
    half_closed.0.get_ref().shutdown(Shutdown::Write).unwrap();
    drop(EventStream::open(&daemon, "/events"));
    until("both are gone", || (count(&daemon) == 0).then_some(()));
}

#[test]
fn a_silent_stream_gets_comments() {
    let daemon = Daemon::start(NO_PRESENCE);
    let mut events = EventStream::open(&daemon, "/events");
    assert_eq!(events.line().as_deref(), Some(":"));
    assert_eq!(events.line().as_deref(), Some(""));
}

/// Slow streams lose their place as WebSockets do, and hold up nobody.
#[test]
fn a_stream_that_is_not_read_is_closed() {
    let config =
        "[limits]\nmessages_per_sec = 0\nfeed_tail_bytes = 65536\nsend_buffer_bytes = 4096\n";
    let daemon = Daemon::start(config);
    let mut slow = EventStream::open(&daemon, "/events");
    let mut fast = EventStream::open(&daemon, "/events");
    let mut client = daemon.connect();
    let mut sent = 0;
    until("the slow stream is closed", || {
        client.say("ann", &format!("{sent} {}", "x".repeat(10_000)));
        client.text();
        assert!(fast.hear().starts_with(&format!("{sent} ")));
        sent += 1;
        // What is due is written for 5 seconds more.
        daemon.log().contains(": too-slow").then_some(())
    });
    let mut next = 0;
    let mut rest = Vec::new();
    slow.0.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    for block in rest.split_inclusive("\n\n").filter(|block| block.starts_with("id: ")) {
        let data = block.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
        let json: Value = serde_json::from_str(data).unwrap();
        assert!(json["msg"].as_str().unwrap().starts_with(&format!("{next} ")));
        next += 1;
    }
    assert!(next < sent && rest.ends_with("\n\n"), "{next} of {sent}");
    let comment = rest.trim_end().lines().last().unwrap();
    assert!(comment.starts_with(": closed: too slow: "), "{comment}");
}

/// Both transports get the same messages in the same order.
#[test]
fn streams_and_websockets_share_a_flood() {
    const MESSAGES: usize = 3_000;
    let daemon = Daemon::start(UNLIMITED);
    let mut streams: Vec<_> = (0..5).map(|_| EventStream::open(&daemon, "/events")).collect();
    let mut clients: Vec<Client> = (0..5).map(|_| daemon.connect()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut speaker = daemon.connect();
            (0..MESSAGES).for_each(|number| speaker.say("ann", &number.to_string()));
            (0..MESSAGES).for_each(|_| drop(speaker.text()));
        });
        for stream in &mut streams {
            scope.spawn(|| {
                (0..MESSAGES).for_each(|number| assert_eq!(stream.hear(), number.to_string()));
            });
        }
        for client in &mut clients {
            scope.spawn(|| {
                (0..MESSAGES).for_each(|number| assert_eq!(client.hear(), number.to_string()));
            });
        }
    });
}
