//! Programs that listen with a library that others wrote, and resume by themselves.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::harness::DEADLINE;

/// A running program.
pub struct Listener {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    /// The last id that it has printed.
    last: String,
}

impl Listener {
    /// Starts one of each kind.
    pub fn start_all(url: &str) -> Vec<Self> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let file = |name: &str| here.join(name).display().to_string();
        let curl = file("curl.sh");
        let package = installed("eventsource/node_modules/eventsource/dist/index.js");
        let python = installed("httpx-sse/bin/python3");
        vec![
            Self::start("curl", &[&curl, url, "--compressed"]),
            Self::start("curl --http1.0", &[&curl, url, "--http1.0", "--no-alpn"]),
            Self::start("httpx-sse", &[&python, &file("listen.py"), url]),
            Self::start("eventsource", &["node", &file("eventsource.mjs"), &package, url]),
        ]
    }

    fn start(name: &'static str, words: &[&str]) -> Self {
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .env("NODE_NO_WARNINGS", "1")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}; tests/run installs it"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { name, child, lines: receiver, last: String::new() }
    }

    /// The next message, whose id is its `tim`, or the next notice, which has no id.
    pub fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|error| panic!("{}: no event: {error}", self.name));
        let (id, data) = line.split_once('\t').unwrap();
        let json: Value = serde_json::from_str(data).unwrap();
        if json.get("err").is_none() {
            self.last = json["tim"].as_str().unwrap().to_owned();
        }
        // For an event without an id, clients report the last id, or none since they came back.
        let is_as_before = id.is_empty() && json.get("err").is_some();
        assert!(id == self.last || is_as_before, "{}: {line}", self.name);
        json
    }

    /// Checks that this is the next message.
    pub fn hears(&mut self, message: &Value) {
        let next = self.next();
        assert_eq!(next, *message, "{}", self.name);
    }

    /// Checks that the next event is a gap notice.
    pub fn is_told_of_a_gap(&mut self) {
        let after = self.last.clone();
        let notice = self.next();
        assert_eq!(
            (&notice["err"], &notice["after"]),
            (&"gap".into(), &after.into()),
            "{}",
            self.name
        );
    }

    /// Checks that nothing else has come.
    pub fn hears_nothing_else(&self) {
        let next = self.lines.recv_timeout(Duration::ZERO);
        assert_eq!(next, Err(RecvTimeoutError::Timeout), "{}", self.name);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// What tests/run has installed.
pub fn installed(path: &str) -> String {
    let folder = std::env::var_os("WSCHAT_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/wschat-tests")
    });
    folder.join(path).display().to_string()
}
