//! Programs that listen with a library that others wrote, and resume by themselves.

use serde_json::Value;

use crate::program::{Program, file, installed};

/// A running program.
pub struct Listener {
    program: Program,
    /// The last id that it has printed.
    last: String,
}

impl Listener {
    /// Starts one of each kind.
    pub fn start_all(url: &str) -> Vec<Self> {
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
        Self { program: Program::start(name, words), last: String::new() }
    }

    /// The next message, whose id is its `tim`, or the next notice, which has no id.
    pub fn next(&mut self) -> Value {
        let line = self.program.line();
        let (id, data) = line.split_once('\t').unwrap();
        let json: Value = serde_json::from_str(data).unwrap();
        if json.get("err").is_none() {
            self.last = json["tim"].as_str().unwrap().to_owned();
        }
        // For an event without an id, clients report the last id, or none since they came back.
        let is_as_before = id.is_empty() && json.get("err").is_some();
        assert!(id == self.last || is_as_before, "{}: {line}", self.program.name);
        json
    }

    /// Checks that this is the next message.
    pub fn hears(&mut self, message: &Value) {
        let next = self.next();
        assert_eq!(next, *message, "{}", self.program.name);
    }

    /// Checks that the next event is a gap notice.
    pub fn is_told_of_a_gap(&mut self) {
        let after = self.last.clone();
        let notice = self.next();
        assert_eq!(
            (&notice["err"], &notice["after"]),
            (&"gap".into(), &after.into()),
            "{}",
            self.program.name
        );
    }

    /// Checks that nothing else has come.
    pub fn hears_nothing_else(&self) {
        self.program.prints_nothing_else();
    }
}
