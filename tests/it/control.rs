//! The control socket and the commands that use it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wschat::control::{ControlRequest, ControlSession};

use crate::harness::{DEADLINE, Daemon, Setup, UPGRADE, until};
use crate::tmux::Tmux;

/// Exit code, stdout and stderr of a command.
type Outcome = (Option<i32>, String, String);

fn outcome(output: Output) -> Outcome {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run(daemon: &Daemon, words: &[&str]) -> Outcome {
    outcome(daemon.command(words).output().unwrap())
}

fn status(daemon: &Daemon) -> Value {
    let (code, out, err) = run(daemon, &["status", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

fn clients(daemon: &Daemon, words: &[&str]) -> Vec<Value> {
    let (code, out, err) = run(daemon, &[&["clients", "--json"], words].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A connection to the control socket, for lines that no command sends.
struct Line(BufReader<UnixStream>);

impl Line {
    fn open(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.control()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Whether the daemon has closed it.
    fn ended(&mut self) -> bool {
        // Unread bytes from us make it a reset.
        self.0.read(&mut [0]).map_or(true, |read| read == 0)
    }
}

#[test]
fn status_shows_the_room() {
    let daemon = Daemon::start("");
    let fresh = status(&daemon);
    for (key, want) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("listeners", json!(0)),
        ("config_generation", json!(1)),
        ("config_rejected", json!(null)),
        ("restarts_survived", json!(0)),
        ("crashes_survived", json!(0)),
        ("state", json!("running")),
        ("pid", json!(daemon.pid())),
        ("listening", json!([daemon.addr.to_string()])),
        ("slowest", json!(null)),
        ("record", json!({ "recorded": 0, "dropped": 0, "failing": null, "dir": null })),
    ] {
        assert_eq!(fresh[key], want, "{key}");
    }
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    ann.say("ann", "hello");
    ann.send("nonsense");
    assert_eq!(bob.hear(), "hello");
    assert_eq!(ann.hear(), "hello");
    assert_eq!(ann.json()["err"], "bad-json");
    // A shard counts at the end of its turn.
    let status = until("the counts", || {
        let status = status(&daemon);
        (status["deliveries"] == 2 && status["refused"]["bad-json"] == 1).then_some(status)
    });
    assert_eq!(status["listeners"], 2);
    assert_eq!(status["listeners_peak"], 2);
    assert_eq!(status["messages"], 1);
    assert!(status["bytes_sent"].as_u64().unwrap() > 2 * 60);
    assert_eq!(status["refused"].as_object().unwrap().len(), wschat::chat::Refusal::ALL.len());
    let keys = [
        "version",
        "started",
        "listeners",
        "listeners_peak",
        "messages",
        "deliveries",
        "bytes_sent",
        "memory_bytes",
        "messages_per_sec",
        "deliveries_per_sec",
        "refused",
        "lagging",
        "closed_too_slow",
        "feed_bytes",
        "config_generation",
        "config_loaded",
        "restarts_survived",
        "keys",
        "revocations",
        "mutes",
        "locked",
        "slow_mode_secs",
        "messages_per_sec_max",
        "kicked",
    ];
    for key in keys {
        assert!(!status[key].is_null(), "{key}");
    }
    let (code, out, err) = run(&daemon, &["status"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("\nlisteners    2 now, 2 at most, 0 lagging\n"), "{out}");
}

#[test]
fn status_without_a_daemon_exits_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
        outcome(command.args(words).arg("--control").arg(&path).output().unwrap())
    };
    let why = format!(
        "wschat: {}: wschat is not running, or its control socket is elsewhere (--control)\n",
        path.display()
    );
    assert_eq!(ask(&["status"]), (Some(3), String::new(), why.clone()));
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(ask(&["status", "--json"]), (Some(3), String::new(), why.clone()));
    for command in ["reload", "clients", "metrics"] {
        assert_eq!(ask(&[command]), (Some(69), String::new(), why.clone()), "{command}");
    }
}

#[test]
fn status_watch_prints_lines() {
    let daemon = Daemon::start("");
    let mut watching =
        daemon.command(&["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["listeners"], 0);
    let _client = daemon.connect();
    while next()["listeners"] == 0 {}
    drop(lines);
    let ended = until("the end of its reader", || watching.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn status_watch_redraws_a_terminal() {
    let daemon = Daemon::start("");
    let command = daemon.command(&["status", "--watch"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let tmux = Tmux::start(100, 30, &[], &words);
    let shows = |row: &str| tmux.wait_for(row, |screen| screen.iter().any(|shown| shown == row));
    shows("listeners    0 now, 0 at most, 0 lagging");
    let _client = daemon.connect();
    let screen = shows("listeners    1 now, 1 at most, 0 lagging");
    assert!(screen[0].starts_with("wschat "), "{screen:?}");
    assert_eq!(screen.len(), 16, "{screen:?}");
    drop(daemon);
    tmux.wait_for_rows(&["wschat is not running"]);
}

#[test]
fn reload_waits_for_the_result() {
    let daemon = Daemon::start("");
    let before = status(&daemon);
    let mut client = daemon.connect();
    daemon.configure("limits.connections_max = 7");
    assert_eq!(run(&daemon, &["reload"]), (Some(0), String::new(), String::new()));
    let after = status(&daemon);
    assert_eq!(after["config_generation"], 2);
    assert_ne!(after["config_loaded"], before["config_loaded"]);

    let file = daemon.config_file().display().to_string();
    daemon.configure("[limits]\nconnections_max = 0\nidle = 1\n");
    let (code, out, err) = run(&daemon, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    let check = Command::new(env!("CARGO_BIN_EXE_wschat"))
        .args(["check", "--config", &file])
        .output()
        .unwrap();
    assert_eq!(outcome(check), (Some(78), String::new(), err.clone()));
    assert_eq!(err.lines().count(), 2, "{err}");
    let rejected = status(&daemon);
    assert_eq!(rejected["config_generation"], 2);
    assert_eq!(rejected["config_rejected"]["why"], err.lines().next().unwrap());

    fs::remove_file(daemon.config_file()).unwrap();
    let (code, _, err) = run(&daemon, &["reload"]);
    assert_eq!(code, Some(78));
    assert_eq!(err, format!("wschat: {file}: No such file or directory (os error 2)\n"));

    let short = "auth.jwt_secret = 'hunter2'\nserver.threads = 3\n";
    daemon.configure(short);
    let (code, _, err) = run(&daemon, &["reload"]);
    assert_eq!(code, Some(0));
    assert!(err.contains("warning: the secret is shorter than 32 bytes"), "{err}");
    assert!(
        err.contains("server.threads: warning: the new value takes effect after a restart"),
        "{err}"
    );
    assert!(!err.contains("hunter2"));
    assert_eq!(status(&daemon)["config_generation"], 3);
    assert_eq!(status(&daemon)["config_rejected"], Value::Null);

    client.say("ann", "still here");
    assert_eq!(client.json()["err"], "jwt-missing");
}

#[test]
fn what_the_caller_has_found_rejects_a_reload() {
    let daemon = Daemon::start("[log]\nlevel = 'info'\n");
    daemon.configure("[log]\nlevel = 'debug'\n");
    let mut line = Line::open(&daemon);
    line.write(b"{\"do\":\"reload\",\"problems\":[\"wschat: a: b\"]}\n");
    let reply = line.read();
    assert_eq!(reply["err"], "config-rejected", "{reply}");
    assert_eq!(reply["problems"], json!(["wschat: a: b"]), "{reply}");
    daemon.wait_for_log("ERROR wschat: a: b");
    assert_eq!(status(&daemon)["config_generation"], 1);
    // What the daemon sees itself comes first.
    daemon.configure("log.level = 5\n");
    line.write(b"{\"do\":\"reload\",\"problems\":[\"wschat: a: b\"]}\n");
    let problem = line.read()["problems"][0].to_string();
    assert!(problem.contains("log.level"), "{problem}");
}

#[test]
fn clients_are_listed_in_pages() {
    const CLIENTS: usize = 700;
    let daemon = Setup::new("").arg("--threads").arg("2").start();
    let mut room: Vec<_> = (0..CLIENTS).map(|_| daemon.connect()).collect();
    room[5].say("ann", "one");
    room[5].say("ann", "two");
    for client in &mut room {
        assert_eq!((client.hear(), client.hear()), ("one".into(), "two".into()));
    }
    let all = clients(&daemon, &["--limit", "10000"]);
    assert_eq!(all.len(), CLIENTS);
    let ids: Vec<_> = all.iter().map(|client| client["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(all.iter().all(|client| client["behind_bytes"] == 0 && client["state"] == "swept"));

    let page = clients(&daemon, &["--limit", "10", "--offset", "20"]);
    assert_eq!(page, all[20..30]);
    let most = clients(&daemon, &["--sort", "messages", "--limit", "1"]);
    let address = room[5].0.get_ref().local_addr().unwrap().to_string();
    assert_eq!(most[0]["messages"], 2);
    assert_eq!(most[0]["address"], address);
    let last = clients(&daemon, &["--sort", "since", "--reverse", "--limit", "1"]);
    assert_eq!(last[0]["id"], *ids.last().unwrap());

    let (code, out, err) = run(&daemon, &["clients", "--limit", "3"]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.lines().all(|line| line.split("  ").count() >= 6), "{out}");
    assert_eq!(err, "3 of 700 clients; see --offset 3\n");
    let filtered = clients(&daemon, &["--address", &address]);
    assert_eq!((filtered.len(), &filtered[0]["usr"]), (1, &json!("ann")));
    assert_eq!(clients(&daemon, &["--name", "ANN", "--limit", "20000"]), filtered);
    assert_eq!(clients(&daemon, &["--address", "127.0.0.0/8", "--limit", "20000"]).len(), CLIENTS);
    let (_, _, err) = run(&daemon, &["clients", "--state", "swept", "--limit", "1"]);
    assert_eq!(err, "1 of 700 clients; see --offset 1\n");
    for nobody in [["--name", "eve"], ["--address", "unix"], ["--state", "closing"]] {
        assert_eq!(clients(&daemon, &nobody), [Value::Null; 0], "{nobody:?}");
    }
    for bad in [["--address", "localhost"], ["--behind", "1X"], ["--state", "x"], ["--name", " "]] {
        assert_eq!(run(&daemon, &["clients", bad[0], bad[1]]).0, Some(64), "{bad:?}");
    }

    drop(room);
    until("an empty room", || clients(&daemon, &[]).is_empty().then_some(()));
}

#[test]
fn a_client_that_does_not_read_is_listed_as_lagging() {
    let daemon = Daemon::start("limits.send_buffer_bytes = 4096");
    let (mut ann, _silent) = (daemon.connect(), daemon.connect());
    let text = "x".repeat(10_000);
    let behind = until("a client that is behind", || {
        ann.say("ann", &text);
        ann.hear();
        let first = clients(&daemon, &["--sort", "behind", "--limit", "1"]).swap_remove(0);
        // It reads now and then until its kernel buffers are full.
        let is_stuck = first["behind_bytes"].as_u64().unwrap() > 50_000;
        let lagging = is_stuck && first["state"] == "lagging" && status(&daemon)["lagging"] == 1;
        lagging.then_some(first)
    });
    assert!(behind["behind_bytes"].as_u64().unwrap() > 0);
    let slowest = until("the slowest listener", || {
        let slowest = status(&daemon)["slowest"].take();
        (!slowest.is_null()).then_some(slowest)
    });
    assert_eq!((&slowest["id"], &slowest["address"]), (&behind["id"], &behind["address"]));
    let shown = run(&daemon, &["status"]).1;
    assert!(shown.contains(&format!(" behind: id {}, 127.0.0.1:", behind["id"])), "{shown}");
    let ids = |words: &[&str]| -> Vec<Value> {
        clients(&daemon, words).into_iter().map(|client| client["id"].clone()).collect()
    };
    assert_eq!(ids(&["--behind", "1"]), [behind["id"].clone()]);
    // The kernel may take more for it at any time; for a moment, it does not lag then.
    until("the state", || (ids(&["--state", "lagging"]) == [behind["id"].clone()]).then_some(()));
    assert_eq!(ids(&["--behind", "1T"]), [Value::Null; 0]);
    assert_eq!(top(&daemon, &["--sort", "behind"])["clients"][0]["id"], behind["id"]);
}

#[test]
fn what_a_client_sends_is_counted() {
    let config = "limits.messages_per_sec = 1\nlimits.messages_burst = 2\n";
    let daemon = Daemon::start(config);
    let (mut ann, idle) = (daemon.connect(), daemon.connect());
    ann.send("nonsense");
    for number in 0..5 {
        ann.say("ann", &number.to_string());
    }
    let counted = until("the counts", || {
        let most = clients(&daemon, &["--sort", "refused", "--limit", "1"]).swap_remove(0);
        let total = most["messages"].as_u64().unwrap() + most["refused"].as_u64().unwrap();
        (total == 6).then_some(most)
    });
    let figure = |name: &str| counted[name].as_f64().unwrap();
    assert!(figure("rate_limited") >= 1.0, "{counted}");
    assert_eq!(figure("refused"), figure("rate_limited") + 1.0, "{counted}");
    assert!(figure("received_bytes") > 5.0 * 20.0, "{counted}");
    assert!(figure("messages_per_sec") > 0.0 && figure("refused_per_sec") > 0.0, "{counted}");
    let by_bytes = clients(&daemon, &["--sort", "received"]);
    assert_eq!(by_bytes[0]["id"], counted["id"]);
    assert_eq!((&by_bytes[1]["refused"], &by_bytes[1]["received_bytes"]), (&json!(0), &json!(0)));
    let table = run(&daemon, &["clients"]).1;
    let head = "ID  ADDRESS";
    assert!(table.starts_with(head), "{table}");
    for column in ["MESSAGES", "REFUSED", "RATE-LIMITED", "RECEIVED", "BEHIND", "STATE", "NAME"] {
        assert!(table.lines().next().unwrap().contains(column), "{table}");
    }
    assert!(table.contains(" B  ") && table.contains(" UTC  "), "{table}");

    // Clients that are gone, and those that post, count for their address.
    drop((ann, idle));
    until("an empty room", || clients(&daemon, &[]).is_empty().then_some(()));
    let answer = daemon.http(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: 1\r\nConnection: close\r\n\r\n1",
    );
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let shown = until("the address", || {
        let shown = top(&daemon, &["--sort", "refused", "--limit", "1"]);
        (shown["addresses"][0]["refused"] == figure("refused") as u64 + 1).then_some(shown)
    });
    let address = &shown["addresses"][0];
    assert_eq!((&address["address"], &address["clients"]), (&json!("127.0.0.1"), &json!(0)));
    assert_eq!(address["messages"], counted["messages"]);
    assert_eq!(shown["clients"], json!([]));
}

fn top(daemon: &Daemon, words: &[&str]) -> Value {
    let (code, out, err) = run(daemon, &[&["top", "--json"], words].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    serde_json::from_str(&out).unwrap()
}

#[test]
fn top_shows_who_is_not_admitted() {
    let daemon = Daemon::start("limits.connections_per_address_max = 1\n");
    let _only = daemon.connect();
    let refused = daemon.http(UPGRADE);
    assert!(!refused.starts_with("HTTP/1.1 101"), "{refused}");
    let address = top(&daemon, &["--sort", "refused"])["addresses"][0].take();
    assert_eq!((&address["refused_connections"], &address["clients"]), (&json!(1), &json!(1)));
    assert!(address["refused_connections_per_sec"].as_f64().unwrap() > 0.0, "{address}");
    // A message by POST that does not reach a shard is a refused message.
    let answer = daemon.http(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\
         Connection: close\r\n\r\n1",
    );
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    let address = top(&daemon, &["--sort", "refused"])["addresses"][0].take();
    assert_eq!((&address["refused_connections"], &address["refused"]), (&json!(1), &json!(1)));
}

#[test]
fn top_shows_who_violates_the_protocol_again_and_again() {
    let daemon = Daemon::start("");
    for _ in 0..3 {
        let mut eve = daemon.connect();
        eve.0.get_mut().write_all(&[0xff; 1000]).unwrap();
        assert_eq!(eve.closed().1, 1002);
    }
    let shown = until("the address", || {
        let address = top(&daemon, &["--sort", "received"])["addresses"][0].take();
        (address["received_bytes"].as_u64()? >= 3000).then_some(address)
    });
    assert!(shown["received_bytes_per_sec"].as_f64().unwrap() >= 300.0, "{shown}");
    let status = run(&daemon, &["status"]).1;
    assert!(
        status.contains("\nclosed       0 too slow, 0 idle, 3 protocol, 0 kicked\n"),
        "{status}"
    );
}

#[test]
fn a_session_outlives_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // Each connection ends after an answer, as in a restart of the daemon.
    let answers = thread::spawn(move || {
        for number in 0..3 {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            stream.read_line(&mut String::new()).unwrap();
            writeln!(stream.get_mut(), "{{\"ok\":{number}}}").unwrap();
        }
        listener
    });
    let mut session = ControlSession::new(&path, None);
    for number in 0..3 {
        assert_eq!(session.ask::<u32>(&ControlRequest::Metrics {}).unwrap(), number);
    }
    // Connections are made, and nobody answers.
    let listener = answers.join().unwrap();
    let mut session = ControlSession::new(&path, Some(Duration::from_millis(1)));
    let why = session.ask::<u32>(&ControlRequest::Metrics {}).unwrap_err();
    assert_eq!(why.to_string(), "no reply in time");
    drop(listener);
    assert!(session.ask::<u32>(&ControlRequest::Metrics {}).is_err());
}

#[test]
fn top_prints_one_picture_without_a_terminal() {
    let daemon = Daemon::start("");
    let mut ann = daemon.connect();
    ann.send(r#"{"usr":"a\u001b[2Jnn\u202e","msg":"hi"}"#);
    let shown = until("the sender", || {
        let (code, out, err) = run(&daemon, &["top"]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out.contains("[2Jnn").then_some(out)
    });
    assert!(shown.starts_with("Top by messages; listeners: 1, lagging: 0, "), "{shown}");
    assert!(shown.contains("\n127.0.0.1 "), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(run(&daemon, &["top", "--limit", "0"]).0, Some(64));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.args(["top", "--control"]).arg(folder.path().join("none"));
    assert_eq!(outcome(command.output().unwrap()).0, Some(69));
}

#[test]
fn top_redraws_a_terminal_and_restores_it() {
    let daemon = Daemon::start("");
    let _ann = daemon.connect();
    let command = daemon.command(&["top", "--interval", "1"]);
    let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
    let line = format!(
        "echo before; {} {}; echo \"after $?\"; stty -a | tr ' ' '\n' | grep -x -e -icanon -e -echo",
        env!("CARGO_BIN_EXE_wschat"),
        words.join(" ")
    );
    for end in ["q", "C-c", "TERM", "HUP", "INT", "QUIT"] {
        let tmux = Tmux::start(60, 20, &[], &["sh", "-c", &line]);
        let shows =
            |text: &str| tmux.wait_for(text, |screen| screen.iter().any(|row| row.contains(text)));
        let screen = shows("Top by messages; ");
        assert!(screen.iter().all(|row| row.chars().count() <= 60), "{screen:?}");
        assert!(screen.iter().any(|row| row.starts_with("127.0.0.1")), "{screen:?}");
        tmux.keys(&["r"]);
        shows("Top by refused messages; ");
        match end {
            "q" | "C-c" => tmux.keys(&[end]),
            signal => kill_top(&daemon, signal),
        }
        let screen = shows("after ");
        assert_eq!(screen[0], "before", "{end}: {screen:?}");
        let modes =
            tmux.wait_for("the end", |screen| screen.iter().any(|row| row.starts_with("ended: ")));
        assert!(!modes.iter().any(|row| row == "-icanon" || row == "-echo"), "{end}: {modes:?}");
    }
}

/// Sends a signal to the `wschat top` that asks this daemon.
fn kill_top(daemon: &Daemon, signal: &str) {
    let control = daemon.control();
    let is_top = |pid: &str| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).collect();
        words.get(1).is_some_and(|word| word == b"top")
            && words.iter().any(|word| *word == control.as_os_str().as_encoded_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let pid = all.map(|name| name.into_string().unwrap()).find(|pid| is_top(pid)).unwrap();
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
}

#[test]
fn status_says_that_the_socket_unit_waits() {
    let folder = tempfile::tempdir().unwrap();
    let systemctl = folder.path().join("systemctl");
    let ask = |socket: &str, service: &str, words: &[&str]| {
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' Id=wschat.socket ActiveState={socket} \
             'Listen=127.0.0.1:8080 (Stream)' '' Id=wschat.service ActiveState={service}\n"
        );
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
        outcome(command.args(words).env("PATH", path).output().unwrap())
    };
    let text = "wschat waits for the first client on 127.0.0.1:8080\n";
    let nothing = String::new;
    let waiting = || (Some(0), text.to_owned(), nothing());
    assert_eq!(ask("active", "inactive", &["status"]), waiting());
    let json = "{\"state\":\"waiting\",\"listening\":[\"127.0.0.1:8080\"]}\n".to_owned();
    assert_eq!(ask("active", "inactive", &["status", "--json"]), (Some(0), json, nothing()));
    let path = "wschat: /run/wschat/control.sock: ";
    let failed = format!("{path}wschat.service has failed; see 'journalctl -u wschat'\n");
    assert_eq!(ask("active", "failed", &["status"]), (Some(3), nothing(), failed.clone()));
    for command in ["clients", "top", "metrics", "mutes", "unlock"] {
        let waits = (Some(69), nothing(), format!("{path}{text}"));
        assert_eq!(ask("active", "inactive", &[command]), waits, "{command}");
        assert_eq!(ask("active", "failed", &[command]), (Some(69), nothing(), failed.clone()));
    }
    let (code, _, why) = ask("inactive", "inactive", &["status"]);
    assert_eq!(code, Some(3));
    assert!(why.contains("wschat is not running"), "{why}");
    // It is not about a daemon with another control socket.
    let (code, ..) = ask("active", "inactive", &["status", "--control", "/nonexistent/x"]);
    assert_eq!(code, Some(3));
}

#[test]
fn the_control_socket_checks_the_user() {
    let daemon = Daemon::start("");
    let file = fs::symlink_metadata(daemon.control()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.mode() & 0o777, 0o660);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // As another user. File permissions are open, so only the check by the daemon is left.
    let all_users = fs::Permissions::from_mode(0o777);
    fs::set_permissions(daemon.control(), all_users.clone()).unwrap();
    let folder = daemon.control().parent().unwrap().to_owned();
    fs::set_permissions(&folder, all_users).unwrap();
    // That user may have no access to the build folder.
    let program = folder.join("wschat");
    // Copied by another process: a child of another test could inherit a writable
    // descriptor of ours, and then the program could not be executed.
    let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_wschat")).arg(&program).status();
    assert!(copy.unwrap().success());
    let forbidden = (
        Some(77),
        String::new(),
        format!(
            "wschat: {}: only root, the daemon's user and members of its group may use the control socket; members of wschat-monitor may read\n",
            daemon.control().display()
        ),
    );
    let call = |user: &[&str]| {
        let asked = daemon.command(&["status", "--json"]);
        let mut command = Command::new("setpriv");
        command.args(user).arg(&program).args(asked.get_args());
        outcome(command.output().unwrap())
    };
    assert_eq!(call(&["--reuid=65534", "--regid=65534", "--clear-groups"]), forbidden);
    assert_eq!(call(&["--reuid=65534", "--regid=65534", "--groups=1,2"]), forbidden);
    assert_eq!(call(&["--reuid=65534", "--regid=65534", "--groups=1,0,2"]).0, Some(0));
    assert_eq!(call(&["--reuid=65534", "--regid=0", "--clear-groups"]).0, Some(0));
}

#[test]
fn each_line_gets_a_response() {
    let daemon = Daemon::start("");
    let mut line = Line::open(&daemon);
    line.write(b"{\"do\":\"status\"}\n\n[]\r\n{\"do\":\"dance\"}\n");
    assert_eq!(line.read()["ok"]["listeners"], 0);
    for _ in 0..3 {
        assert_eq!(line.read()["err"], "bad-request");
    }
    line.write(b"{\"do\":\"sta");
    line.write(b"tus\"}\r\n");
    assert_eq!(line.read()["ok"]["listeners"], 0);
    // A last line without a newline is a request, too.
    line.write(b"{\"do\":\"clients\"}");
    line.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(line.read(), json!({"ok": {"total": 0, "clients": []}}));
    assert!(line.ended());

    let mut long = Line::open(&daemon);
    long.write(&vec![b' '; 64 * 1024 + 1]);
    assert_eq!(long.read()["err"], "bad-request");
    assert!(long.ended());
}

#[test]
fn connections_over_the_limit_get_an_error() {
    let daemon = Daemon::start("");
    let mut asking: Vec<_> = (0..32).map(|_| Line::open(&daemon)).collect();
    for line in &mut asking {
        line.write(b"{\"do\":\"status\"}\n");
        assert_eq!(line.read()["ok"]["listeners"], 0);
    }
    let busy = format!("wschat: {}: too many connections; try again\n", daemon.control().display());
    assert_eq!(run(&daemon, &["status"]), (Some(69), String::new(), busy));
    asking.pop();
    until("a free place", || (run(&daemon, &["status"]).0 == Some(0)).then_some(()));
}

#[test]
fn only_a_stale_control_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let start = || Setup::new("").without_control().arg("--control").arg(path.to_str().unwrap());
    drop(UnixListener::bind(&path).unwrap());
    let first = start().start();
    let (code, log) = start().spawn().ends_with();
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains(&format!("wschat: {}: ", path.display())), "{log}");
    drop(first);
    // A killed daemon cannot remove its socket.
    assert!(path.exists());
    let mut last = start().start();
    last.signal(rustix::process::Signal::TERM);
    assert_eq!(last.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_missing_folder_is_an_error_if_the_socket_was_named() {
    let missing = "/nonexistent/control.sock";
    let (code, log) =
        Setup::new("").without_control().arg("--control").arg(missing).spawn().ends_with();
    assert_eq!(code, Some(71), "{log}");
    assert!(log.starts_with(&format!("wschat: {missing}: ")), "{log}");
    let daemon = Setup::new("").without_control().start();
    daemon.connect();
}

#[test]
fn metrics_are_printed_and_served() {
    let daemon = Setup::new("metrics.address = '127.0.0.1:0'").start();
    let _client = daemon.connect();
    let (code, out, err) = run(&daemon, &["metrics"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("\nwschat_listeners 1\n"), "{out}");

    let line = daemon.wait_for_log("metrics at http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    serves_metrics(|request| http(std::net::TcpStream::connect(address).unwrap(), request));
}

#[test]
fn metrics_are_served_on_inherited_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let room = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = UnixListener::bind(&path).unwrap();
    let daemon = Setup::new("metrics.address = '192.0.2.1:1'")
        .without_listen()
        .inherit([OwnedFd::from(room), OwnedFd::from(metrics)], "wschat:metrics")
        .start();
    serves_metrics(|request| http(UnixStream::connect(&path).unwrap(), request));
    daemon.connect();
}

#[track_caller]
fn serves_metrics(ask: impl Fn(&str) -> String) {
    let get = |path| ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let metrics = get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("\nwschat_connections_max "), "{metrics}");
    let health = get("/healthz");
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(get("/").starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405 "));
    assert!(ask("GET /healthz HTTP/1.4\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
    for hosts in ["", "Host: a b\r\n", "Host: [::1\r\n", "Host: x\r\nHost: x\r\n"] {
        let answer = ask(&format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{hosts}: {answer}");
    }
    let head = ask("HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

fn http(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
