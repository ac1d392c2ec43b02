//! Other users of the room, and a network that can stop.

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

/// A network to the room. When it is stopped, no WebSocket transfers anything, and nobody
/// is informed. (Pages still load.)
pub struct Network {
    pub address: SocketAddr,
    still: Arc<Still>,
}

#[derive(Default)]
struct Still {
    stands: Mutex<bool>,
    changed: Condvar,
}

impl Network {
    /// A network to the room at this address.
    pub fn to(room: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let still = Arc::<Still>::default();
        let held = still.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let held = held.clone();
                thread::spawn(move || held.connect(&near, room));
            }
        });
        Self { address, still }
    }

    /// Transfers nothing until `flow`.
    pub fn stop(&self) {
        *self.still.stands.lock().unwrap() = true;
    }

    /// Transfers again, also what has waited.
    pub fn flow(&self) {
        *self.still.stands.lock().unwrap() = false;
        self.still.changed.notify_all();
    }
}

impl Still {
    /// Copies in both directions, until both have ended.
    fn connect(&self, near: &TcpStream, room: SocketAddr) {
        let mut head = [0; 4096];
        let length = near.peek(&mut head).unwrap_or(0);
        let held = String::from_utf8_lossy(&head[..length]).contains("Sec-WebSocket-Key");
        let Ok(far) = TcpStream::connect(room) else { return };
        thread::scope(|scope| {
            scope.spawn(|| self.carry(near, &far, held));
            self.carry(&far, near, held);
        });
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream, held: bool) {
        let mut buffer = [0; 4096];
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let stands = self.stands.lock().unwrap();
            drop(self.changed.wait_while(stands, |stands| held && *stands).unwrap());
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}
