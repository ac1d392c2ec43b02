//! A TCP relay between a node and its servers, which disturbs what goes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::deliveries::{Deliveries, TimeStep};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the node to a server.
    There,
    /// From a server to the node.
    Back,
}

/// One listening socket for each server.
pub struct Relay {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether bytes are kept: on the way there, and on the way back.
    holds: [bool; 2],
    delay: Duration,
    /// Whether connections are closed at once.
    refuses: bool,
    has_ended: bool,
    /// The number of times that all connections were closed.
    generation: u64,
    connections: Vec<TcpStream>,
    step: Option<TimeStep>,
}

impl Relay {
    /// A relay to these servers.
    pub fn start(servers: &[SocketAddr]) -> Self {
        let shared = Arc::<Shared>::default();
        let addresses = servers.iter().map(|&server| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, server, &shared));
            address
        });
        Self { addresses: addresses.collect(), shared }
    }

    /// Where the node connects, in the order of the servers.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes all connections, and every new one at once.
    pub fn cut(&self) {
        self.change(|state| {
            state.refuses = true;
            state.close_all();
        });
    }

    /// Keeps all connections open, accepts new ones, and moves nothing in these directions.
    pub fn hold(&self, ways: &[Way]) {
        self.change(|state| {
            for way in [Way::There, Way::Back] {
                state.holds[way as usize] = ways.contains(&way);
            }
        });
    }

    /// Moves everything again, first what was kept; new connections too.
    pub fn restore(&self) {
        self.change(|state| {
            state.holds = [false; 2];
            state.delay = Duration::ZERO;
            state.refuses = false;
        });
    }

    /// Keeps everything for at least this long, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Rewrites the time of messages in deliveries; other bytes stay as they are.
    pub fn step_time(&self, step: TimeStep) {
        self.change(|state| state.step = Some(step));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.change(|state| {
            state.has_ended = true;
            state.close_all();
        });
        // Ends the threads that accept.
        for address in &self.addresses {
            let _ = TcpStream::connect(address);
        }
    }
}

impl State {
    fn close_all(&mut self) {
        self.generation += 1;
        for stream in self.connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until bytes move this way; `None` if the connection was closed before that.
    fn wait_for(&self, way: Way, generation: u64) -> Option<MutexGuard<'_, State>> {
        let waits = |state: &mut State| {
            state.holds[way as usize] && state.generation == generation && !state.has_ended
        };
        let state = self.changed.wait_while(self.state(), waits).unwrap();
        (state.generation == generation && !state.has_ended).then_some(state)
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    for node in listener.incoming() {
        let node = node.unwrap();
        if shared.state().has_ended {
            return;
        }
        // A server that does not run refuses, and so does the relay.
        let Ok(server) = TcpStream::connect(server) else { continue };
        let mut state = shared.state();
        if state.refuses {
            continue;
        }
        for stream in [&node, &server] {
            stream.set_nodelay(true).unwrap();
            state.connections.push(stream.try_clone().unwrap());
        }
        let generation = state.generation;
        drop(state);
        let [from, to] = [&node, &server].map(|stream| stream.try_clone().unwrap());
        for (from, to, way) in [(from, to, Way::There), (server, node, Way::Back)] {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                // An error is the end of the connection, as an end is.
                let _ = copy(&from, &to, way, generation, &shared);
                if shared.wait_for(way, generation).is_some() {
                    let _ = to.shutdown(Shutdown::Write);
                }
            });
        }
    }
}

fn copy(
    mut from: &TcpStream,
    mut to: &TcpStream,
    way: Way,
    generation: u64,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    let mut deliveries = Deliveries::default();
    let mut out = Vec::new();
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        let (delay, step) = match shared.wait_for(way, generation) {
            Some(state) => (state.delay, state.step),
            None => return Ok(()),
        };
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        match way {
            Way::There => to.write_all(&bytes[..count])?,
            Way::Back => {
                out.clear();
                deliveries.rewrite(&bytes[..count], step, &mut out);
                to.write_all(&out)?;
            }
        }
    }
}
