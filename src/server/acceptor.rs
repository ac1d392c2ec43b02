//! Accepts connections; no error stops it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::log_limit::LogLimit;
use crate::server::listening_socket::ListeningSocket;
use crate::server::socket::{Peer, Socket};

/// How long accepting pauses when the system has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two log lines about such pauses.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A listening socket that is registered with the tokio runtime.
#[derive(Debug)]
pub struct Acceptor {
    socket: AsyncFd<ListeningSocket>,
    /// Sockets whose waiting connections are accepted first.
    former: Vec<ListeningSocket>,
    log_limit: LogLimit,
}

impl Acceptor {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be registered.
    #[expect(deprecated, reason = "the successor is unsafe; the socket keeps its descriptor")]
    pub fn new(socket: ListeningSocket) -> io::Result<Self> {
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket, former: Vec::new(), log_limit: LogLimit::new(LOG_INTERVAL) })
    }

    /// First accepts the connections that wait at these sockets, and then closes them.
    pub fn empty_first(&mut self, former: Vec<ListeningSocket>) {
        self.former = former;
    }

    /// Waits for the next connection. Its socket does not block, and is registered with no
    /// epoll instance.
    ///
    /// An error of one connection affects only that connection. If descriptors or memory have
    /// run out, `free_resources` is called, new connections stay in the kernel's backlog, and
    /// accepting is tried again ten times a second.
    pub async fn accept(&mut self, free_resources: impl Fn()) -> (Socket, Peer) {
        while let Some(former) = self.former.last() {
            match former.accept() {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                // None waits any more.
                Err(_) => drop(self.former.pop()),
            }
        }
        loop {
            match self.socket.async_io(Interest::READABLE, ListeningSocket::accept).await {
                Ok(accepted) => {
                    if self.log_limit.end() {
                        info!(listener = %self, "accepting on {self} again");
                    }
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.log_limit.problem(Instant::now()) {
                        warn!(
                            listener = %self, %error,
                            "cannot accept on {self}: {error}; new connections wait"
                        );
                    }
                    free_resources();
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The address of the listening socket.
impl fmt::Display for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.get_ref().fmt(out)
    }
}

/// Whether the connection failed before it was accepted. Every other error of accept(2)
/// leads to a pause, so that none becomes a busy loop.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::PROTO)
    )
}
