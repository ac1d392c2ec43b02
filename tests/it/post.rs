//! Speaking by POST, over real sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header};
use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::harness::{DEADLINE, Daemon, Setup, UNLIMITED, UPGRADE, until};
use crate::manager::Manager;

const SECRET: &str = "a secret of thirty-two bytes, yes";
const BODY: &str = r#"{"usr":"ci","msg":"green"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

/// A client that keeps its connection.
struct Http(TcpStream);

/// A response with the whole body.
#[derive(Debug)]
struct Response {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
}

impl Http {
    fn connect(daemon: &Daemon) -> Self {
        Self::open(daemon.addr)
    }

    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, request: &str) {
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// Reads the head of a response.
    fn head(&mut self) -> Response {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head));
            });
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        Response { status, fields: lines.map(field).collect(), body: String::new() }
    }

    /// Reads a response.
    fn response(&mut self) -> Response {
        let mut response = self.head();
        let mut body = Vec::new();
        match response.fields.get("content-length") {
            Some(length) => {
                body.resize(length.parse().unwrap(), 0);
                self.0.read_exact(&mut body).unwrap();
            }
            None => drop(self.0.read_to_end(&mut body).unwrap()),
        }
        response.body = String::from_utf8(body).unwrap();
        response
    }

    /// The response to a request; `None` if the connection is closed before its first byte.
    fn try_ask(&mut self, request: &str) -> Option<Response> {
        self.0.write_all(request.as_bytes()).ok()?;
        (self.0.peek(&mut [0]).ok()? > 0).then(|| self.response())
    }

    /// The response to a request.
    fn ask(&mut self, request: &str) -> Response {
        self.send(request);
        self.response()
    }

    /// Waits until the server closes the connection. Returns what it sends before that.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is allowed; the deadline would be another error.
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8(rest).unwrap()
    }
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Checks the status, and the code of the notice; none if it is empty.
    #[track_caller]
    fn check(&self, status: u16, code: &str) {
        let json = self.json();
        let err = json.get("err").map_or("", |code| code.as_str().unwrap());
        assert_eq!((self.status, err), (status, code), "{self:?}");
        assert_eq!(self.field("content-type"), "application/json");
        assert_eq!(self.field("cache-control"), "no-store");
        assert_eq!(json["usr"] == "wschat", !code.is_empty() || json.get("ack").is_some());
        assert_eq!(!self.field("www-authenticate").is_empty(), status == 401, "{self:?}");
        let retries = !self.field("retry-after").is_empty();
        assert_eq!(retries, matches!(status, 429 | 503), "{self:?}");
    }
}

/// A request with these further header fields, each with its line end.
fn with(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
}

fn post(body: &str) -> String {
    with(JSON, body)
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
}

/// How often messages were refused with this code.
fn refused(daemon: &Daemon, code: &str) -> u64 {
    let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
    serde_json::from_slice::<Value>(&status).unwrap()["refused"][code].as_u64().unwrap()
}

#[test]
fn the_response_is_the_message_as_everybody_gets_it() {
    let daemon = Daemon::start("");
    let mut listener = daemon.connect();
    let mut http = Http::connect(&daemon);
    let mut last = String::new();
    for body in [
        BODY,
        "{ \"usr\" : \"c\\u0069\", \"n\" : 1.0e5, \"x\":[ 1,\r\n2 ], \"tim\":1, \"jwt\":\"x\", \
         \"msg\":\"\u{fc}\" }",
        r#"{"usr":"ci","msg":""}"#,
    ] {
        let response = http.ask(&post(body));
        response.check(200, "");
        assert_eq!(response.body, listener.text());
        assert!(!response.body.contains("jwt"));
        let tim = response.json()["tim"].as_str().unwrap().to_owned();
        assert!(tim > last, "{tim} after {last}");
        last = tim;
    }
    assert_eq!(daemon.http(&post(BODY).replace("1.1", "1.0")).matches("green").count(), 1);
    assert_eq!(listener.hear(), "green");
    let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!((&status["messages"], &status["listeners"]), (&json!(4), &json!(1)));
}

#[test]
fn each_refusal_has_its_status() {
    let daemon = Daemon::start("");
    let mut http = Http::connect(&daemon);
    for (body, status, code) in [
        ("", 400, "bad-json"),
        ("{", 400, "bad-json"),
        ("{}x", 400, "bad-json"),
        ("\u{feff}{}", 400, "bad-json"),
        ("[]", 400, "not-an-object"),
        (r#"{"usr":"a","usr":"a","msg":"b"}"#, 400, "duplicate-field"),
        (r#"{"msg":"b"}"#, 400, "missing-usr"),
        (r#"{"usr":"a"}"#, 400, "missing-msg"),
        (r#"{"usr":"a","msg":1}"#, 400, "bad-type"),
        (r#"{"usr":"wschat","msg":"b"}"#, 403, "name-reserved"),
        (BODY, 200, ""),
    ] {
        // All on one connection.
        http.ask(&post(body)).check(status, code);
    }
    http.send(&post("123"));
    http.response().check(400, "not-an-object");
    http.0
        .write_all(&[post("12").as_bytes().strip_suffix(b"2").unwrap(), b"\xff"].concat())
        .unwrap();
    http.response().check(400, "bad-json");
    assert_eq!(refused(&daemon, "bad-json"), 5);
}

#[test]
fn only_json_is_accepted() {
    let daemon = Daemon::start(UNLIMITED);
    for value in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=\"utf-8\"; x=y",
    ] {
        let mut http = Http::connect(&daemon);
        http.ask(&with(&format!("Content-Type: {value}\r\n"), BODY)).check(200, "");
    }
    for fields in [
        "",
        "Content-Type:\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: text/plain; application/json\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let mut http = Http::connect(&daemon);
        http.ask(&with(fields, BODY)).check(415, "media-type");
        // The connection stays open.
        http.ask(&post(BODY)).check(200, "");
    }
}

#[test]
fn lengths() {
    let daemon = Daemon::start("limits.messages_per_sec = 0\nlimits.message_bytes_max = 1000");
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nOrigin: null\r\n{JSON}");
    let ask = |rest: &str| Http::connect(&daemon).ask(&format!("{head}{rest}"));
    for chunks in [
        format!("1a\r\n{BODY}\r\n0\r\n\r\n"),
        format!("5\r\n{}\r\n15;x=y\r\n{}\r\n0\r\nT: x\r\n\r\n", &BODY[..5], &BODY[5..]),
    ] {
        ask(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}")).check(200, "");
        ask(&format!("transfer-encoding: Chunked\r\n\r\n{chunks}")).check(200, "");
    }
    ask(&format!("Content-Length: 26\r\nContent-Length: 26\r\n\r\n{BODY}")).check(200, "");
    ask("\r\n").check(400, "bad-json");
    for fields in [
        "Content-Length: x",
        "Content-Length: -1",
        "Content-Length: +26",
        "Content-Length: 26.0",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 26\r\nContent-Length: 27",
        "Content-Length: 26, 27",
        "Content-Length: 26\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 26",
        "Transfer-Encoding: chunked\r\nContent-Length: x",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Ho st: h",
        "Host: h",
        "Authorization: Bearer x\r\nAuthorization: Bearer y",
    ] {
        let mut http = Http::connect(&daemon);
        let response = http.ask(&format!("{head}{fields}\r\n\r\n{BODY}"));
        response.check(400, "bad-request");
        assert_eq!(response.field("access-control-allow-origin"), "*", "{fields}");
        assert_eq!(response.field("connection"), "close", "{fields}");
        assert_eq!(http.rest(), "", "{fields}");
    }
    for chunk in ["x\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "2\r\n{}x"] {
        let response = ask(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        response.check(400, "bad-request");
    }
    // Not all of it is read.
    let long = "x".repeat(999);
    for rest in [
        "Content-Length: 1001\r\n\r\n".to_owned(),
        "Content-Length: 999999999\r\n\r\n{".to_owned(),
        "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n3e7\r\n{long}\r\n2\r\n{{}}\r\n"),
    ] {
        let mut http = Http::connect(&daemon);
        let response = http.ask(&format!("{head}{rest}"));
        response.check(413, "too-large");
        assert_eq!(response.field("connection"), "close");
        assert_eq!(http.rest(), "");
    }
    let longest = format!("{{\"usr\":\"ci\",\"msg\":\"{}\"}}", "x".repeat(1000 - 21));
    assert_eq!(longest.len(), 1000);
    Http::connect(&daemon).ask(&post(&longest)).check(200, "");
    let mut http = Http::connect(&daemon);
    http.send(&format!("{head}Content-Length: 99\r\n\r\n{BODY}"));
    http.0.shutdown(Shutdown::Write).unwrap();
    http.response().check(400, "bad-request");
}

#[test]
fn a_client_that_sends_a_far_too_long_body_gets_its_response() {
    let daemon = Daemon::start("");
    // More than the buffers of the two sockets can hold.
    let body = "x".repeat(16 << 20);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{JSON}");
    for request in [post(&body), format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}")] {
        let mut http = Http::connect(&daemon);
        http.send(&request);
        http.response().check(413, "too-large");
        assert_eq!(http.rest(), "");
    }
}

#[test]
fn a_head_that_is_too_long_gets_a_notice() {
    let daemon = Daemon::start("");
    let mut http = Http::connect(&daemon);
    let response = http.ask(&with(&format!("{JSON}Cookie: {}\r\n", "x".repeat(20_000)), BODY));
    response.check(431, "bad-request");
    for (request, want) in [("GET", "text/plain; charset=utf-8"), ("POST", "application/json")] {
        let response =
            Http::connect(&daemon).ask(&format!("{request} / HTTP/1.1\r\nA b: c\r\n\r\n"));
        assert_eq!((response.status, response.field("content-type")), (400, want));
        assert_eq!(response.field("access-control-allow-origin"), "*");
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let daemon = Daemon::start(UNLIMITED);
    let mut listener = daemon.connect();
    let mut http = Http::connect(&daemon);
    let body = |number: usize| format!(r#"{{"usr":"ci","msg":"{number}"}}"#);
    let request = |number| match number % 3 {
        0 => post(&body(number)),
        1 => {
            let (length, body) = (body(number).len(), body(number));
            let head = format!("POST /?jwt=x HTTP/1.1\r\nHost: h\r\n{JSON}");
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
        }
        _ => post(r#"{"usr":"ci"}"#),
    };
    let pipelined: String = (0..99).map(request).collect();
    let stream = http.0.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(pipelined.as_bytes()).unwrap());
        for number in 0..99 {
            let response = http.response();
            if number % 3 == 2 {
                response.check(400, "missing-msg");
            } else {
                response.check(200, "");
                assert_eq!(response.json()["msg"], number.to_string());
                assert_eq!(listener.text(), response.body);
            }
        }
    });
    http.send(&(post(BODY) + "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\ngarbage"));
    http.response().check(200, "");
    assert_eq!(http.response().status, 404);
    assert_eq!(http.rest(), "");
    // The connection can still become a WebSocket.
    let mut http = Http::connect(&daemon);
    http.send(&(post(BODY) + UPGRADE));
    http.response().check(200, "");
    let head = http.head();
    assert_eq!((head.status, head.field("access-control-allow-origin")), (101, ""));
    http.ask_close_after(&post(BODY), &daemon);
}

impl Http {
    /// A connection that the client wants closed is closed.
    fn ask_close_after(&mut self, request: &str, daemon: &Daemon) {
        let mut http = Self::connect(daemon);
        http.ask(&request.replace("Host", "Connection: close\r\nHost")).check(200, "");
        assert_eq!(http.rest(), "");
    }
}

#[test]
fn slow_and_idle_clients_are_cut() {
    let daemon = Daemon::start("limits.handshake_timeout_secs = 2");
    let begin = post(BODY);
    for cut in [5, begin.len() - 1] {
        let (mut http, start) = (Http::connect(&daemon), Instant::now());
        http.send(&begin[..cut]);
        let mut stream = http.0.try_clone().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // A little more now and then does not help.
            scope.spawn(|| {
                while cut == 5 && !is_over.load(Ordering::SeqCst) {
                    let _ = stream.write_all(b"x");
                    thread::sleep(Duration::from_millis(100));
                }
            });
            assert_eq!(http.rest(), "");
            is_over.store(true, Ordering::SeqCst);
        });
        assert!(start.elapsed() >= Duration::from_secs(2));
    }
    let rejections = || {
        let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
        serde_json::from_slice::<Value>(&status).unwrap()["refused_connections"]["late"].clone()
    };
    let late = rejections();
    let mut http = Http::connect(&daemon);
    // Each request has the whole time, however old the connection is.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(3000) {
        http.ask(&post(BODY)).check(200, "");
        thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(http.rest(), "");
    assert_eq!(rejections(), late, "an idle connection is not a late request");
}

#[test]
fn expect_continue() {
    let daemon = Daemon::start("");
    let mut http = Http::connect(&daemon);
    let request = with(&format!("{JSON}Expect: 100-continue\r\n"), BODY);
    let head = request.strip_suffix(BODY).unwrap();
    http.send(head);
    assert_eq!(http.head().status, 100);
    http.ask(BODY).check(200, "");
    // The body was not asked for.
    let response = http.ask(&head.replace("application/json", "text/plain"));
    response.check(415, "media-type");
    assert_eq!(response.field("connection"), "close");
    assert_eq!(http.rest(), "");
}

#[test]
fn tokens() {
    let auth = format!("[auth]\njwt_secret = '{SECRET}'\nbind_usr = 'sub'\ncheck_exp = true\n");
    let daemon = Daemon::start(&format!("{auth}{}", "[limits]\nmessages_per_sec = 0\n"));
    let open = Daemon::start(UNLIMITED);
    let far = 99_999_999_999_u64;
    let good = token(&json!({ "sub": "ci", "exp": far }));
    let other = token(&json!({ "sub": "ci", "exp": far, "jti": "2" }));
    let expired = token(&json!({ "sub": "ci", "exp": 1 }));
    let body = |token: &str| json!({ "usr": "ci", "msg": "x", "jwt": token }).to_string();
    let null = r#"{"usr":"ci","msg":"x","jwt":null}"#.to_owned();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (fields, body, status, code) in [
        (bearer(&good), BODY.to_owned(), 200, ""),
        (format!("authorization: bEARER   {good}\r\n"), BODY.to_owned(), 200, ""),
        (String::new(), body(&good), 200, ""),
        (bearer(&good), body(&good), 200, ""),
        (bearer(&good), body(""), 200, ""),
        (bearer(&good), null.clone(), 200, ""),
        (bearer(""), body(&good), 200, ""),
        ("Authorization: Basic YTpi\r\n".into(), body(&good), 200, ""),
        (format!("Authorization: Basic YTpi\r\n{}", bearer(&good)), BODY.into(), 200, ""),
        (format!("{}{}", bearer(&good), bearer(&good)), BODY.into(), 200, ""),
        (String::new(), BODY.into(), 401, "jwt-missing"),
        ("Authorization: Basic YTpi\r\n".into(), BODY.into(), 401, "jwt-missing"),
        ("Authorization: Bearer\r\n".into(), null, 401, "jwt-missing"),
        (bearer("x.y.z"), BODY.into(), 401, "jwt-invalid"),
        (bearer("x y"), BODY.into(), 401, "jwt-invalid"),
        (bearer(&expired), BODY.into(), 401, "jwt-expired"),
        (bearer(&good), r#"{"usr":"bob","msg":"x"}"#.into(), 403, "name-mismatch"),
        (bearer(&good), body(&other), 400, "bad-request"),
        (bearer(&other), body(&good), 400, "bad-request"),
        (bearer(&good), body("x"), 400, "bad-request"),
        (bearer(&good), r#"{"jwt":1,"usr":1}"#.into(), 400, "bad-request"),
        (bearer(&good), r#"{"jwt":"x","a":1,"a":1}"#.into(), 400, "bad-request"),
        (bearer(&good), r#"{"jwt":"x""#.into(), 400, "bad-json"),
        (format!("{}{}", bearer(&good), bearer(&other)), BODY.into(), 400, "bad-request"),
    ] {
        let request = with(&format!("{JSON}{fields}"), &body);
        let response = Http::connect(&daemon).ask(&request);
        response.check(status, code);
        let has_error = response.field("www-authenticate").contains("invalid_token");
        assert_eq!(has_error, status == 401 && code != "jwt-missing", "{response:?}");
        assert!(!response.body.contains(&good), "{response:?}");
        // Without a key, two different tokens are an error too.
        let is_open = !matches!(code, "bad-request" | "bad-json");
        let response = Http::connect(&open).ask(&request);
        response.check(if is_open { 200 } else { 400 }, if is_open { "" } else { code });
    }
    let request = post(BODY).replace("POST / ", &format!("POST /?jwt={good}&access_token={good} "));
    Http::connect(&daemon).ask(&request).check(401, "jwt-missing");
    assert!(!daemon.log().contains(&good), "{}", daemon.log());
}

#[test]
fn moderators_send_commands() {
    let auth = format!("[auth]\njwt_secret = '{SECRET}'\nmoderator_claim = 'mod'\n");
    let daemon = Daemon::start(&format!("{auth}[limits]\nmessages_per_sec = 0\n"));
    let ann = token(&json!({ "sub": "ann", "mod": true }));
    let bob = token(&json!({ "sub": "bob" }));
    let mut http = Http::connect(&daemon);
    let mut ask = |token: &str, message: Value| {
        http.ask(&with(&format!("{JSON}Authorization: Bearer {token}\r\n"), &message.to_string()))
    };
    let mut listener = daemon.connect();
    listener.send(&json!({ "usr": "bob", "msg": "hi", "jwt": bob }).to_string());
    let tim = listener.json()["tim"].clone();
    let command = |cmd: Value| json!({ "usr": "ann", "cmd": cmd });
    let say = json!({ "usr": "bob", "msg": "x" });
    ask(&bob, json!({ "usr": "bob", "cmd": { "lock": true } })).check(403, "not-a-moderator");
    ask(&ann, command(json!({ "dance": true }))).check(400, "bad-command");
    ask(&ann, command(json!({ "unmute": "nobody" }))).check(400, "bad-command");
    for (cmd, code) in
        [(json!({ "lock": true }), "locked"), (json!({ "mute": "bob", "secs": 600 }), "muted")]
    {
        let response = ask(&ann, command(cmd.clone()));
        response.check(200, "");
        assert_eq!(
            response.json()["ack"],
            cmd.as_object().unwrap().keys().next().unwrap().as_str()
        );
        ask(&bob, say.clone()).check(403, code);
        ask(&ann, command(json!({ "unlock": true })));
    }
    ask(&ann, command(json!({ "unmute": "bob" }))).check(200, "");
    ask(&bob, say).check(200, "");
    assert_eq!(listener.hear(), "x");
    ask(&ann, command(json!({ "retract": tim }))).check(200, "");
    assert_eq!(listener.json()["retract"], tim);
    ask(&ann, command(json!({ "kick": "bob" }))).check(200, "");
    assert_eq!(listener.closed().1, 1008);
}

#[test]
fn the_budget_is_shared_with_websockets() {
    let daemon = Daemon::start("[limits]\nmessages_per_sec = 1\nmessages_burst = 4");
    let mut client = daemon.connect();
    let mut http = Http::connect(&daemon);
    for _ in 0..2 {
        client.say("ci", "x");
        assert_eq!(client.hear(), "x");
        http.ask(&post(BODY)).check(200, "");
        assert_eq!(client.hear(), "green");
    }
    let response = http.ask(&post(BODY));
    response.check(429, "rate-limited");
    assert_eq!(response.field("retry-after"), response.json()["wait"].to_string());
    client.say("ci", "x");
    assert_eq!(client.json()["err"], "rate-limited");
}

#[test]
fn each_request_counts_as_a_connection_of_its_address() {
    let limits = "connects_per_address_per_sec = 1\nconnections_per_address_max = 1\n\
        connections_max = 1";
    let daemon = Daemon::start(&format!("[limits]\n{limits}"));
    let _full = daemon.connect();
    let mut http = Http::connect(&daemon);
    // The rate allows five at once.
    for _ in 0..4 {
        http.ask(&post(BODY)).check(200, "");
    }
    let response = http.ask(&post(BODY));
    response.check(429, "rate-limited");
    assert_eq!(response.field("retry-after"), "1");
    let response = Http::connect(&daemon).ask(&post(BODY));
    response.check(429, "rate-limited");
    let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["refused_connections"]["address-rate"], 2);
    assert_eq!(status["refused"]["rate-limited"], 2);
}

#[test]
fn pages_of_other_origins() {
    let open = Daemon::start("");
    let listed = Daemon::start("listen.origins = ['https://chat.example']");
    let from = |origin: &str| with(&format!("{JSON}Origin: {origin}\r\n"), BODY);
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: h\r\nOrigin: https://chat.example\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n";
    for origin in ["https://chat.example", "https://other.example", "null"] {
        let response = Http::connect(&open).ask(&from(origin));
        response.check(200, "");
        assert_eq!(response.field("access-control-allow-origin"), "*");
        assert_eq!(
            (response.field("vary"), response.field("access-control-allow-credentials")),
            ("", "")
        );
    }
    for daemon in [&open, &listed] {
        let response = Http::connect(daemon).ask(preflight);
        assert_eq!(response.status, 200);
        assert_eq!(response.field("access-control-allow-methods"), "GET, HEAD, POST, OPTIONS");
        assert_eq!(
            response.field("access-control-allow-headers"),
            "Content-Type, Authorization, Last-Event-ID"
        );
        assert_eq!(response.field("allow"), "GET, HEAD, POST, OPTIONS");
    }
    let response = Http::connect(&listed).ask(&from("https://chat.example"));
    response.check(200, "");
    assert_eq!(response.field("access-control-allow-origin"), "https://chat.example");
    assert_eq!(response.field("vary"), "Origin");
    // Before anything else is looked at.
    let other = from("https://other.example");
    for request in [other.clone(), other.replace("json", "xml"), other.replace("26", "99999")] {
        let response = Http::connect(&listed).ask(&request);
        response.check(403, "origin");
        assert_eq!(response.field("access-control-allow-origin"), "");
        assert_eq!(response.field("vary"), "Origin");
    }
    let response = Http::connect(&listed).ask(&preflight.replace("chat", "other"));
    assert_eq!((response.status, response.field("access-control-allow-methods")), (200, ""));
    let response = Http::connect(&listed).ask(&post(BODY));
    response.check(200, "");
    assert_eq!(response.field("vary"), "Origin");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\nOrigin: https://chat.example\r\n\r\n", 200),
        ("DELETE / HTTP/1.1\r\nHost: h\r\nOrigin: https://chat.example\r\n\r\n", 405),
        ("GET /events?since=x HTTP/1.1\r\nHost: h\r\nOrigin: https://chat.example\r\n\r\n", 400),
    ] {
        let response = Http::connect(&listed).ask(request);
        assert_eq!(response.status, status);
        assert_eq!(response.field("access-control-allow-origin"), "https://chat.example");
    }
}

#[test]
fn event_streams_are_for_pages_of_other_origins_too() {
    let daemon = Daemon::start("");
    let mut stream = Http::connect(&daemon);
    // Complete at once, and in pieces.
    for pieces in [
        &["GET /events HTTP/1.1\r\nHost: h\r\n\r\n"][..],
        &["GET /ev", "ents HTTP/1.1\r\nHost: h\r\n\r\n"],
    ] {
        for piece in pieces {
            stream.send(piece);
            thread::sleep(Duration::from_millis(20));
        }
        let head = stream.head();
        assert_eq!((head.status, head.field("access-control-allow-origin")), (200, "*"));
        stream = Http::connect(&daemon);
    }
    let request = "OPTIONS /events HTTP/1.1\r\nHost: h\r\n\r\n";
    let response = stream.ask(request);
    assert_eq!(response.field("access-control-allow-methods"), "GET, HEAD, OPTIONS");
    assert_eq!(response.field("allow"), "GET, HEAD, OPTIONS");
}

#[test]
fn the_client_of_a_trusted_proxy() {
    let daemon = Daemon::start(
        "listen.trusted_proxies = ['127.0.0.1']\n[limits]\nmessages_per_sec = 1\nmessages_burst = 1",
    );
    let mut http = Http::connect(&daemon);
    let mut from =
        |address: &str| http.ask(&with(&format!("{JSON}X-Forwarded-For: {address}\r\n"), BODY));
    from("192.0.2.1").check(200, "");
    from("192.0.2.1").check(429, "rate-limited");
    from("192.0.2.2").check(200, "");
}

/// A listener that reads so slowly that the gate holds messages back, until it is dropped.
struct SlowListener {
    stream: TcpStream,
}

impl SlowListener {
    fn join(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.addr).unwrap();
        SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
        (&stream).write_all(UPGRADE.as_bytes()).unwrap();
        Self { stream }
    }

    /// Reads a little now and then until `is_over`.
    fn read(&self, is_over: &AtomicBool) {
        let mut buffer = vec![0; 8192];
        while !is_over.load(Ordering::SeqCst) {
            let _ = (&self.stream).read(&mut buffer);
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_message_is_either_sent_and_answered_with_200_or_never_sent() {
    const CLIENTS: usize = 40;
    let config = "[limits]\nmessages_per_sec = 0\nfeed_tail_bytes = 65536\nsend_buffer_bytes = 4096\n\
        handshake_timeout_secs = 1\nping_interval_secs = 3600\nidle_timeout_secs = 7200\n\
        [server]\nthreads = 2\n";
    let daemon = Daemon::start(config);
    let slow = SlowListener::join(&daemon);
    let mut listener = daemon.connect();
    let is_over = AtomicBool::new(false);
    let (mut heard, answers) = thread::scope(|scope| {
        scope.spawn(|| slow.read(&is_over));
        let heard = scope.spawn(move || {
            let texts = std::iter::from_fn(|| Some(listener.text()));
            texts.take_while(|text| !text.contains("\"end\"")).collect::<Vec<_>>()
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    for number in 0..4 {
                        let msg = format!("{client}.{number}.{}", "x".repeat(8000));
                        let body = json!({ "usr": "ci", "msg": msg }).to_string();
                        let response = Http::connect(daemon).ask(&post(&body));
                        let is_sent = response.status == 200;
                        response.check(
                            if is_sent { 200 } else { 503 },
                            if is_sent { "" } else { "unavailable" },
                        );
                        answers.push((is_sent, if is_sent { response.body } else { msg }));
                    }
                    answers
                })
            })
            .collect();
        let answers: Vec<_> = clients.into_iter().flat_map(|it| it.join().unwrap()).collect();
        is_over.store(true, Ordering::SeqCst);
        // Nothing else is sent any more.
        until("the end", || {
            let response = Http::connect(&daemon).ask(&post(r#"{"usr":"ci","msg":"end"}"#));
            (response.status == 200).then_some(())
        });
        (heard.join().unwrap(), answers)
    });
    let (sent, unsent): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(is_sent, _)| *is_sent);
    println!("{} sent, {} not", sent.len(), unsent.len());
    assert!(!unsent.is_empty(), "the gate was never closed for long");
    let mut sent: Vec<_> = sent.into_iter().map(|(_, text)| text).collect();
    sent.sort();
    heard.sort();
    assert!(sent == heard, "{} sent, {} heard", sent.len(), heard.len());
    assert_eq!(refused(&daemon, "unavailable") as usize, unsent.len());
}

#[test]
fn a_request_that_gives_way_gets_a_response() {
    // The fewest places for unfinished requests.
    let script = "ulimit -n 128; exec \"$@\"";
    let daemon = Setup::new("limits.handshake_timeout_secs = 120")
        .wrapper(&["sh", "-c", script, "sh"])
        .start();
    let mut http = Http::connect(&daemon);
    let request = post(BODY);
    http.send(&request[..request.len() - 1]);
    let _idle: Vec<_> = (0..200).map(|_| Http::connect(&daemon)).collect();
    let response = http.response();
    response.check(503, "unavailable");
    assert_eq!(response.field("connection"), "close");
    assert_eq!(response.field("access-control-allow-origin"), "*");
    assert_eq!(refused(&daemon, "unavailable"), 1);
    // A newcomer gets a place.
    Http::connect(&daemon).ask(&request).check(200, "");
}

#[test]
fn an_unfinished_request_is_answered_at_a_stop() {
    let mut daemon = Daemon::start("");
    let request = post(BODY);
    let mut http = Http::connect(&daemon);
    http.ask(&request).check(200, "");
    http.send(&request[..request.len() - 1]);
    let mut idle = Http::connect(&daemon);
    idle.ask(&request).check(200, "");
    let mut listener = daemon.connect();
    daemon.signal(Signal::TERM);
    http.response().check(503, "unavailable");
    assert_eq!((http.rest(), idle.rest()), (String::new(), String::new()));
    assert_eq!(listener.closed().1, 1001);
    daemon.wait();
}

#[test]
fn no_message_is_lost_or_repeated_in_restarts() {
    const RESTARTS: usize = 5;
    let manager = Manager::with_config("limits.messages_per_sec = 0\n[server]\nthreads = 2\n");
    let mut daemon = manager.start();
    let address = daemon.addr;
    let mut listener = daemon.connect();
    let is_over = AtomicBool::new(false);
    let mut texts = Vec::new();
    let (_daemon, answers) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    let mut http = Http::open(address);
                    for number in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let msg = format!("{client}.{number}");
                        let body = json!({ "usr": "ci", "msg": msg }).to_string();
                        let response = http.try_ask(&post(&body));
                        if response.as_ref().is_none_or(|it| it.field("connection") == "close") {
                            http = Http::open(address);
                        }
                        answers.push((msg, response.map(|response| response.status)));
                    }
                    answers
                })
            })
            .collect();
        for _ in 0..RESTARTS {
            texts.push(listener.hear());
            daemon = manager.restart(daemon);
            texts.push(listener.hear());
        }
        is_over.store(true, Ordering::SeqCst);
        let answers = clients.into_iter().flat_map(|client| client.join().unwrap());
        (daemon, answers.collect::<Vec<_>>())
    });
    listener.say("end", "end");
    while texts.last().is_none_or(|text| text != "end") {
        texts.push(listener.hear());
    }
    let mut heard = BTreeMap::<String, usize>::new();
    for text in texts {
        *heard.entry(text).or_default() += 1;
    }
    for (msg, status) in &answers {
        let count = heard.get(msg).copied().unwrap_or_default();
        match status {
            Some(200) => assert_eq!(count, 1, "{msg}"),
            Some(503) => assert_eq!(count, 0, "{msg}"),
            Some(status) => panic!("{status}"),
            // The connection was closed before the response.
            None => assert!(count <= 1, "{msg}"),
        }
    }
    let count = |status| answers.iter().filter(|(_, own)| *own == status).count();
    println!("{} sent, {} refused, {} lost", count(Some(200)), count(Some(503)), count(None));
}
