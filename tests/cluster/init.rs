//! `wschat cluster`, with a real server.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::harness::{Daemon, Setup};
use crate::servers::Servers;

/// The exit code, what was printed, and the error.
fn run(daemon: &Daemon, config: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let file = daemon.control().with_file_name("cluster.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = daemon.command(&["cluster", "init"]);
    let Output { status, stdout, stderr } =
        command.arg("--config").arg(file).args(words).output().unwrap();
    let [out, error] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code(), out, error)
}

const AS_IT_HAS_TO_BE: &str = "stream room: is as it has to be\n\
    key-value bucket room_moderation: is as it has to be\n";

#[test]
fn init_copies_the_mutes_of_the_single_room_once() {
    let servers = Servers::start(1);
    let address = servers.addresses()[0];
    let config = format!("[cluster]\nservers = ['nats://{address}']\nstream = 'room'\n");
    let daemon = Daemon::start("");
    let (code, out, _) = run(&daemon, &config, &["--replicas", "1"]);
    let created = "stream room: created\nkey-value bucket room_moderation: created\n";
    let nothing = "this room had no mutes, no lock and no slow mode to copy\n";
    assert_eq!((code, out), (Some(0), format!("{created}{nothing}")));

    // A room without any decision has left the bucket for this one.
    assert!(daemon.command(&["mute", "bob"]).output().unwrap().status.success());
    let (code, out, _) = run(&daemon, &config, &[]);
    let copied = "the mutes, the lock and slow mode of this room were copied\n";
    assert_eq!((code, out), (Some(0), format!("{AS_IT_HAS_TO_BE}{copied}")));
    let (code, out, _) = run(&daemon, &config, &[]);
    let kept = "the mutes of this room were not copied: the bucket has moderation already\n";
    assert_eq!((code, out), (Some(0), format!("{AS_IT_HAS_TO_BE}{kept}")));

    let (code, out, _) = run(&daemon, &config, &["--max-bytes", "20000000"]);
    let differs = "stream room: not changed without --update\n  \
        its max_bytes is 268435456, not 20000000 as requested\n";
    assert_eq!((code, out.starts_with(differs)), (Some(1), true), "{out}");
    let (code, out, _) = run(&daemon, &config, &["--max-bytes", "20000000", "--update"]);
    assert_eq!((code, out.starts_with("stream room: changed\n")), (Some(0), true), "{out}");
}

#[test]
fn init_needs_as_many_servers_as_replicas() {
    let single = Servers::start(1);
    let servers = Servers::start(3);
    let daemon = Daemon::start("");
    for (servers, words, why) in [
        (
            &single,
            &[][..],
            "; the servers do not form a cluster: --replicas 1 is for a single one\n",
        ),
        (&servers, &["--replicas", "5"], "than --replicas needs: see wschat(8)\n"),
    ] {
        let config = format!("[cluster]\nservers = ['nats://{}']\n", servers.addresses()[0]);
        let (code, _, error) = run(&daemon, &config, words);
        assert_eq!((code, error.ends_with(why)), (Some(69), true), "{error}");
    }
}

#[test]
fn init_reads_the_file_of_a_daemon_that_does_not_run() {
    let servers = Servers::start(1);
    let config =
        format!("[cluster]\nservers = ['nats://{}']\nstream = 'room'\n", servers.addresses()[0]);
    let mut daemon = Daemon::start("");
    assert!(daemon.command(&["lock"]).output().unwrap().status.success());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    let (code, out, _) = run(&daemon, &config, &["--replicas", "1"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("the mutes, the lock and slow mode of this room were copied\n"), "{out}");
}

fn make_key(file: &str) -> (Option<i32>, String, String) {
    let words = ["cluster", "key", file];
    let out = Command::new(env!("CARGO_BIN_EXE_wschat")).args(words).output().unwrap();
    let [text, error] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    (out.status.code(), text, error)
}

#[test]
fn init_logs_in_with_a_new_key() {
    let daemon = Daemon::start("");
    let file = daemon.control().with_file_name("key");
    let key = || {
        let (code, out, _) = make_key(file.to_str().unwrap());
        (code, out)
    };
    let public = key();
    assert_eq!((public.0, &public.1[..1], public.1.len()), (Some(0), "U", 57), "{public:?}");
    // It is not overwritten.
    assert_eq!(key(), public);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let nkey = format!("authorization {{ users: [{{ nkey: {} }}] }}", public.1);
    let servers = Servers::with_config(1, &nkey);
    let config = format!("[cluster]\nservers = ['nats://{}']\n", servers.addresses()[0]);
    let file = file.to_str().unwrap();
    let (code, _, error) = run(&daemon, &config, &["--replicas", "1", "--credentials", file]);
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn a_key_that_cannot_be_made() {
    for (file, code, error) in [
        ("/dev/null", 66, "/dev/null: not a regular file\n"),
        ("/nonexistent/key", 71, "/nonexistent/key: No such file or directory (os error 2)\n"),
        (env!("CARGO_MANIFEST_PATH"), 66, "starts with SU\n"),
    ] {
        let (found, out, text) = make_key(file);
        assert_eq!((found, &*out), (Some(code), ""), "{text}");
        assert!(text.ends_with(error), "{text}");
    }
}

#[test]
fn init_that_cannot_be_done() {
    let daemon = Setup::new("").start();
    let servers = "[cluster]\nservers = ['nats://chat:hunter2@127.0.0.1:1']\n";
    for (config, words, code, error) in [
        ("", &[][..], 78, "wschat: cluster.servers: it is not set, so there is no cluster\n"),
        ("[cluster]\nservers = ['x://a']", &[], 78, "must start with nats:// or tls://\n"),
        (
            servers,
            &["--max-bytes", "16777215"],
            64,
            "--max-bytes: it must be at least 16777216, which is 4 x limits.feed_tail_bytes\n",
        ),
        (servers, &["--replicas", "6"], 64, "'--replicas <N>'"),
        (servers, &["--credentials", "/dev/null"], 66, "/dev/null: not a regular file\n"),
        (servers, &[], 69, "cannot reach nats://chat:********@127.0.0.1:1: "),
    ] {
        let (found, out, text) = run(&daemon, config, words);
        assert_eq!((found, &*out), (Some(code), ""), "{text}");
        assert!(text.contains(error) && !text.contains("hunter2"), "{text}");
    }
}
