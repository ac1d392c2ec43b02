//! `wschat join` after a break: it continues where it was.

use serde_json::{Value, json};

use crate::harness::{Daemon, NO_PRESENCE, until};
use crate::join::{Listener, join_url};
use crate::network::{Network, say, start_again, start_again_with};
use crate::room::Room;
use crate::tmux::Tmux;

#[test]
fn a_listener_gets_what_it_has_missed_once() {
    let daemon = Daemon::start("[limits]\nmessages_per_sec = 0\n");
    let network = Network::to(daemon.addr);
    let mut listener = Listener::at(&url(&network), &["--json"]);
    wait_for_clients(&daemon, 1);
    let mut eva = daemon.connect();
    let mut number = 0;
    let mut said = |count| {
        let texts: Vec<_> = (number..number + count).map(|number| format!("m{number}")).collect();
        texts.iter().for_each(|text| say(&mut eva, "eva", text));
        number += count;
        texts
    };
    // The first break comes before the first message.
    for count in [3, 0, 200, 1] {
        network.cut();
        let mut texts = said(count);
        network.restore();
        texts.extend(said(2));
        for text in texts {
            assert_eq!(message(&mut listener)["msg"], *text);
        }
    }
}

#[test]
fn a_gap_is_a_line_and_is_shown_once() {
    let daemon = Daemon::start("");
    let address = daemon.addr;
    let network = Network::to(address);
    let mut listener = Listener::at(&url(&network), &["--json"]);
    wait_for_clients(&daemon, 1);
    say(&mut daemon.connect(), "eva", "before");
    let before = message(&mut listener);
    // The next daemon does not know what was said.
    network.cut();
    drop(daemon);
    let daemon = start_again(address);
    network.restore();
    let gap = message(&mut listener);
    assert_eq!(
        (&gap["err"], &gap["after"], &gap["usr"]),
        (&json!("gap"), &before["tim"], &json!("wschat"))
    );
    network.cut();
    network.restore();
    wait_for_clients(&daemon, 1);
    say(&mut daemon.connect(), "eva", "after");
    assert_eq!(message(&mut listener)["msg"], "after");
}

#[test]
fn the_first_connection_begins_after_a_time() {
    let daemon = Daemon::start("");
    let mut eva = daemon.connect();
    let mut tim_of = |text: &str| {
        eva.say("eva", text);
        eva.json()["tim"].as_str().unwrap().to_owned()
    };
    let (one, two) = (tim_of("one"), tim_of("two"));
    // The option replaces the parameter of the URL.
    let url = format!("ws://{}/?since=2019-01-01T00:00:00Z", daemon.addr);
    let other_form = one.replace('T', "t").replace('Z', "99999+00:00");
    for (since, missed) in [(&one, 1), (&two, 0), (&other_form, 1)] {
        let output =
            join_url(&url, &["--usr", "ci", "--json", "--since", since], "{\"msg\":\"end\"}\n");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(shown.matches(r#""usr":"eva","msg":"two""#).count(), missed, "{shown}");
        assert_eq!(shown.matches(r#""usr":"eva""#).count(), missed, "{shown}");
        assert!(shown.lines().last().unwrap().contains(r#""msg":"end""#), "{shown}");
    }
    // The notice of a gap is no answer to the line.
    let output = join_url(&url, &["--usr", "ci", "--since", "1999-12-31t23:59:59z"], "line\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("--:--:-- ! some messages are missing\n"), "{shown}");
    assert!(shown.contains(" eva: one\n") && shown.ends_with(" ci: line\n"), "{shown}");
}

#[test]
fn a_time_that_cannot_be_read_is_an_error() {
    for since in ["now", "2020-08-11T22:26:58+02:00", "2020-08-11", " "] {
        let output = join_url("ws://127.0.0.1:1/", &["--since", since], "");
        assert_eq!(output.status.code(), Some(64));
        let why = "wschat: --since: not a time in UTC like 2020-08-11T22:26:58.118678679Z\n";
        assert_eq!(String::from_utf8(output.stderr).unwrap(), why, "{since}");
    }
    let room = Room::start();
    for (since, query) in
        [("", ""), ("2020-08-11t22:26:58.5+00:00", "since=2020-08-11T22%3A26%3A58.500000000Z")]
    {
        assert!(join_url(&room.url(), &["--since", since], "").status.success());
        assert_eq!(room.queries().pop().unwrap(), query);
    }
}

#[test]
fn a_pipe_with_lines_ends_with_the_connection() {
    let room = Room::start();
    let output = join_url(&room.url(), &["--json"], "{\"msg\":\"close\"}\n");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert_eq!(room.queries(), [""]);
}

#[test]
fn a_listener_that_waits_to_reconnect_ends_with_its_reader() {
    let room = Room::start();
    let mut listener = Listener::at(&room.url(), &["--json"]);
    room.wait_for_clients(1);
    room.refuse_clients(true);
    room.close_all();
    room.wait_for_clients(0);
    listener.close();
    assert_eq!(listener.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_terminal_shows_what_was_missed() {
    let daemon = Daemon::start(NO_PRESENCE);
    let address = daemon.addr;
    let network = Network::to(address);
    let program = [env!("CARGO_BIN_EXE_wschat"), "join", &url(&network), "--usr", "petr"];
    let tmux = Tmux::start(60, 14, &[("TZ", "UTC"), ("WSCHAT_TOKEN", "")], &program);
    let open = format!("● {} · petr", network.address);
    tmux.wait_for_rows(&[&open, ">"]);
    // Texts, without times and reasons.
    let wait_for = |want: &[&str]| {
        tmux.wait_for(&format!("{want:?}"), |screen| {
            let rows = screen.iter().filter(|row| !row.starts_with("-- the conn"));
            let texts: Vec<_> =
                rows.map(|row| row.split_once(": ").map_or(&**row, |(_, text)| text)).collect();
            texts == [want, &[&open, ">"]].concat()
        });
    };
    let mut eva = daemon.connect();
    say(&mut eva, "eva", "one");
    wait_for(&["one"]);
    network.cut();
    say(&mut eva, "eva", "two");
    network.restore();
    tmux.keys(&["Enter"]);
    wait_for(&["one", "-- connected again", "two"]);
    network.cut();
    drop((eva, daemon));
    let daemon = start_again_with(address, NO_PRESENCE);
    network.restore();
    tmux.keys(&["Enter"]);
    let missing = "--:--:-- ! some messages are missing";
    wait_for(&["one", "-- connected again", "two", "-- connected again", missing]);
    say(&mut daemon.connect(), "eva", "three");
    wait_for(&["one", "-- connected again", "two", "-- connected again", missing, "three"]);
}

#[test]
fn after_a_kick_the_terminal_waits_for_its_user() {
    let daemon = Daemon::start("");
    let url = format!("ws://{}/", daemon.addr);
    let program = [env!("CARGO_BIN_EXE_wschat"), "join", &url, "--usr", "petr"];
    let tmux = Tmux::start(90, 12, &[("WSCHAT_TOKEN", "")], &program);
    wait_for_clients(&daemon, 1);
    tmux.text("hi\n");
    tmux.wait_for("the message", |screen| screen.iter().any(|row| row.ends_with("petr: hi")));
    assert!(daemon.command(&["kick", "petr"]).output().unwrap().status.success());
    let kicked = "the server closed the connection: kicked (1008)";
    let status = format!("✕ {} · {kicked} · press Enter to", daemon.addr);
    tmux.wait_for("the status", |screen| screen.iter().any(|row| row.starts_with(&status)));
    assert_eq!(clients(&daemon).len(), 0);
    tmux.keys(&["Enter"]);
    wait_for_clients(&daemon, 1);
    tmux.wait_for("the status", |screen| screen.iter().any(|row| row.starts_with("● ")));
    // The client has said nothing since then.
    assert!(daemon.command(&["kick", "petr"]).output().unwrap().status.success());
    wait_for_clients(&daemon, 0);
}

#[test]
fn the_terminal_ends_with_the_connection_on_request() {
    let room = Room::start();
    let program = [env!("CARGO_BIN_EXE_wschat"), "join", &room.url(), "--no-reconnect"];
    let tmux = Tmux::start(60, 12, &[("WSCHAT_TOKEN", "")], &program);
    room.wait_for_clients(1);
    room.close_all();
    assert_eq!(tmux.wait_for_end(), 69);
}

fn url(network: &Network) -> String {
    format!("ws://{}/", network.address)
}

fn message(listener: &mut Listener) -> Value {
    json_of(&listener.line())
}

fn json_of(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// The clients of the daemon.
fn clients(daemon: &Daemon) -> Vec<Value> {
    let output = daemon.command(&["clients", "--json"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(json_of).collect()
}

fn wait_for_clients(daemon: &Daemon, count: usize) {
    until("the clients", || (clients(daemon).len() == count).then_some(()));
}
