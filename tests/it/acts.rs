//! What a moderation action has met is told: connections that a kick closes, messages of a name
//! that are retracted.

use std::net::TcpStream;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::harness::{Client, Daemon, UNLIMITED};

const SECRET: &str = "a secret of thirty-two bytes, yes";

fn start() -> Daemon {
    Daemon::start(&format!(
        "[auth]\njwt_secret = '{SECRET}'\nmoderator_claim = 'mod'\n[limits]\nmessages_per_sec = 0\n\
         messages_burst = 1000\n"
    ))
}

fn token(claims: Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// Sends `msg` as `usr` and returns its `tim`.
fn say(client: &mut Client, usr: &str, msg: &str) -> String {
    let jwt = token(json!({ "sub": format!("sub of {usr}") }));
    client.send(&json!({ "usr": usr, "msg": msg, "jwt": jwt }).to_string());
    loop {
        let heard = client.json();
        if heard["usr"] == usr && heard["msg"] == msg {
            return heard["tim"].as_str().unwrap().to_owned();
        }
    }
}

/// The answer to a command of a moderator, who hears other messages meanwhile.
fn command(client: &mut Client, cmd: Value) -> Value {
    let jwt = token(json!({ "sub": "chief", "mod": true }));
    client.send(&json!({ "usr": "chief", "cmd": cmd, "jwt": jwt }).to_string());
    loop {
        let heard = client.json();
        if heard.get("ack").is_some() || heard.get("err").is_some() {
            return heard;
        }
    }
}

fn operator(daemon: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    let out = daemon.command(words).output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

#[track_caller]
fn check(answer: &Value, kind: (&str, &str), msg: &str, met: Value) {
    let got = (&answer[kind.0], &answer["msg"], &answer["met"]);
    assert_eq!(got, (&json!(kind.1), &json!(msg), &met), "{answer}");
}

#[test]
fn a_moderator_is_told_whom_a_kick_has_met() {
    let daemon = start();
    let mut chief = daemon.connect();
    let bad = ("err", "bad-command");
    let answer = command(&mut chief, json!({ "kick": "bob" }));
    check(&answer, bad, "not done: \"bob\" is not connected", json!(0));
    let mut bobs = [daemon.connect(), daemon.connect()];
    bobs.iter_mut().for_each(|bob| drop(say(bob, "B\u{43e}b", "hi")));
    let answer = command(&mut chief, json!({ "kick": "bob" }));
    check(&answer, ("ack", "kick"), "done: kicked \"bob\", connections: 2", json!(2));
    for mut bob in bobs {
        let (_, code, reason) = bob.closed();
        assert_eq!((code, &*reason), (1008, "kicked"));
    }
    let answer = command(&mut chief, json!({ "kick": "bob" }));
    check(&answer, bad, "not done: \"bob\" is not connected", json!(0));
}

#[test]
fn a_moderator_is_told_that_nothing_has_changed() {
    let daemon = start();
    let mut chief = daemon.connect();
    for (cmd, first, again) in [
        (json!({ "slow": 5 }), "done: set slow mode to 5 s", "slow mode is as requested already"),
        (
            json!({ "lock": true }),
            "done: locked the room: only moderators can send messages",
            "the room is locked already",
        ),
        (json!({ "unlock": true }), "done: unlocked the room", "the room is not locked"),
    ] {
        assert_eq!(command(&mut chief, cmd.clone())["msg"], first);
        let answer = command(&mut chief, cmd);
        assert_eq!(answer["msg"], again);
        assert!(answer.get("ack").is_some() && answer.get("met").is_none(), "{answer}");
    }
}

#[test]
fn a_kick_by_name_finds_who_came_back_and_says_nothing() {
    let daemon = start();
    let mut before = daemon.connect();
    let mut bob = daemon.connect();
    say(&mut bob, "bob", "hi");
    before.hear();
    let kick = |words: &[&str], want: &str, code| {
        assert_eq!(operator(&daemon, words), (Some(code), format!("{want}\n")), "{words:?}");
    };
    // He has not been kicked: nothing is known of this one.
    let mut other = daemon.connect();
    kick(&["kick", "bob"], "kicked \"bob\", connections: 1", 0);
    assert_eq!(bob.closed().1, 1008);
    kick(&["kick", "bob"], "\"bob\" is not connected", 1);
    // Again and again, by a name that looks like it, and by the sub of the first message.
    for name in ["bob", "B0B", "sub of bob"] {
        let mut silent = daemon.connect();
        let mut ann = daemon.connect();
        say(&mut ann, "ann", "hi");
        silent.hear();
        kick(&["kick", name], &format!("kicked {name:?}, connections: 1"), 0);
        assert_eq!(silent.closed().1, 1008);
        assert_eq!(say(&mut ann, "ann", "still here").len(), 30);
    }
    // Who was there before him or is somebody else stays.
    for client in [&mut before, &mut other] {
        say(client, "eve", "still here");
    }
    let mut silent = daemon.connect();
    kick(&["kick", "rob"], "\"rob\" is not connected", 1);
    say(&mut silent, "eve", "still here");
}

#[test]
fn all_messages_of_a_name_are_retracted() {
    let daemon = start();
    let (mut chief, mut bob, mut ann) = (daemon.connect(), daemon.connect(), daemon.connect());
    let tims = [say(&mut bob, "bob", "one"), say(&mut bob, "B\u{43e}b", "two")];
    let kept = say(&mut ann, "ann", "three");
    let last = say(&mut bob, "bob", "four");
    let retract = json!({ "retract": { "name": "b0b" } });

    let answer = command(&mut chief, retract.clone());
    check(&answer, ("ack", "retract"), "done: retracted all of \"b0b\", messages: 3", json!(3));
    let told = loop {
        let heard = ann.json();
        if heard["usr"] == "wschat" {
            break heard;
        }
    };
    assert_eq!(told["msg"], "retracted: 3 messages");
    assert_eq!((&told["retract"], &told["also"]), (&json!(tims[0]), &json!([tims[1], last])));
    assert!(told["tim"].as_str() > Some(&last));

    let none = "not done: the room has no message of \"b0b\" in memory that is not retracted";
    check(&command(&mut chief, retract), ("err", "bad-command"), none, json!(0));
    let (code, said) = operator(&daemon, &["retract", "--all-of", "bob"]);
    assert_eq!((code, said.contains("no message of \"bob\"")), (Some(1), true), "{said}");
    say(&mut bob, "bob", "five");
    let done = "retracted all of \"bob\", messages: 1\n";
    assert_eq!(operator(&daemon, &["retract", "--all-of", "bob"]), (Some(0), done.into()));
    let log = daemon.wait_for_log("retracted all of \"bob\", messages: 1");
    let log = log + &daemon.log();
    assert!(
        log.contains("\"chief\" (sub \"chief\") retracted all of \"b0b\", messages: 3"),
        "{log}"
    );

    for words in [
        &["retract"][..],
        &["retract", "--all-of", " "],
        &["retract", &kept, "--all-of", "bob"],
        &["retract", "bob"],
    ] {
        let (code, said) = operator(&daemon, words);
        assert!(code != Some(0), "{words:?} {said}");
    }
    // Who joins later gets the same.
    let url = format!("ws://{}/?since={}", daemon.addr, tims[0]);
    let mut late = Client::open(TcpStream::connect(daemon.addr).unwrap(), &url);
    let texts: Vec<Value> = (0..6).map(|_| late.json()).collect();
    let retracted = texts.iter().filter(|text| text.get("retract").is_some()).count();
    assert_eq!(retracted, 2, "{texts:?}");
}

#[test]
fn more_messages_than_one_announcement_has_are_retracted() {
    const MESSAGES: usize = 2_345;
    let daemon = Daemon::start(UNLIMITED);
    let (mut bob, mut ann) = (daemon.connect(), daemon.connect());
    for number in 0..MESSAGES {
        bob.say("bob", &format!("spam {number}"));
        bob.hear();
        ann.hear();
    }
    let done = format!("retracted all of \"bob\", messages: {MESSAGES}\n");
    assert_eq!(operator(&daemon, &["retract", "--all-of", "bob"]), (Some(0), done));
    let mut told = 0;
    while told < MESSAGES {
        let heard = ann.json();
        assert!(heard.to_string().len() < 64 * 1024);
        told += 1 + heard["also"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(told, MESSAGES);
}

#[test]
fn a_retraction_of_nothing_is_not_told_as_done() {
    let daemon = start();
    let (mut chief, mut bob) = (daemon.connect(), daemon.connect());
    let first = say(&mut bob, "bob", "one");
    let answer = command(&mut chief, json!({ "retract": first }));
    check(&answer, ("ack", "retract"), &format!("done: retracted {first}"), json!(1));
    let answer = command(&mut chief, json!({ "retract": "2200-01-01T00:00:00.000000000Z" }));
    check(
        &answer,
        ("err", "bad-command"),
        "not done: the room has sent no message with this tim",
        Value::Null,
    );
}
