//! The record of messages, on disks that work, are full, vanish or do not respond.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, Daemon, Setup, until};

const SECRET: &str = "a secret that is longer than 32 bytes";

fn config(dir: &Path) -> String {
    format!("limits.messages_per_sec = 0\nrecord.dir = '{}'\n", dir.display())
}

/// Sends `msgs` and returns what the room received.
fn say(client: &mut Client, msgs: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut said = 0;
    for msg in msgs {
        client.say("ann", &msg);
        said += 1;
    }
    (0..said).map(|_| client.text()).collect()
}

/// The file for the message `text`.
fn file_of(dir: &Path, text: &str) -> PathBuf {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    dir.join(&message["tim"].as_str().unwrap()[..10])
}

/// All lines of all files, in order.
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
fn sent_messages_are_recorded_without_tokens() {
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
    let received = ann.text();
    // A refused message is not recorded.
    ann.send(r#"{"usr":"ann","msg":"hi"}"#);
    assert!(ann.text().contains("jwt-missing"));
    wait_for_lines(dir.path(), std::slice::from_ref(&received));
    assert!(!received.contains("jwt"));
    let mode = fs::metadata(file_of(dir.path(), &received)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn log_dir_names_the_directory() {
    let dir = TempDir::new().unwrap();
    let daemon = Setup::new("").env("LOG_DIR", &dir.path().display().to_string()).start();
    let received = say(&mut daemon.connect(), ["hi".to_owned()]);
    wait_for_lines(dir.path(), &received);
}

#[test]
fn messages_of_the_server_are_recorded() {
    let dir = TempDir::new().unwrap();
    let daemon = Daemon::start(&config(dir.path()));
    let mut ann = daemon.connect();
    let mut received = say(&mut ann, ["a secret of a user".to_owned()]);
    let message: serde_json::Value = serde_json::from_str(&received[0]).unwrap();
    let tim = message["tim"].as_str().unwrap();
    for words in [["retract", tim], ["say", "sorry"]] {
        assert!(daemon.command(&words).output().unwrap().status.success());
        received.push(ann.text());
    }
    assert!(received[1].contains(&format!(r#""retract":"{tim}""#)), "{received:?}");
    wait_for_lines(dir.path(), &received);
}

#[test]
fn a_stop_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut daemon = Daemon::start(&config(dir.path()));
    let mut ann = daemon.connect();
    let received = say(&mut ann, (0..2_000).map(|n| n.to_string()));
    daemon.signal(Signal::TERM);
    ann.closed();
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(lines(dir.path()), received);
}

#[test]
fn a_reload_starts_moves_and_stops_the_record() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let daemon = Daemon::start("");
    let mut ann = daemon.connect();
    let mut received = Vec::new();
    for (msg, config) in
        [("none", String::new()), ("one", config(one.path())), ("two", config(two.path()))]
    {
        daemon.reload(&config);
        received.extend(say(&mut ann, [msg.to_owned()]));
        if msg == "one" {
            wait_for_lines(one.path(), &received[1..]);
        }
    }
    daemon.reload("");
    say(&mut ann, ["none".to_owned()]);
    wait_for_lines(one.path(), &received[1..2]);
    wait_for_lines(two.path(), &received[2..]);
}

#[test]
fn old_days_are_deleted() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let today = chrono::Utc::now().date_naive();
    let day = |ago: u64| (today - chrono::Days::new(ago)).to_string();
    let others = ["2020-01-01.gz", "notes", "2999-01-01"].map(str::to_owned);
    for name in others.iter().cloned().chain((0..40).map(day)) {
        fs::write(at(&name), "").unwrap();
    }
    let has = |days: u64| (0..40).all(|ago| at(&day(ago)).exists() == (ago <= days));
    let keep = |days: u64| format!("{}record.keep_days = {days}\n", config(dir.path()));

    // Only what the key says.
    let daemon = Daemon::start(&keep(30));
    until("files of 30 days", || has(30).then_some(()));
    daemon.reload(&config(dir.path()));
    daemon.reload(&keep(7));
    until("files of 7 days", || has(7).then_some(()));
    assert_eq!(daemon.log().matches("old files of the record").count(), 2);
    say(&mut daemon.connect(), ["still recorded".to_owned()]);
    until("the record", || (fs::metadata(at(&day(0))).unwrap().len() > 0).then_some(()));

    // Files from before a long pause stay.
    let ago = std::time::SystemTime::now() - std::time::Duration::from_secs(190 * 86_400);
    let old = fs::File::create(at("2019-12-31")).unwrap();
    old.set_modified(ago).unwrap();
    daemon.reload(&keep(6));
    let line = daemon.wait_for_log("are not deleted");
    assert!(line.contains("1 old files in "), "{line}");
    until("files of 6 days", || has(6).then_some(()));
    assert!(at("2019-12-31").exists() && others.iter().all(|name| at(name).exists()));

    // What cannot be deleted delays nothing.
    daemon.reload(&format!("record.dir = '{}'\nrecord.keep_days = 1\n", at("none").display()));
    daemon.wait_for_log("cannot look for old files in ");
    say(&mut daemon.connect(), ["still sent".to_owned()]);
}

#[test]
fn a_full_disk_is_logged_once_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    // A limit of file sizes acts as a disk that is full in the middle of a line, and has
    // space again when the file is moved away.
    let limit = ["sh", "-c", "ulimit -f 8; exec \"$@\"", "sh"];
    let daemon = Setup::new(&config(dir.path())).wrapper(&limit).start();
    let (mut ann, mut bob) = (daemon.connect(), daemon.connect());
    let mut received = say(&mut ann, (0..20).map(|n| format!("{n} {}", "x".repeat(900))));
    daemon.wait_for_log("cannot record messages");
    received.extend(say(&mut ann, ["still received at once".to_owned()]));
    let bobs: Vec<_> = (0..received.len()).map(|_| bob.text()).collect();
    assert_eq!(bobs, received, "listeners miss nothing");

    let (day, moved) = (file_of(dir.path(), &received[0]), dir.path().join("0000"));
    let full = lines(dir.path());
    assert_eq!(full, received[..full.len()], "whole lines only");
    while lines(dir.path()).len() < received.len() {
        // It is soon full again.
        until("more of the record", || day.exists().then_some(()));
        let so_far = lines(dir.path());
        fs::write(&moved, so_far.join("\n") + "\n").unwrap();
        fs::remove_file(&day).unwrap();
        let more = || lines(dir.path()).len() > so_far.len();
        until("the rest of the record", || more().then_some(()));
    }
    assert_eq!(lines(dir.path()), received);
    daemon.wait_for_log("recording messages again; 0 were not recorded");
    assert_eq!(daemon.log().matches("cannot record messages").count(), 1);
}

#[test]
fn recording_continues_when_the_directory_is_back() {
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
fn a_blocked_device_delays_no_client() {
    let dir = TempDir::new().unwrap();
    let mut daemon =
        Daemon::start(&format!("{}limits.feed_tail_bytes = 65536\n", config(dir.path())));
    let mut ann = daemon.connect();
    let first = say(&mut ann, ["first".to_owned()]);
    wait_for_lines(dir.path(), &first);
    let fifo = file_of(dir.path(), &first[0]);
    fs::remove_file(&fifo).unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Far more than the pipe and the feed's tail hold.
    let received: Vec<_> =
        (0..600).flat_map(|n| say(&mut ann, [format!("{n} {}", "x".repeat(900))])).collect();
    let mut recorded = BufReader::new(fs::File::open(&fifo).unwrap()).lines();
    let last = received.last().unwrap();
    let read = 1 + recorded.position(|line| line.unwrap() == *last).unwrap();
    daemon.wait_for_log("cannot record messages");
    let line = daemon.wait_for_log("recording messages again; ");
    let dropped = received.len() - read;
    assert!(dropped > 100 && line.contains(&format!("; {dropped} were not recorded")), "{line}");
    drop(recorded);
    daemon.signal(Signal::TERM);
    ann.closed();
    assert_eq!(daemon.wait().code(), Some(0));
}
