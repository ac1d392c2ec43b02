//! `wschat join` in a pipe, against a small room.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Daemon, until};
use crate::room::Room;

#[test]
fn a_line_is_sent_and_its_echo_is_the_receipt() {
    let room = Room::start();
    let output = join(&room, &["--usr", "ci"], "build 412 is green\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&room), [("ci".into(), "build 412 is green".into())]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.ends_with(" ci: build 412 is green\n"), "{shown:?}");
}

#[test]
fn all_lines_are_sent_in_order() {
    let room = Room::start();
    let lines: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    let output = join(&room, &["--usr", "ci"], &lines.join("\n"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: Vec<String> = said(&room).into_iter().map(|(_, msg)| msg).collect();
    assert_eq!(said, lines);
}

#[test]
fn a_refusal_is_printed_on_stderr_and_ends_the_program() {
    let room = Room::start();
    let output = join(&room, &[], "good\nrefuse\nlater\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stderr, b"wschat: not sent: refused\n");
    assert_eq!(said(&room).len(), 1);
}

#[test]
fn a_message_sent_too_early_is_sent_again() {
    let room = Room::start();
    let output = join(&room, &["--usr", "ci"], "early\nlater\nearly\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "wschat: not sent: wait 1 s; the message will be sent again\n");
    let said: Vec<String> = said(&room).into_iter().map(|(_, msg)| msg).collect();
    assert_eq!(said, ["early", "later", "early"]);
}

#[test]
fn messages_of_the_server_are_marked() {
    let room = Room::start();
    let mut listener = Listener::start(&room, &[]);
    room.wait_for_clients(1);
    let mut check = |json: &str, line: &str| {
        room.say(json);
        assert_eq!(listener.line(), format!("{line}\n"));
    };
    let tim = "2020-08-11T22:26:58.118678679Z";
    check(r#"{"usr":"wschat","msg":"back soon"}"#, "--:--:-- * back soon");
    check(&format!(r#"{{"usr":"eva","msg":"spam","tim":"{tim}"}}"#), "22:26:58 eva: spam");
    let retract = |usr| format!(r#"{{"usr":"{usr}","msg":"retracted","retract":"{tim}"}}"#);
    check(&retract("bob"), "--:--:-- bob: retracted");
    check(&retract("wschat"), "--:--:-- * a message by eva of 22:26:58 was retracted");
    let mut listener = Listener::start(&room, &["--json"]);
    room.wait_for_clients(2);
    room.say(&retract("wschat"));
    assert_eq!(listener.line(), retract("wschat") + "\n");
}

#[test]
fn a_missing_server_is_an_error() {
    let (_kept, address) = Room::without_listener();
    let output = join_url(&format!("ws://{address}"), &["--usr", "ci"], "x\n");
    assert_eq!(output.status.code(), Some(69));
    let why = format!("wschat: {address}: connection refused: nothing listens there\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), why);
}

#[test]
fn a_connection_that_ends_before_the_receipt_fails() {
    let room = Room::start();
    let output = join(&room, &[], "close\n");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let why = format!(
        "wschat: {}: the server closed the connection: it is going away (1001)\n",
        room.address
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), why);
}

#[test]
fn empty_input_ends_the_program() {
    let room = Room::start();
    assert_eq!(join(&room, &[], "").status.code(), Some(0));
}

#[test]
fn usage_errors_are_one_line_with_code_64() {
    let check = |url: &str, why: &str| {
        let output = join_url(url, &[], "");
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("wschat: {url}: {why}\n"));
    };
    check("chat.example", "the URL of a room starts with ws:// or wss://");
    check("ws://a b", "not a URL like ws://HOST:PORT/");
}

#[test]
fn json_is_a_line_per_message_and_flushed() {
    let room = Room::start();
    let mut listener = Listener::start(&room, &["--json"]);
    room.wait_for_clients(1);
    room.say("{\"usr\":\"a\",\"msg\":\"b\",\"x\":[\n1,\n2]}");
    assert_eq!(listener.line(), "{\"usr\":\"a\",\"msg\":\"b\",\"x\":[ 1, 2]}\n");
    room.say("{\"usr\":\"a\",\"msg\":\"c\"}");
    assert_eq!(listener.line(), "{\"usr\":\"a\",\"msg\":\"c\"}\n");
}

#[test]
fn printed_lines_contain_no_control_characters() {
    let room = Room::start();
    let mut listener = Listener::start(&room, &[]);
    room.wait_for_clients(1);
    room.say(r#"{"usr":"a\u001b[31m","msg":"\u001b]0;x\u0007\n\u202e"}"#);
    assert_eq!(listener.line(), "--:--:-- a␛[31m: ␛]0;x␇␊�\n");
}

#[test]
fn a_time_zone_without_a_rule_is_not_utc() {
    let room = Room::start();
    let mut command = command(&room.url(), &["--usr", "ci"]);
    command.env("TZ", "CET-1CEST").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    room.wait_for_clients(1);
    room.say(r#"{"usr":"eva","msg":"hi","tim":"2026-07-25T17:20:00.000000000Z"}"#);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "19:20:00 eva: hi\n");
}

#[test]
fn a_url_may_have_a_query_without_a_path() {
    let daemon = Daemon::start("");
    let output = join_url(&format!("ws://{}?from=here", daemon.addr), &["--usr", "ci"], "hi\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_closed_pipe_ends_a_listener_at_once() {
    let room = Room::start();
    let mut listener = Listener::start(&room, &["--json"]);
    room.wait_for_clients(1);
    listener.close();
    assert_eq!(listener.child.wait().unwrap().code(), Some(0));
    room.wait_for_clients(0);
}

#[test]
fn a_closed_pipe_does_not_stop_sending() {
    let room = Room::start();
    let mut child =
        command(&room.url(), &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"a\nb\nc\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(said(&room).len(), 3);
}

#[test]
fn a_listener_ends_with_the_connection() {
    let room = Room::start();
    for args in [&["--json", "--no-reconnect"][..], &[]] {
        let mut listener = Listener::start(&room, args);
        room.wait_for_clients(1);
        room.close_all();
        assert_eq!(listener.child.wait().unwrap().code(), Some(69));
        room.wait_for_clients(0);
    }
}

#[test]
fn the_token_comes_from_file_option_or_variable() {
    let room = Room::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from.the.file\n").unwrap();
    let check = |args: &[&str], variable: Option<&str>, want: Option<&str>| {
        let mut command = command(&room.url(), args);
        if let Some(token) = variable {
            command.env("WSCHAT_TOKEN", token);
        }
        let output = feed(command, "x\n");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let last = room.messages().pop().unwrap();
        assert_eq!(last.get("jwt").and_then(|jwt| jwt.as_str()), want);
    };
    let file = file.to_str().unwrap();
    check(&["--token", "from.the.line"], None, Some("from.the.line"));
    check(&["--token-file", file], Some("from.the.variable"), Some("from.the.file"));
    check(&[], Some("from.the.variable"), Some("from.the.variable"));
    check(&[], None, None);

    let missing = join(&room, &["--token-file", "/nowhere/token"], "x\n");
    assert_eq!(missing.status.code(), Some(66));
    let both = join(&room, &["--token-file", file, "--token", "a.b.c"], "x\n");
    assert_eq!(both.status.code(), Some(64));
}

#[test]
fn a_real_room_accepts_a_token_of_the_program() {
    let secret = "0123456789abcdef0123456789abcdef";
    let daemon = Daemon::start(&format!("[auth]\njwt_secret = \"{secret}\"\n"));
    let url = format!("ws://{}/", daemon.addr);
    let token = Command::new(env!("CARGO_BIN_EXE_wschat"))
        .args(["token", "--sub", "ci", "--config"])
        .arg(daemon.config_file())
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let output = join_url(&url, &["--usr", "ci", "--token", &token], "one\ntwo\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let texts: Vec<&str> = shown.lines().map(|line| &line[8..]).collect();
    assert_eq!(texts, [" ci: one", " ci: two"]);

    let output = join_url(&url, &["--usr", "ci"], "one\ntwo\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.starts_with("wschat: not sent: ") && why.lines().count() == 1, "{why}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn join_waits_for_a_real_room_unless_it_never_will_respond() {
    let daemon = Daemon::start("[limits]\nslow_mode_secs = 1\n");
    let url = format!("ws://{}/", daemon.addr);
    let output = join_url(&url, &["--usr", "ci"], "one\ntwo\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("wschat: not sent: "), "{told}");
    assert!(
        told.ends_with("; the message will be sent again\n") && told.lines().count() == 1,
        "{told}"
    );
    assert!(daemon.command(&["mute", "ci", "--for", "600"]).output().unwrap().status.success());
    let output = join_url(&url, &["--usr", "ci"], "three\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_real_room_gives_one_json_line_per_message() {
    let daemon = Daemon::start("");
    let output = join_url(
        &format!("ws://{}/", daemon.addr),
        &["--usr", "ci", "--json"],
        "{\"msg\":\"a\",\"n\":1.0}\n",
    );
    let line = String::from_utf8(output.stdout).unwrap();
    let message: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&message["usr"], &message["msg"]), (&"ci".into(), &"a".into()));
    assert!(line.contains("\"n\":1.0,"), "its own fields, as they were written: {line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn lines_of_json_are_messages_with_their_own_fields() {
    let room = Room::start();
    let input =
        "\u{feff}{\"msg\":\"one\",\"id\":7,\"n\":[1]}\r\n\n {\"usr\":\"eva\",\"msg\":\"two\"}";
    let output = join(&room, &["--usr", "ci", "--json"], input);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let sent = room.messages();
    assert_eq!(
        (&sent[0]["usr"], &sent[0]["n"], &sent[0]["id"]),
        (&"ci".into(), &[1].into(), &7.into())
    );
    assert_eq!((&sent[1]["usr"], &sent[1]["msg"]), (&"eva".into(), &"two".into()));
    for line in ["hello", "[]", "{\"msg\":\"a\""] {
        let output = join(&room, &["--json"], &format!("{{\"msg\":\"three\"}}\n{line}\n"));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(why.starts_with("wschat: stdin: line 2 is not a JSON object; "), "{why}");
    }
}

#[test]
fn a_kick_ends_a_program() {
    let daemon = Daemon::start("");
    let mut listener = Listener::at(&format!("ws://{}/", daemon.addr), &["--json"]);
    let client = until("it is connected", || {
        let out = daemon.command(&["clients", "--json"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&out.stdout).ok()
    });
    let id = client["id"].to_string();
    assert!(daemon.command(&["kick", "--id", &id]).status().unwrap().success());
    assert_eq!(listener.child.wait().unwrap().code(), Some(69));
}

/// A client that only listens, since its stdin is /dev/null.
pub struct Listener {
    pub child: Child,
    output: Option<BufReader<std::process::ChildStdout>>,
}

impl Listener {
    fn start(room: &Room, args: &[&str]) -> Self {
        Self::at(&room.url(), args)
    }

    pub fn at(url: &str, args: &[&str]) -> Self {
        let mut child =
            command(url, args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// Closes its output.
    pub fn close(&mut self) {
        self.output = None;
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn join(room: &Room, args: &[&str], input: &str) -> Output {
    join_url(&room.url(), args, input)
}

pub fn join_url(url: &str, args: &[&str], input: &str) -> Output {
    feed(command(url, args), input)
}

/// `wschat join URL` with these options.
pub fn command(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.arg("join").arg(url).args(args).env("TZ", "UTC").env_remove("WSCHAT_TOKEN");
    command
}

/// Runs it with this input until its end.
pub fn feed(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that ended early has closed its stdin; its output tells why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(room: &Room) -> Vec<(String, String)> {
    let text = |message: &serde_json::Value, key: &str| message[key].as_str().unwrap().to_owned();
    room.messages().iter().map(|message| (text(message, "usr"), text(message, "msg"))).collect()
}
