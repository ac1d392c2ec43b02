//! A small room inside the test. It does on demand what the daemon never does: it
//! refuses, closes and sends anything.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::server::Request;
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tungstenite::{Message, WebSocket};

/// How long a test waits.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a thread looks for something to send to its client.
const TICK: Duration = Duration::from_millis(10);

/// A room that listens on its own port.
pub struct Room {
    /// The address that it listens on.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What clients have sent.
    messages: Vec<Value>,
    /// What is sent to every client.
    feed: Vec<String>,
    clients: usize,
    /// The query of the URL of each connection.
    queries: Vec<String>,
    /// Clients that connected before this number of `close_all` are to be closed.
    closings: usize,
    /// New clients are refused.
    refuse_clients: bool,
    /// Messages that were rejected as too early once.
    early: Vec<Value>,
}

impl Room {
    /// Starts a room. It replies with a notice to a message `refuse`, and to `early` the
    /// first time, and with a close frame to `close`. Everything else is sent to all.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let room = Self { address, shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        room
    }

    /// An address where nothing listens while the socket exists.
    pub fn without_listener() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// The room's URL.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What clients have sent so far.
    pub fn messages(&self) -> Vec<Value> {
        self.shared.state.lock().unwrap().messages.clone()
    }

    /// Sends this text to every client.
    pub fn say(&self, text: &str) {
        self.shared.state.lock().unwrap().feed.push(text.to_owned());
    }

    /// Closes every connection with 1001.
    pub fn close_all(&self) {
        self.shared.state.lock().unwrap().closings += 1;
    }

    /// The parameters of each connection so far.
    pub fn queries(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().queries.clone()
    }

    /// Refuses new clients, or stops doing so.
    pub fn refuse_clients(&self, refuse_clients: bool) {
        self.shared.state.lock().unwrap().refuse_clients = refuse_clients;
    }

    /// Waits for this number of clients.
    pub fn wait_for_clients(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let wait = self.shared.changed.wait_timeout_while(state, DEADLINE, |s| s.clients != count);
        let (state, timeout) = wait.unwrap();
        assert!(!timeout.timed_out(), "{} clients instead of {count}", state.clients);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        if self.change(|state| state.refuse_clients) {
            return;
        }
        #[allow(clippy::result_large_err, reason = "the library has this type")]
        let note_query = |request: &Request, response| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            self.change(|state| state.queries.push(query));
            Ok(response)
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, note_query) else { return };
        socket.get_ref().set_read_timeout(Some(TICK)).unwrap();
        let (mut cursor, closings) = self.change(|state| {
            state.clients += 1;
            (state.feed.len(), state.closings)
        });
        while self.turn(&mut socket, &mut cursor, closings) {}
        self.change(|state| state.clients -= 1);
    }

    /// Reads what has arrived and writes what is missing; `false` at the end.
    fn turn(&self, socket: &mut WebSocket<TcpStream>, cursor: &mut usize, closings: usize) -> bool {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let mut message: Value = serde_json::from_str(&text).unwrap();
                let msg = message["msg"].as_str().unwrap().to_owned();
                if msg == "close" {
                    return close(socket);
                }
                if msg == "refuse" {
                    let notice = json!({"usr":"wschat","msg":"not sent: refused","err":"test"});
                    return socket.send(Message::text(notice.to_string())).is_ok();
                }
                if msg == "early" && self.change(|state| early(state, &message["id"])) {
                    let notice = json!({"usr":"wschat","msg":"not sent: wait 1 s","err":"rate-limited","wait":1});
                    return socket.send(Message::text(notice.to_string())).is_ok();
                }
                self.change(|state| {
                    state.messages.push(message.clone());
                    message.as_object_mut().unwrap().remove("jwt");
                    state.feed.push(message.to_string());
                });
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let (missing, closing) = self.change(|state| {
            let missing = state.feed[*cursor..].to_vec();
            *cursor = state.feed.len();
            (missing, state.closings > closings)
        });
        let written = missing.into_iter().all(|text| socket.send(Message::text(text)).is_ok());
        written && (!closing || close(socket))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

/// Whether this message is received for the first time.
fn early(state: &mut State, id: &Value) -> bool {
    let first = !state.early.contains(id);
    state.early.push(id.clone());
    first
}

/// Closes with 1001 and reads until the client has replied.
fn close(socket: &mut WebSocket<TcpStream>) -> bool {
    let _ = socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }));
    while match socket.read() {
        Err(tungstenite::Error::Io(error)) => error.kind() == std::io::ErrorKind::WouldBlock,
        other => other.is_ok(),
    } {}
    false
}
