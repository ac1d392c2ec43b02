//! `wschat bench` with a real daemon.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Daemon, Setup, UNLIMITED, until};

const SECRET: &str =
    "limits.messages_per_sec = 0\n[auth]\njwt_secret = \"a secret of thirty-two bytes, yes\"\n";

#[test]
fn every_mode_measures() {
    let daemon = Daemon::start(UNLIMITED);
    for mode in ["throughput", "latency", "idle", "storm"] {
        let report = measure(&daemon, mode, &["--listeners", "40", "--senders", "3", "--storm=30"]);
        assert!(report["connects_per_sec"].as_f64() > Some(0.0), "{mode}: {report}");
        assert!(report["rss_bytes_per_connection"].is_number(), "{mode}: {report}");
        assert_eq!(report["latency_p99_us"].is_number(), mode != "idle", "{mode}: {report}");
        for fault in ["lost", "repeated", "reordered", "closed", "slow_closed"] {
            assert_eq!(report[fault], 0, "{mode}: {report}");
        }
    }
}

#[test]
fn event_streams_are_measured_like_websockets() {
    let daemon = Daemon::start(UNLIMITED);
    for transport in ["sse", "mixed"] {
        let options = ["--transport", transport, "--listeners=40", "--senders=3", "--storm=30"];
        for mode in ["throughput", "storm"] {
            let report = measure(&daemon, mode, &options);
            assert!(report["deliveries_per_sec"].as_f64() > Some(0.0), "{transport}: {report}");
            for fault in ["lost", "repeated", "reordered", "closed"] {
                assert_eq!(report[fault], 0, "{transport} {mode}: {report}");
            }
        }
    }
}

#[test]
fn the_senders_are_websockets_and_the_others_have_the_transport() {
    for (transport, events) in [("ws", 0), ("sse", 37), ("mixed", 19)] {
        let daemon = Daemon::start(UNLIMITED);
        let url = format!("ws://{}/", daemon.addr);
        let options = ["--mode=idle", "--listeners=40", "--senders=3", "--transport", transport];
        let mut bench = command(&[&[&*url][..], &options].concat()).spawn().unwrap();
        let list = || {
            let out = daemon.command(&["clients", "--json"]).output().unwrap().stdout;
            String::from_utf8(out).unwrap()
        };
        let list = until("all listen", || Some(list()).filter(|it| it.lines().count() == 40));
        bench.kill().unwrap();
        bench.wait().unwrap();
        assert_eq!(list.matches(r#""transport":"sse""#).count(), events, "{transport}: {list}");
    }
}

#[test]
fn cut_listeners_resume_where_they_were() {
    let daemon = Daemon::start(UNLIMITED);
    let options = ["--transport=mixed", "--listeners=10", "--storm=50", "--rate=100"];
    let report = measure(&daemon, "resume", &options);
    for key in [
        "resume_ms",
        "before_latency_p99_us",
        "away_latency_p99_us",
        "latency_p99_us",
        "rss_growth_bytes",
    ] {
        assert!(report[key].is_number(), "{key}: {report}");
    }
    for fault in ["lost", "repeated", "reordered", "closed"] {
        assert_eq!(report[fault], 0, "{report}");
    }
}

#[test]
fn listeners_that_do_not_get_all_they_missed_are_an_error() {
    let daemon = Daemon::start("limits.resume_secs = 0\nlimits.messages_per_sec = 0\n");
    let output = bench(&daemon, "resume", &["--listeners=2", "--storm=2"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("some messages are missing (gap)"), "{line}");
}

#[test]
fn listeners_that_never_read_are_closed() {
    let daemon = Daemon::start(UNLIMITED);
    // Some 9 MB in three seconds: more than the tail and the kernel hold for a listener
    // that does not read, and so slow that the others keep up.
    let options = ["--listeners=10", "--slow=2", "--size=16000", "--rate=200", "--secs=2.5"];
    let report = measure(&daemon, "slow", &options);
    assert_eq!(report["slow_closed"], 2, "{report}");
    assert_eq!((&report["lost"], &report["closed"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn a_rate_limit_is_explained() {
    let daemon = Daemon::start("");
    let output = bench(&daemon, "throughput", &["--listeners=2"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("(rate-limited); limits.messages_per_sec = 0 at the server"), "{line}");
}

#[test]
fn each_message_has_the_token() {
    let daemon = Setup::new(SECRET).start();
    let output = bench(&daemon, "throughput", &["--listeners=2"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("not sent: ") && line.ends_with("(jwt-missing)\n"), "{line}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.args(["token", "--sub", "bench", "--config"]).arg(daemon.config_file());
    let token = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let report = measure(&daemon, "throughput", &["--listeners=2", "--token", token.trim()]);
    assert!(report["deliveries_per_sec"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn errors_and_exit_codes_of_bench() {
    let check = |code: i32, words: &str, args: &[&str]| {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        assert_eq!(output.stdout, b"", "{args:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(line.starts_with("wschat: ") && line.contains(words), "{args:?} {line}");
    };
    let no_server = "ws://127.0.0.1:1/";
    check(64, "must begin with ws://", &["http://127.0.0.1/"]);
    check(64, "are more than 10", &[no_server, "--listeners=10", "--senders=11"]);
    check(64, "--slow belongs to --mode slow", &[no_server, "--slow=1"]);
    check(66, "--pid 4294967295", &[no_server, "--pid=4294967295"]);
    check(69, "refused", &[no_server]);
    check(71, "a limit of this machine", &[no_server, "--listeners=4000000000"]);
}

/// The report of a short run.
fn measure(daemon: &Daemon, mode: &str, options: &[&str]) -> Value {
    let output = bench(daemon, mode, options);
    assert_eq!(output.status.code(), Some(0), "{mode} {options:?} {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn bench(daemon: &Daemon, mode: &str, options: &[&str]) -> Output {
    let (url, pid) = (format!("ws://{}/", daemon.addr), format!("--pid={}", daemon.pid()));
    let mut always = vec![url.as_str(), "--json", "--mode", mode, &pid];
    if !options.iter().any(|option| option.starts_with("--secs")) {
        always.push("--secs=0.3");
    }
    run(&[&always, options].concat())
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.arg("bench").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
