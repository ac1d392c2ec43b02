//! Other users of the room, and a network that can pause.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
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
    changed: Condvar,
}

impl Network {
    /// A proxy to the daemon at this address.
    pub fn to(room: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pause = Arc::<Pause>::default();
        let shared = pause.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let pause = shared.clone();
                thread::spawn(move || pause.connect(&near, room));
            }
        });
        Self { address, pause }
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
            scope.spawn(|| self.copy(near, &far, is_websocket));
            self.copy(&far, near, is_websocket);
        });
    }

    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, is_websocket: bool) {
        let mut buffer = [0; 4096];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let is_paused = self.is_paused.lock().unwrap();
            let wait = |is_paused: &mut bool| is_websocket && *is_paused;
            drop(self.changed.wait_while(is_paused, wait).unwrap());
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}
