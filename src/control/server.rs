//! The server of the control socket.

use std::fs;
use std::io;
use std::os::unix;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::address::ListenAddress;
use crate::control::auth;
use crate::control::error::{ControlError, ErrorCode, FORBIDDEN, READ_ONLY};
use crate::control::protocol::{LINE_BYTES_MAX, error_reply, parse_request};
use crate::control::service::Service;
use crate::server::{Acceptor, EpollWatches, ListeningSocket, WatchUse};

/// Open connections; one more gets [`ErrorCode::Busy`].
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may stay open without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a peer may take to read a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Only the daemon's user and the group of the file may connect.
const MODE: u32 = 0o660;

/// The control socket or the one for monitoring, bound.
#[derive(Debug)]
pub struct ControlServer {
    listener: ListeningSocket,
    path: PathBuf,
    access: Access,
}

/// What the peers of a socket may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// All requests, if they are root, the daemon's user or in its group.
    Full,
    /// Requests that monitor the room, if they may connect: that takes the group of the
    /// socket's file.
    Monitor,
}

impl ControlServer {
    /// Binds a socket at `path`. Replaces the socket of a dead daemon, but not one where another
    /// process listens.
    ///
    /// The file has the group of its directory if the mode of that says so (2750).
    ///
    /// # Errors
    ///
    /// The system's: the directory is missing or not writable, the path is in use or
    /// too long.
    pub fn bind(path: &Path, access: Access) -> io::Result<Self> {
        let listener = ListeningSocket::bind(&ListenAddress::Unix(path.to_owned()), false)?;
        // Peers that connect before this takes effect are checked as well.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        Ok(Self { listener, path: path.to_owned(), access })
    }

    /// Serves connections for as long as this is polled.
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be polled.
    pub async fn serve(self, service: Arc<Service>) -> io::Result<()> {
        let mut acceptor = Acceptor::new(self.listener)?;
        let (path, access): (Arc<Path>, _) = (self.path.into(), self.access);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = acceptor.accept(|| ()).await;
            let stream = match watch(socket.into(), service.watches()) {
                Ok(stream) => stream,
                Err((socket, error)) => {
                    let busy = ControlError::new(ErrorCode::Busy, format!("try again: {error}"));
                    // A new socket takes these few bytes without blocking.
                    let _ = send(&socket, error_reply(&busy).as_bytes(), SendFlags::NOSIGNAL);
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let (service, path) = (Arc::clone(&service), Arc::clone(&path));
            let permit = Arc::clone(&permits).try_acquire_owned();
            connections.spawn(async move {
                let result = match permit {
                    Ok(_permit) => serve_connection(stream, &path, access, &service).await,
                    Err(_) => {
                        refuse(stream, ErrorCode::Busy, "too many connections; try again").await
                    }
                };
                if let Err(error) = result {
                    debug!(%error, "a connection of the control socket failed: {error}");
                }
            });
        }
    }
}

/// Registers a socket with the runtime, or gives it back with the error.
fn watch(
    socket: unix::net::UnixStream,
    watches: &EpollWatches,
) -> Result<UnixStream, (unix::net::UnixStream, io::Error)> {
    watches.register(WatchUse::Response, socket, |socket| {
        // The runtime consumes a socket that it cannot register, so it gets a copy.
        let watched = socket.try_clone().and_then(UnixStream::from_std);
        watched.map_err(|error| (socket, error))
    })
}

/// Answers line by line until the peer closes the connection or a timeout passes.
async fn serve_connection(
    mut stream: UnixStream,
    path: &Path,
    access: Access,
    service: &Service,
) -> io::Result<()> {
    let permitted = match access {
        Access::Full => auth::permitted_uid(&stream, path)?,
        Access::Monitor => auth::monitoring_uid(&stream, path)?,
    };
    let Some(uid) = permitted else {
        return refuse(stream, ErrorCode::Forbidden, FORBIDDEN).await;
    };
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(LINE_BYTES_MAX as u64 + 1);
        if timeout(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let reply = match parse_request(line.trim_ascii_end()) {
            Ok(request) if access == Access::Monitor && !request.is_monitoring() => {
                error_reply(&ControlError::new(ErrorCode::Forbidden, READ_ONLY))
            }
            Ok(request) => service.answer(request, uid).await,
            Err(error) => error_reply(&error),
        };
        timeout(WRITE_TIMEOUT, write.write_all(reply.as_bytes())).await??;
        // Without a newline the peer has finished, or the line is too long.
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

/// Sends one error and closes; the peer can read it even after a failed write.
async fn refuse(mut stream: UnixStream, code: ErrorCode, msg: &str) -> io::Result<()> {
    stream.write_all(error_reply(&ControlError::new(code, msg)).as_bytes()).await
}
