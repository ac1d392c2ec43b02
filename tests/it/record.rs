//! The record of messages, on disks that are good, full, gone, or do not answer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, Daemon, Setup, until};

const SECRET: &str = "a secret that is long enough for everybody";

fn config(dir: &Path) -> String {
    format!("limits.messages_per_sec = 0\nrecord.dir = '{}'\n", dir.display())
}

/// Says `msgs` and gives back what the room heard.
fn say(client: &mut Client, msgs: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut said = 0;
    for msg in msgs {
        client.say("ann", &msg);
        said += 1;
    }
    (0..said).map(|_| client.text()).collect()
}

/// The file of the day of `text`, a message.
fn file_of(dir: &Path, text: &str) -> PathBuf {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    dir.join(&message["tim"].as_str().unwrap()[..10])
}

/// All lines of all files, in the order of the days.
fn lines(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    files
        .iter()
        .flat_map(|path| read(path).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn wait_for_lines(dir: &Path, want: &[String]) {
    until("the record", || (lines(dir).len() >= want.len()).then_some(()));
    assert_eq!(lines(dir), want);
}

#[test]
fn what_listeners_heard_is_written_and_no_token() {
    let dir = TempDir::new().unwrap();
    let secret = format!("[auth]\njwt_secret = '{SECRET}'\n");
    let daemon = Daemon::start(&(config(dir.path()) + &secret));
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &serde_json::json!({ "sub": "ann" }),
        &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap();
    let mut ann = daemon.connect();
    ann.send(&format!(r#"{{"usr":"ann","msg":"hi","jwt":"{token}","x":{{ "y" : 1.0 }}}}"#));
    let heard = ann.text();
    // What is not sent is not recorded.
    ann.send(r#"{"usr":"ann","msg":"hi"}"#);
    assert!(ann.text().contains("jwt-missing"));
    wait_for_lines(dir.path(), std::slice::from_ref(&heard));
    assert!(!heard.contains("jwt"));
    let mode = fs::metadata(file_of(dir.path(), &heard)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn the_variable_of_old_names_the_directory() {
    let dir = TempDir::new().unwrap();
    let daemon = Setup::new("").env("LOG_DIR", &dir.path().display().to_string()).start();
    let heard = say(&mut daemon.connect(), ["hi".to_owned()]);
    wait_for_lines(dir.path(), &heard);
}

#[test]
fn what_the_server_says_is_written_down_as_well() {
    let dir = TempDir::new().unwrap();
    let daemon = Daemon::start(&config(dir.path()));
    let mut ann = daemon.connect();
    let mut heard = say(&mut ann, ["a secret of somebody's".to_owned()]);
    let message: serde_json::Value = serde_json::from_str(&heard[0]).unwrap();
    let tim = message["tim"].as_str().unwrap();
    for words in [["retract", tim], ["say", "sorry"]] {
        assert!(daemon.command(&words).output().unwrap().status.success());
        heard.push(ann.text());
    }
    assert!(heard[1].contains(&format!(r#""retract":"{tim}""#)), "{heard:?}");
    wait_for_lines(dir.path(), &heard);
}

#[test]
fn a_stop_leaves_nothing_unwritten() {
    let dir = TempDir::new().unwrap();
    let mut daemon = Daemon::start(&config(dir.path()));
    let mut ann = daemon.connect();
    let heard = say(&mut ann, (0..2_000).map(|n| n.to_string()));
    daemon.signal(Signal::TERM);
    ann.closed();
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(lines(dir.path()), heard);
}

#[test]
fn a_reload_starts_moves_and_ends_the_record() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let daemon = Daemon::start("");
    let mut ann = daemon.connect();
    let mut heard = Vec::new();
    for (msg, config) in
        [("none", String::new()), ("one", config(one.path())), ("two", config(two.path()))]
    {
        daemon.reload(&config);
        heard.extend(say(&mut ann, [msg.to_owned()]));
        if msg == "one" {
            wait_for_lines(one.path(), &heard[1..]);
        }
    }
    daemon.reload("");
    say(&mut ann, ["none".to_owned()]);
    wait_for_lines(one.path(), &heard[1..2]);
    wait_for_lines(two.path(), &heard[2..]);
}

#[test]
fn a_full_disk_is_told_once_and_costs_nothing_once_there_is_space() {
    let dir = TempDir::new().unwrap();
    // A limit of file sizes is a disk that is full in the middle of a line, and
    // that has space again when the file is moved away.
    let limit = ["sh", "-c", "ulimit -f 8; exec \"$@\"", "sh"];
    let daemon = Setup::new(&config(dir.path())).wrapper(&limit).start();
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    let mut heard = say(&mut ann, (0..20).map(|n| format!("{n} {}", "x".repeat(900))));
    daemon.wait_for_log("cannot record messages");
    heard.extend(say(&mut ann, ["still heard at once".to_owned()]));
    let bobs: Vec<_> = (0..heard.len()).map(|_| bob.text()).collect();
    assert_eq!(bobs, heard, "no listener misses anything");

    let (day, moved) = (file_of(dir.path(), &heard[0]), dir.path().join("0000"));
    let full = lines(dir.path());
    assert_eq!(full, heard[..full.len()], "whole lines only");
    while lines(dir.path()).len() < heard.len() {
        // It is full again after some more.
        until("more of the record", || day.exists().then_some(()));
        let so_far = lines(dir.path());
        fs::write(&moved, so_far.join("\n") + "\n").unwrap();
        fs::remove_file(&day).unwrap();
        let more = || lines(dir.path()).len() > so_far.len();
        until("the rest of the record", || more().then_some(()));
    }
    assert_eq!(lines(dir.path()), heard);
    daemon.wait_for_log("recording messages again; 0 were not recorded");
    assert_eq!(daemon.log().matches("cannot record messages").count(), 1);
}

#[test]
fn a_directory_that_vanishes_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("record");
    fs::create_dir(&dir).unwrap();
    let daemon = Daemon::start(&config(&dir));
    let mut ann = daemon.connect();
    let before = say(&mut ann, ["before".to_owned()]);
    wait_for_lines(&dir, &before);
    fs::remove_dir_all(&dir).unwrap();
    let mut after = say(&mut ann, ["meanwhile".to_owned()]);
    daemon.wait_for_log("cannot record messages");
    fs::create_dir(&dir).unwrap();
    after.extend(say(&mut ann, ["after".to_owned()]));
    wait_for_lines(&dir, &after);
}

#[test]
fn a_device_that_does_not_answer_delays_nobody() {
    let dir = TempDir::new().unwrap();
    let mut daemon =
        Daemon::start(&format!("{}limits.feed_tail_bytes = 65536\n", config(dir.path())));
    let mut ann = daemon.connect();
    let first = say(&mut ann, ["first".to_owned()]);
    wait_for_lines(dir.path(), &first);
    let fifo = file_of(dir.path(), &first[0]);
    fs::remove_file(&fifo).unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Far more than the pipe and the feed's tail can hold.
    let heard: Vec<_> =
        (0..600).flat_map(|n| say(&mut ann, [format!("{n} {}", "x".repeat(900))])).collect();
    let mut recorded = BufReader::new(fs::File::open(&fifo).unwrap()).lines();
    let last = heard.last().unwrap();
    assert!(recorded.any(|line| line.unwrap() == *last), "it goes on with what is left");
    daemon.wait_for_log("cannot record messages");
    daemon.wait_for_log("recording messages again");
    drop(recorded);
    daemon.signal(Signal::TERM);
    ann.closed();
    assert_eq!(daemon.wait().code(), Some(0));
}
