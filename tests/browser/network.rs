//! Other users of the room, and a network that can pause and break.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::harness::{Client, Daemon, Setup};

/// Sends a message, and waits until the visitor has received it.
pub fn say(visitor: &mut Client, usr: &str, msg: &str) {
    visitor.say(usr, msg);
    while visitor.hear() != msg {}
}

/// Stops the daemon, and starts another on the same address.
pub fn start_again(address: SocketAddr) -> Daemon {
    start_again_with(address, "")
}

/// The same, with another configuration.
pub fn start_again_with(address: SocketAddr, config: &str) -> Daemon {
    Setup::new(config).without_listen().arg("--listen").arg(&address.to_string()).start()
}

/// A proxy to the daemon. When it is paused, no WebSocket transfers anything, and neither side
/// is informed. (Pages still load.)
pub struct Network {
    pub address: SocketAddr,
    pause: Arc<Pause>,
}

#[derive(Default)]
struct Pause {
    is_paused: Mutex<bool>,
    loses_answers: AtomicBool,
    changed: Condvar,
    /// The open connections; `None` while the network is cut.
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl Network {
    /// A proxy to the daemon at this address.
    pub fn to(room: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pause = Arc::<Pause>::default();
        pause.open.lock().unwrap().replace(vec![]);
        let shared = pause.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let pause = shared.clone();
                if let Some(open) = &mut *shared.open.lock().unwrap() {
                    open.push(near.try_clone().unwrap());
                    thread::spawn(move || pause.connect(&near, room));
                }
            }
        });
        Self { address, pause }
    }

    /// Breaks every connection, and accepts none until `restore`.
    pub fn cut(&self) {
        for stream in self.pause.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Accepts connections again.
    pub fn restore(&self) {
        self.pause.open.lock().unwrap().get_or_insert_default();
    }

    /// Whether to lose what the server sends to a WebSocket.
    pub fn lose_answers(&self, loses_answers: bool) {
        self.pause.loses_answers.store(loses_answers, Ordering::Relaxed);
    }

    /// Transfers nothing until `resume`.
    pub fn pause(&self) {
        *self.pause.is_paused.lock().unwrap() = true;
    }

    /// Transfers again, also the bytes that have waited.
    pub fn resume(&self) {
        *self.pause.is_paused.lock().unwrap() = false;
        self.pause.changed.notify_all();
    }
}

impl Pause {
    /// Copies in both directions, until both have ended.
    fn connect(&self, near: &TcpStream, room: SocketAddr) {
        let mut head = [0; 4096];
        let length = near.peek(&mut head).unwrap_or(0);
        let is_websocket = String::from_utf8_lossy(&head[..length]).contains("Sec-WebSocket-Key");
        let Ok(far) = TcpStream::connect(room) else { return };
        thread::scope(|scope| {
            scope.spawn(|| self.copy(near, &far, is_websocket, false));
            self.copy(&far, near, is_websocket, is_websocket);
        });
    }

    fn copy(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        is_websocket: bool,
        has_answers: bool,
    ) {
        let mut buffer = [0; 4096];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let is_paused = self.is_paused.lock().unwrap();
            let wait = |is_paused: &mut bool| is_websocket && *is_paused;
            drop(self.changed.wait_while(is_paused, wait).unwrap());
            if count > 0 && has_answers && self.loses_answers.load(Ordering::Relaxed) {
                continue;
            }
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}
