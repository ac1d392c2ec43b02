//! Signals: stop, reload, and what both must not disturb.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Daemon, until};

const SECRET: &str = "a secret that is longer than 32 bytes";

#[test]
fn a_stop_closes_every_connection_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start("");
        let mut clients: Vec<_> = (0..5).map(|_| daemon.connect()).collect();
        clients[0].say("ann", "the last word");
        // What one client has received is in the feed for all.
        assert_eq!(clients[0].hear(), "the last word");
        daemon.signal(signal);
        for client in &mut clients[1..] {
            let (texts, code, _) = client.closed();
            assert_eq!((texts.len(), code), (1, 1001));
        }
        assert_eq!(clients[0].closed().1, 1001);
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(std::net::TcpStream::connect(daemon.addr).is_err(), "the daemon still listens");
    }
}

#[test]
fn a_stop_waits_for_a_limited_time() {
    let mut daemon = Daemon::start("[server]\nshutdown_timeout_secs = 0\n");
    let _silent = daemon.connect();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_wait() {
    let mut daemon = Daemon::start("[server]\nshutdown_timeout_secs = 300\n");
    let _silent = daemon.connect();
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("stopping");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_reload_keeps_every_connection_and_changes_the_rules() {
    let daemon = Daemon::start("");
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    ann.say("ann", "one");
    assert_eq!((ann.hear(), bob.hear()), ("one".into(), "one".into()));

    daemon.reload(&format!("[auth]\njwt_secret = '{SECRET}'\n"));
    ann.say("ann", "two");
    assert_eq!(ann.json()["err"], "jwt-missing");

    daemon.reload("");
    ann.say("ann", "three");
    assert_eq!((ann.hear(), bob.hear()), ("three".into(), "three".into()));
}

#[test]
fn a_bad_or_vanished_file_changes_nothing() {
    let daemon = Daemon::start(&format!("[auth]\njwt_secret = '{SECRET}'\n"));
    let mut ann = daemon.connect();
    let rejections = || daemon.log().matches("configuration rejected").count();

    daemon.configure("[auth]\njwt_secrets = 'x'\nleeway_secs = 900\n");
    daemon.signal(Signal::HUP);
    until("the first rejection", || (rejections() == 1).then_some(()));
    assert!(daemon.log().contains("auth.leeway_secs: 900 is out of range, 0 to 300"));

    fs::remove_file(daemon.config_file()).unwrap();
    daemon.signal(Signal::HUP);
    until("the second rejection", || (rejections() == 2).then_some(()));

    ann.say("ann", "hi");
    assert_eq!(ann.json()["err"], "jwt-missing", "the old secret is in force");
}

#[test]
fn a_reload_logs_what_needs_a_restart() {
    let daemon = Daemon::start("[server]\nthreads = 1\n");
    let told = || daemon.log().matches("server.threads has changed").count();
    daemon.reload("[server]\nthreads = 2\n");
    until("the warning", || (told() == 1).then_some(()));
    daemon.reload("[server]\nthreads = 2\n[page]\nenabled = false\n");
    until("the warning again", || (told() == 2).then_some(()));
}

#[test]
fn a_reload_changes_the_log_level_and_the_page() {
    let daemon = Daemon::start("");
    let get = || daemon.http("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(get().starts_with("HTTP/1.1 200 "));
    daemon.reload("[page]\nenabled = false\n[log]\nlevel = 'debug'\n");
    assert!(get().starts_with("HTTP/1.1 426 "));
    daemon.http("garbage\r\n\r\n");
    daemon.wait_for_log("handshake with 127.0.0.1:");
}
