//! Listeners that move from node to node, each time with the `tim` of their last message.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::{Message, WebSocket};
use wschat::chat::is_presence;

use crate::texts::msg_field;

/// How long a follower waits for the next message, and for a node that does not accept it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most messages that it receives before it moves on.
const STAY_MAX: usize = 4;

/// A listener on its own thread.
pub struct Follower {
    thread: JoinHandle<Vec<String>>,
    moves: Arc<AtomicUsize>,
}

impl Follower {
    /// Moves so often between these nodes, then stays until the message with the text `last`. If its
    /// connection breaks, it moves on too.
    pub fn start(nodes: &[SocketAddr], number: usize, moves: usize, last: &str) -> Self {
        let last = msg_field(last);
        let nodes = nodes.to_vec();
        let mut random = fastrand::Rng::with_seed(number as u64);
        let moves_done = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&moves_done);
        let thread = thread::spawn(move || {
            let (mut texts, mut since) = (Vec::new(), None::<String>);
            let (mut at, mut moved) = (number, 0);
            let mut closed_at = Instant::now();
            loop {
                let node = nodes[at % nodes.len()];
                at += random.usize(1..=nodes.len());
                let mut stay = if moved < moves { random.usize(1..=STAY_MAX) } else { usize::MAX };
                let Ok(mut connection) = Connection::open(node, since.as_deref(), at % 2 == 0)
                else {
                    assert!(closed_at.elapsed() < PATIENCE, "{node} accepts nobody");
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                while stay > 0 {
                    let Ok(text) = connection.text() else { break };
                    stay -= 1;
                    let json: Value = serde_json::from_str(&text).unwrap();
                    if json.get("err").is_none() {
                        since = Some(json["tim"].as_str().unwrap().to_owned());
                    }
                    let is_last = text.contains(&last);
                    texts.push(text);
                    if is_last {
                        return texts;
                    }
                }
                closed_at = Instant::now();
                moved += 1;
                counter.store(moved, Ordering::Relaxed);
            }
        });
        Self { thread, moves: moves_done }
    }

    /// How often it has moved.
    pub fn moves(&self) -> usize {
        self.moves.load(Ordering::Relaxed)
    }

    /// Waits for its last message, and checks that it has received all of these from its first
    /// one on, exactly once and in their order.
    pub fn check(self, all: &[String]) -> usize {
        let texts = self.thread.join().unwrap();
        let first = all.iter().position(|text| *text == texts[0]).expect("a known message");
        for (at, (text, want)) in texts.iter().zip(&all[first..]).enumerate() {
            assert_eq!(text, want, "at {at}");
        }
        assert_eq!(texts.len(), all.len() - first);
        texts.len()
    }
}

enum Connection {
    WebSocket(Box<WebSocket<TcpStream>>),
    Events(BufReader<TcpStream>),
}

impl Connection {
    fn open(node: SocketAddr, since: Option<&str>, is_events: bool) -> io::Result<Self> {
        let mut stream = TcpStream::connect(node)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        if !is_events {
            let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
            let opened = tungstenite::client(format!("ws://{node}/{query}"), stream);
            return Ok(Self::WebSocket(Box::new(opened.map_err(io::Error::other)?.0)));
        }
        let field = since.map(|since| format!("Last-Event-ID: {since}\r\n")).unwrap_or_default();
        // A proxy divides an answer of HTTP/1.1 into chunks.
        write!(stream, "GET /events HTTP/1.0\r\nHost: h\r\n{field}\r\n")?;
        let mut stream = BufReader::new(stream);
        if line(&mut stream)?.split(' ').nth(1) != Some("200") {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        while line(&mut stream)? != "\r\n" {}
        Ok(Self::Events(stream))
    }

    fn text(&mut self) -> io::Result<String> {
        loop {
            match self {
                Self::WebSocket(socket) => match socket.read().map_err(io::Error::other)? {
                    Message::Text(text) if is_presence(text.as_bytes()) => {}
                    Message::Text(text) => return Ok(text.to_string()),
                    Message::Close(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
                    _ => {}
                },
                Self::Events(stream) => {
                    if let Some(text) = line(stream)?.strip_prefix("data: ")
                        && !is_presence(text.trim_end().as_bytes())
                    {
                        return Ok(text.trim_end().to_owned());
                    }
                }
            }
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    // A part of a line is the end, too.
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
