//! Senders that record what becomes of each of their messages.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::harness::Client;

/// How long a sender waits for an answer: more than the 30 seconds after which it is told that
/// the outcome is not known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// The pause after a refusal: a connection gets two notices in a second.
const REFUSED_PAUSE: Duration = Duration::from_millis(600);

/// What a sender is told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent, as this text.
    Sent(String),
    /// It was not sent, and will not be.
    Unavailable,
    /// It is not known whether it was sent.
    Unknown,
}

/// A message with its name and text, and what its sender was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub usr: String,
    pub msg: String,
    pub outcome: Outcome,
    /// How long the answer took.
    pub after: Duration,
}

/// How a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    WebSocket,
    Post,
}

/// Senders, each on a thread of its own, which sends one message after the other.
pub struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Told>>>,
}

#[derive(Default)]
struct Shared {
    has_ended: AtomicBool,
    sent: AtomicUsize,
    refused: AtomicUsize,
}

impl Senders {
    /// Starts so many senders, spread over the nodes; every second one of a node sends by POST.
    /// Each makes a pause between an answer and its next message.
    pub fn start(nodes: &[SocketAddr], count: usize, pause: Duration) -> Self {
        let place = |number: usize| {
            let is_even = (number / nodes.len()).is_multiple_of(2);
            (nodes[number % nodes.len()], if is_even { By::WebSocket } else { By::Post })
        };
        Self::at(&(0..count).map(place).collect::<Vec<_>>(), pause)
    }

    /// Starts a sender for each of these.
    pub fn at(places: &[(SocketAddr, By)], pause: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let threads = places.iter().enumerate().map(|(number, &(node, by))| {
            let shared = Arc::clone(&shared);
            let usr = format!("s{number}");
            thread::spawn(move || {
                let mut sender = Sender::connect(node, by, &usr);
                let mut told = Vec::new();
                while !shared.has_ended.load(Ordering::Relaxed) {
                    let one = sender.say(&format!("{} of {usr}", told.len()));
                    let counter = match one.outcome {
                        Outcome::Sent(_) => &shared.sent,
                        Outcome::Unavailable | Outcome::Unknown => &shared.refused,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    let is_sent = matches!(one.outcome, Outcome::Sent(_));
                    told.push(one);
                    thread::sleep(if is_sent { pause } else { REFUSED_PAUSE });
                }
                told
            })
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// How many messages were sent.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many messages were not sent, or it is not known.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Ends all senders, each after its answer, and returns what they were told.
    pub fn end(self) -> Vec<Told> {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

/// A sender that waits for the answer to each message.
pub struct Sender {
    usr: String,
    connection: Connection,
}

enum Connection {
    WebSocket(Box<Client>),
    Post(BufReader<TcpStream>),
}

impl Sender {
    /// Connects.
    pub fn connect(node: SocketAddr, by: By, usr: &str) -> Self {
        Self::try_connect(node, by, usr).unwrap()
    }

    /// Connects, if the node accepts it.
    pub fn try_connect(node: SocketAddr, by: By, usr: &str) -> io::Result<Self> {
        let stream = connect(node);
        let connection = match by {
            By::WebSocket => {
                let opened = tungstenite::client(format!("ws://{node}/"), stream);
                Connection::WebSocket(Box::new(Client(opened.map_err(io::Error::other)?.0)))
            }
            By::Post => Connection::Post(BufReader::new(stream)),
        };
        Ok(Self { usr: usr.to_owned(), connection })
    }

    /// Sends a message and waits for what becomes of it.
    pub fn say(&mut self, msg: &str) -> Told {
        self.try_say(msg)
            .unwrap_or_else(|(after, error)| panic!("{msg:?}, after {after:?}: {error}"))
    }

    /// As [`say`](Self::say). The error is why there was no answer, and when.
    pub fn try_say(&mut self, msg: &str) -> Result<Told, (Duration, io::Error)> {
        let text = json!({ "usr": self.usr, "msg": msg }).to_string();
        let start = Instant::now();
        let outcome = match &mut self.connection {
            Connection::WebSocket(client) => say(client, &self.usr, msg, &text),
            Connection::Post(stream) => post(stream, &text),
        };
        let after = start.elapsed();
        let outcome = outcome.map_err(|error| (after, error))?;
        Ok(Told { usr: self.usr.clone(), msg: msg.to_owned(), outcome, after })
    }
}

fn connect(node: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(node).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
    stream
}

/// Sends by WebSocket, and reads up to the own message or the notice.
fn say(client: &mut Client, usr: &str, msg: &str, text: &str) -> io::Result<Outcome> {
    client.0.send(Message::text(text)).map_err(io::Error::other)?;
    loop {
        let text = match client.0.read() {
            Ok(Message::Text(text)) => text.to_string(),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        let json: Value = serde_json::from_str(&text).unwrap();
        match json.get("err").and_then(Value::as_str) {
            None if json["usr"] == usr && json["msg"] == msg => return Ok(Outcome::Sent(text)),
            None | Some("gap") => {}
            Some(_) => return Ok(outcome_of_notice(&json)),
        }
    }
}

fn post(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<Outcome> {
    // The server may close a connection between two requests.
    stream.get_ref().set_nonblocking(true).unwrap();
    let is_closed = stream.get_ref().peek(&mut [0]).is_ok();
    stream.get_ref().set_nonblocking(false).unwrap();
    if is_closed {
        *stream = BufReader::new(connect(stream.get_ref().peer_addr().unwrap()));
    }
    let request = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.get_ref().write_all(request.as_bytes())?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("the end after {head:?}")));
        }
    }
    let status = head.split(' ').nth(1).unwrap();
    if status == "502" {
        return Err(io::Error::other("a proxy has got no answer"));
    }
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned())
    };
    let length = field("content-length:").expect("a length").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    if status == "200" {
        return Ok(Outcome::Sent(body));
    }
    let outcome = outcome_of_notice(&serde_json::from_str(&body).unwrap());
    match outcome {
        Outcome::Unavailable => {
            assert_eq!(status, "503", "{head}");
            let wait = field("retry-after:").expect("Retry-After").parse::<u32>().unwrap();
            assert!(wait > 0, "{head}");
        }
        Outcome::Unknown => assert_eq!(status, "504", "{head}"),
        Outcome::Sent(_) => unreachable!("a notice"),
    }
    Ok(outcome)
}

fn outcome_of_notice(notice: &Value) -> Outcome {
    assert_eq!(notice["usr"], "wschat", "{notice}");
    match notice["err"].as_str() {
        Some("unavailable") => {
            assert!(notice["wait"].as_u64().is_some_and(|wait| wait > 0), "{notice}");
            Outcome::Unavailable
        }
        Some("unknown") => Outcome::Unknown,
        _ => panic!("unexpected: {notice}"),
    }
}
