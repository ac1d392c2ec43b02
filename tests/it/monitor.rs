//! The socket for monitoring, at which requests only read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::{Daemon, Setup};

/// A daemon, and the path of its socket for monitoring.
fn monitored() -> (Daemon, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor.sock");
    let daemon = Setup::new("").arg("--monitor").arg(path.to_str().unwrap()).start();
    (daemon, path, folder)
}

fn run(path: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.args(words).arg("--control").arg(path).output().unwrap()
}

#[test]
fn a_monitor_reads_and_does_nothing_else() {
    let (daemon, path, _folder) = monitored();
    let mut ann = daemon.connect();
    ann.say("ann", "hi");
    assert_eq!(ann.hear(), "hi");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    for (words, has) in [
        (&["status"][..], "1 now"),
        (&["clients"], "ann"),
        (&["top"], "127.0.0.1"),
        (&["mutes"], "no mutes"),
        (&["metrics"], "wschat_listeners 1"),
    ] {
        let output = run(&path, words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(has), "{words:?}: {text}");
    }
    for words in [
        &["kick", "ann"][..],
        &["mute", "ann"],
        &["unmute", "ann"],
        &["lock"],
        &["unlock"],
        &["slow", "30"],
        &["say", "hi"],
        &["retract", "2026-01-02T03:04:05.000000006Z"],
        &["reload"],
    ] {
        let output = run(&path, words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{words:?}: {text}");
        assert!(text.contains("wschat-monitor may only read"), "{words:?}: {text}");
    }
    ann.say("ann", "nothing has happened");
    assert_eq!(ann.hear(), "nothing has happened");
    assert!(!daemon.log().contains("uid"), "{}", daemon.log());
}

#[test]
fn a_socket_that_is_open_to_others_is_not_served() {
    let (_daemon, path, _folder) = monitored();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run(&path, &["status"]).status.code(), Some(77));
}

#[test]
fn a_socket_that_cannot_be_created_is_an_error() {
    let (code, log) =
        Setup::new("").arg("--monitor").arg("/nonexistent/monitor.sock").spawn().ends_with();
    assert!(code == Some(71) && log.contains("/nonexistent/monitor.sock"), "{code:?}: {log}");
}
