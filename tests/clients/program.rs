//! A program of the tests that prints a line for each text that it gets.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::DEADLINE;

/// A running program. All its processes end with it.
pub struct Program {
    pub name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts the program with these words.
    pub fn start(name: &'static str, words: &[&str]) -> Self {
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .env("NODE_NO_WARNINGS", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}; tests/run installs it"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { name, child, lines: receiver }
    }

    /// Writes a line into its input.
    pub fn write(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line of its output.
    pub fn line(&self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.unwrap_or_else(|error| panic!("{}: no line: {error}", self.name))
    }

    /// Checks that it has printed nothing else.
    pub fn prints_nothing_else(&self) {
        let next = self.lines.recv_timeout(Duration::ZERO);
        assert_eq!(next, Err(RecvTimeoutError::Timeout), "{}", self.name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The path of a program in this folder.
pub fn file(name: &str) -> String {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    here.join(name).display().to_string()
}

/// What tests/run has installed.
pub fn installed(path: &str) -> String {
    let folder = std::env::var_os("WSCHAT_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/wschat-tests")
    });
    folder.join(path).display().to_string()
}
