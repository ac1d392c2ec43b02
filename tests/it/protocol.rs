//! The wire contract, man/wschat-protocol.7, sentence by sentence.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tungstenite::Message;
use wschat::ws::frame::client_frame;

use crate::harness::{Client, Daemon, NO_PRESENCE, Setup, UNLIMITED};

const SECRET: &str = "a secret of more than thirty-two bytes";

fn token(claims: Value) -> String {
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Sends `text` and gives back the next text, without its `tim`.
fn answer(client: &mut Client, text: &str) -> String {
    client.send(text);
    let answer = client.text();
    let (before, tim) = answer.rsplit_once(",\"tim\":\"").expect("tim is the last field");
    assert!(tim.len() == 32 && tim.ends_with("Z\"}"), "{answer}");
    format!("{before}}}")
}

#[test]
fn a_message_reaches_everyone_as_it_was_sent() {
    let daemon = Daemon::start("");
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    for (sent, want) in [
        (r#"{"usr":"ann","msg":"hi"}"#, r#"{"usr":"ann","msg":"hi"}"#),
        (
            r#" { "x" : [ 1.50 , {"tim":1} ] , "msg" : "\u00e4\n" , "usr" : "ann" } "#,
            r#"{"x":[ 1.50 , {"tim":1} ],"msg":"\u00e4\n","usr":"ann"}"#,
        ),
        (
            r#"{"tim":"never","usr":"ann","err":"x","msg":"","jwt":"a.b.c","n":1e400}"#,
            r#"{"usr":"ann","msg":"","n":1e400}"#,
        ),
    ] {
        assert_eq!(answer(&mut ann, sent), want);
        assert!(bob.text().starts_with(&want[..want.len() - 1]));
    }
}

#[test]
fn tim_increases_in_the_order_of_the_room() {
    let daemon = Setup::new(UNLIMITED).arg("--threads=2").start();
    let mut clients: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
    for round in 0..50 {
        for client in &mut clients {
            client.say("ann", &round.to_string());
        }
    }
    let heard: Vec<Vec<Value>> =
        clients.iter_mut().map(|client| (0..200).map(|_| client.json()).collect()).collect();
    assert!(heard.iter().all(|all| *all == heard[0]));
    let tims: Vec<_> = heard[0].iter().map(|message| message["tim"].as_str().unwrap()).collect();
    assert!(tims.is_sorted_by(|a, b| a < b), "{tims:?}");
}

#[test]
fn only_the_sender_gets_a_notice() {
    let daemon = Daemon::start("");
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    let cases = [
        ("nonsense", "bad-json"),
        ("[]", "not-an-object"),
        (r#"{"msg":"x"}"#, "missing-usr"),
        (r#"{"usr":" ","msg":"x"}"#, "missing-usr"),
        (r#"{"usr":"a"}"#, "missing-msg"),
        (r#"{"usr":"a","msg":null}"#, "bad-type"),
        (r#"{"usr":"a","msg":"x","\u0075sr":"b"}"#, "duplicate-field"),
        (r#"{"usr":" WSChat","msg":"x"}"#, "name-reserved"),
    ];
    for (text, code) in cases {
        ann.send(text);
        let notice = ann.json();
        assert_eq!((&notice["err"], &notice["usr"]), (&json!(code), &json!("wschat")), "{text}");
        assert!(notice["msg"].as_str().unwrap().starts_with("not sent: "), "{notice}");
    }
    ann.0.send(Message::binary(&b"x"[..])).unwrap();
    assert_eq!(ann.json()["err"], "binary");
    ann.say("ann", "still here");
    assert_eq!((ann.hear(), bob.hear()), ("still here".into(), "still here".into()));
}

#[test]
fn at_most_ten_notices_are_sent_at_once() {
    let daemon = Daemon::start("");
    let mut client = daemon.connect();
    for _ in 0..100 {
        client.send("nonsense");
    }
    client.say("ann", "done");
    let notices = std::iter::from_fn(|| Some(client.json())).take_while(|m| m["err"] == "bad-json");
    let notices = notices.count();
    assert!((10..20).contains(&notices), "{notices}");
}

#[test]
fn a_secret_requires_tokens_which_are_not_passed_on() {
    let daemon = Setup::new("[auth]\ncheck_exp = true\n").env("JWT_SECRET", SECRET).start();
    let (mut speaker, mut listener) = (daemon.connect(), daemon.connect());
    let in_an_hour = chrono::Utc::now().timestamp() + 3600;
    let good = token(json!({ "exp": in_an_hour }));
    for (jwt, code) in [
        (Value::Null, "jwt-missing"),
        (json!(""), "jwt-missing"),
        (json!(1), "jwt-invalid"),
        (json!("a.b.c"), "jwt-invalid"),
        (json!(token(json!({ "exp": 1 }))), "jwt-expired"),
        (json!(token(json!({ "sub": "x" }))), "jwt-invalid"),
        (json!(token(json!({ "exp": in_an_hour, "nbf": in_an_hour }))), "jwt-invalid"),
    ] {
        speaker.send(&json!({ "usr": "a", "msg": "x", "jwt": jwt }).to_string());
        let notice = speaker.text();
        assert!(notice.contains(&format!("\"err\":\"{code}\"")), "{jwt}: {notice}");
    }
    for number in 0..3 {
        speaker.send(&json!({ "usr": "a", "msg": number.to_string(), "jwt": good }).to_string());
        let heard = listener.json();
        assert_eq!(heard["msg"], number.to_string());
        assert_eq!(heard.as_object().unwrap().len(), 3, "{heard}");
    }
    assert!(!daemon.log().contains(&good));
}

#[test]
fn the_client_of_wschat_0_2_1_works_unchanged() {
    // It opened `/`, sent `usr`, `msg` and `jwt`, and printed `tim`, `usr` and `msg`.
    let daemon = Setup::new("").env("JWT_SECRET", SECRET).start();
    let mut client = daemon.connect();
    let jwt = token(json!({ "aud": "someone else", "exp": 1 }));
    client.send(&json!({ "jwt": jwt, "usr": "old", "msg": "hello" }).to_string());
    let message = client.json();
    assert_eq!((&message["usr"], &message["msg"]), (&json!("old"), &json!("hello")));
    assert!(chrono::DateTime::parse_from_rfc3339(message["tim"].as_str().unwrap()).is_ok());
}

/// Sends raw bytes and gives back all that comes until the end.
fn raw(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut client = daemon.connect();
    let stream = client.0.get_mut();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // The end may be a reset, if the server did not read everything.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn every_close_has_its_code() {
    let daemon = Daemon::start("room.presence = false\n[limits]\nmessage_bytes_max = 1000\n");
    for (bytes, want) in [
        (client_frame(0x81, &[b'x'; 1001]), &b"\x88\x11\x03\xf1message too big"[..]),
        (client_frame(0x81, b"\xff"), b"\x88\x13\x03\xeftext is not UTF-8"),
        (b"\x81\x01x".to_vec(), b"\x88\x15\x03\xeaframe is not masked"),
        (client_frame(0x83, b""), b"\x88\x11\x03\xeareserved opcode"),
        (client_frame(0x88, b"\x03\xe8bye"), b"\x88\x02\x03\xe8"),
        (client_frame(0x88, b""), b"\x88\x00"),
        ([client_frame(0x89, b"ping"), client_frame(0x88, b"")].concat(), b"\x8a\x04ping\x88\x00"),
    ] {
        let answer = raw(&daemon, &bytes);
        assert!(answer.starts_with(want), "{bytes:?}: {:?}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_client_that_sends_and_leaves_at_once_is_received() {
    let daemon = Daemon::start("");
    let mut listener = daemon.connect();
    for number in 0..30 {
        let mut client = daemon.connect();
        let text = format!(r#"{{"usr":"ann","msg":"{number}"}}"#);
        let stream = client.0.get_mut();
        stream.write_all(&client_frame(0x81, text.as_bytes())).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(listener.hear(), number.to_string());
        // Long before an idle connection would be closed.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn a_fragmented_message_with_a_ping_inside_works() {
    let daemon = Daemon::start(NO_PRESENCE);
    let mut client = daemon.connect();
    let text = br#"{"usr":"ann","msg":"in parts"}"#;
    let bytes = [
        client_frame(0x01, &text[..5]),
        client_frame(0x89, b"ping"),
        client_frame(0x00, b""),
        client_frame(0x80, &text[5..]),
    ];
    client.0.get_mut().write_all(&bytes.concat()).unwrap();
    assert!(matches!(client.0.read().unwrap(), Message::Pong(payload) if payload == "ping"));
    assert_eq!(client.hear(), "in parts");
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let limits = "[limits]\nping_interval_secs = 1\nidle_timeout_secs = 3\n";
    let daemon = Daemon::start(&format!("{NO_PRESENCE}{limits}"));
    let mut silent = daemon.connect();
    let mut answering = daemon.connect();
    // Reading answers pings, as long as the silent client exists.
    let answers = thread::spawn(move || answering.hear());
    // This client reads but never answers: pings, and then the end.
    let mut got = Vec::new();
    silent.0.get_mut().read_to_end(&mut got).unwrap();
    let end = b"\x88\x06\x03\xf0idle";
    assert!(got.ends_with(end), "{got:?}");
    let pings = got.len() - end.len();
    assert!(pings.is_multiple_of(2) && (1..=4).contains(&(pings / 2)), "{got:?}");
    // A client that answers is not closed in that time.
    let mut ann = daemon.connect();
    ann.say("ann", "here");
    assert_eq!(answers.join().unwrap(), "here");
}
