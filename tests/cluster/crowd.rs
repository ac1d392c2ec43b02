//! Many listeners of one node. All must receive the same bytes, but for pings: the first that has
//! more than the others extends the stream, and every other one is compared with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use wschat::chat::is_presence;
use wschat::ws::frame::client_frame;

use crate::harness::{DEADLINE, UPGRADE};
use crate::servers::wait_for;
use crate::texts::{frame, msg_field, texts_of};

/// How often the thread checks whether the crowd has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The first bytes of control frames.
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// How many errors are kept.
const ERRORS_MAX: usize = 5;

/// Listeners by WebSocket, on one thread.
pub struct Crowd {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// What the listeners receive.
    stream: Vec<u8>,
    /// How much of it each listener has received.
    received: Vec<usize>,
    /// What went wrong.
    errors: Vec<String>,
    has_ended: bool,
}

impl Crowd {
    /// Connects so many listeners, each at the live end of the stream.
    pub fn start(node: SocketAddr, count: usize) -> Self {
        let shared = Shared { received: vec![0; count], ..Shared::default() };
        let shared = Arc::new(Mutex::new(shared));
        let listeners = (0..count).map(|_| connect(node)).collect();
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(listeners, &shared)
        });
        Self { shared, thread: Some(thread) }
    }

    /// Waits until every listener has received a message with this text, and everything that
    /// another one has received. Returns everything in its order.
    ///
    /// # Panics
    ///
    /// A listener received other bytes than the others, or was closed.
    #[track_caller]
    pub fn texts_up_to(&self, msg: &str) -> Vec<String> {
        let last = msg_field(msg);
        let mut seen = 0;
        wait_for(&format!("all listeners receive {msg:?}"), || {
            self.check();
            let shared = self.shared();
            // Only the new bytes are searched, with a possible beginning before them.
            let from = seen.max(last.len()) - last.len();
            let has_last = shared.stream[from..].windows(last.len()).any(|w| w == last.as_bytes());
            if !has_last {
                seen = shared.stream.len();
            }
            let have_all = shared.received.iter().all(|received| *received == shared.stream.len());
            (has_last && have_all).then(|| texts_of(&shared.stream))
        })
    }

    /// All texts that any listener has received until now.
    pub fn texts(&self) -> Vec<String> {
        self.check();
        let shared = self.shared();
        texts_of(&shared.stream)
    }

    #[track_caller]
    fn check(&self) {
        let errors = self.shared().errors.clone();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.has_ended = true;
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn add_error(&mut self, error: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }

    /// A listener has received these frames; false if they are wrong.
    fn receive(&mut self, listener: usize, bytes: &[u8]) -> bool {
        let position = self.received[listener];
        let known = &self.stream[position..];
        let common = known.len().min(bytes.len());
        if known[..common] != bytes[..common] {
            let [known, bytes] = [&known[..common], bytes].map(String::from_utf8_lossy);
            self.add_error(format!("listener {listener} received {bytes:?}\ninstead of {known:?}"));
            return false;
        }
        self.stream.extend_from_slice(&bytes[common..]);
        self.received[listener] += bytes.len();
        true
    }
}

/// The socket of a listener.
struct Listener {
    stream: mio::net::TcpStream,
    /// The beginning of a frame that is not complete.
    incomplete: Vec<u8>,
}

impl Listener {
    /// Takes what has arrived, and answers pings. Returns the complete frames of messages.
    fn frames(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.incomplete.extend_from_slice(bytes);
        let (mut frames, mut rest) = (Vec::new(), &self.incomplete[..]);
        while let Some((first, payload, behind)) = frame(rest) {
            if first == PING {
                // A socket that takes no pong is closed soon.
                let _ = self.stream.write(&client_frame(PONG, payload));
            } else if !is_presence(payload) {
                frames.extend_from_slice(&rest[..rest.len() - behind.len()]);
            }
            rest = behind;
        }
        let used = self.incomplete.len() - rest.len();
        self.incomplete.drain(..used);
        frames
    }
}

/// Opens a WebSocket, and returns its stream behind the handshake.
fn connect(node: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

fn listen(listeners: Vec<TcpStream>, shared: &Mutex<Shared>) {
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    let mut listeners: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(number, stream)| {
            stream.set_nonblocking(true).unwrap();
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE).unwrap();
            Some(Listener { stream, incomplete: Vec::new() })
        })
        .collect();
    let mut bytes = vec![0; 256 * 1024];
    loop {
        if let Err(error) = poll.poll(&mut events, Some(POLL_INTERVAL)) {
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            continue;
        }
        if shared.lock().unwrap().has_ended {
            return;
        }
        for event in &events {
            let Token(number) = event.token();
            let Some(listener) = &mut listeners[number] else { continue };
            loop {
                let read = match listener.stream.read(&mut bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    read => read,
                };
                let mut shared = shared.lock().unwrap();
                let is_good = match read {
                    Ok(count) if count > 0 => {
                        shared.receive(number, &listener.frames(&bytes[..count]))
                    }
                    end => {
                        shared.add_error(format!("listener {number} was closed: {end:?}"));
                        false
                    }
                };
                if !is_good {
                    listeners[number] = None;
                    break;
                }
            }
        }
    }
}
