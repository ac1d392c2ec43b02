//! The listening side of the control socket.

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
use crate::control::protocol::{Code, ControlError, FORBIDDEN, LINE_BYTES_MAX, parse, sorry};
use crate::control::service::Service;
use crate::server::{Acceptor, EpollWatches, ListeningSocket, WatchUse};

/// Connections that may be open at once; one more is told so.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may ask nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a peer may take over its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the daemon's user and its group, and nobody else.
const MODE: u32 = 0o660;

/// The control socket, bound and ready to be served.
#[derive(Debug)]
pub struct Server {
    listener: ListeningSocket,
    path: PathBuf,
}

impl Server {
    /// Binds the control socket at `path`. One that a dead daemon left behind is
    /// replaced, one that somebody listens on is not.
    ///
    /// # Errors
    ///
    /// The system's: the folder is not there or not ours, the path is in use or
    /// too long.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = ListeningSocket::bind(&ListenAddress::Unix(path.to_owned()), false)?;
        // Until this takes effect others may connect, and are sent away.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves whoever may ask, for as long as this is polled.
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be polled.
    pub async fn serve(self, desk: Arc<Service>) -> io::Result<()> {
        let acceptor = Acceptor::new(self.listener)?;
        let path: Arc<Path> = self.path.into();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut callers = JoinSet::new();
        loop {
            let (socket, _) = acceptor.accept(|| ()).await;
            let stream = match watch(socket.into(), desk.watches()) {
                Ok(stream) => stream,
                Err((socket, error)) => {
                    let busy = ControlError::new(Code::Busy, format!("try again: {error}"));
                    // Any socket takes so few bytes at once.
                    let _ = send(&socket, sorry(&busy).as_bytes(), SendFlags::NOSIGNAL);
                    continue;
                }
            };
            while callers.try_join_next().is_some() {}
            let (desk, path) = (Arc::clone(&desk), Arc::clone(&path));
            let place = Arc::clone(&places).try_acquire_owned();
            callers.spawn(async move {
                let talked = match place {
                    Ok(_place) => receive(stream, &path, &desk).await,
                    Err(_) => {
                        let busy = ControlError::new(Code::Busy, "too many are asking; try again");
                        refuse(stream, &busy).await
                    }
                };
                if let Err(error) = talked {
                    debug!(%error, "a connection of the control socket: {error}");
                }
            });
        }
    }
}

/// Has the runtime watch a caller; if it cannot, the socket is given back.
fn watch(
    socket: unix::net::UnixStream,
    watches: &EpollWatches,
) -> Result<UnixStream, (unix::net::UnixStream, io::Error)> {
    watches.register(WatchUse::Response, socket, |socket| {
        // The runtime keeps what it cannot watch, so it gets a copy.
        let watched = socket.try_clone().and_then(UnixStream::from_std);
        watched.map_err(|error| (socket, error))
    })
}

async fn receive(stream: UnixStream, path: &Path, desk: &Service) -> io::Result<()> {
    match auth::asking(&stream, path)? {
        Some(uid) => converse(stream, uid, desk).await,
        None => refuse(stream, &ControlError::new(Code::Forbidden, FORBIDDEN)).await,
    }
}

/// Answers that user line by line until the peer leaves, or asks nothing for too long.
async fn converse(mut stream: UnixStream, uid: u32, desk: &Service) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(LINE_BYTES_MAX as u64 + 1);
        if timeout(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        let answer = match parse(line.trim_ascii_end()) {
            Ok(request) => desk.answer(request, uid).await,
            Err(fault) => sorry(&fault),
        };
        timeout(WRITE_TIMEOUT, write.write_all(answer.as_bytes())).await??;
        if !ended {
            // The end of what was sent, or of what is read.
            return Ok(());
        }
    }
}

/// Says one thing and hangs up; the peer finds it even if it has just written.
async fn refuse(mut stream: UnixStream, fault: &ControlError) -> io::Result<()> {
    stream.write_all(sorry(fault).as_bytes()).await
}
