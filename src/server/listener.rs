//! Where connections arrive: binding, and accepting that no error can stop.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::ListenAddress;
use crate::server::http::handshake_stream::watch;
use crate::server::{Peer, Socket};

/// Connections that the kernel keeps for us while we are busy; it takes less
/// if `net.core.somaxconn` says so.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when the system has nothing left to accept with.
const PAUSE: Duration = Duration::from_millis(100);
/// The least time between two log lines about such pauses.
const PAUSE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A listening socket, bound by us or passed to us; non-blocking.
#[derive(Debug)]
pub struct Listener {
    socket: ListenSocket,
    name: String,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener),
    /// With the file that is ours to remove, if we made it.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Binds `address` and listens there. `[::]` takes IPv4 as well unless it is
    /// to be for IPv6 alone, `v6_only`.
    ///
    /// A socket file that an earlier run of ours left behind is replaced; one
    /// that somebody listens on is not.
    ///
    /// # Errors
    ///
    /// The system's: the address is in use, is not this machine's, or may not
    /// be bound by us.
    pub fn bind(address: &ListenAddress, v6_only: bool) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => Self::tcp(bind_tcp(*address, v6_only)?),
            ListenAddress::Unix(path) => {
                let (socket, file) = bind_unix(path)?;
                socket.set_nonblocking(true)?;
                Ok(Self {
                    name: address.to_string(),
                    socket: ListenSocket::Unix(socket, Some(file)),
                })
            }
        }
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    ///
    /// The system's, if that is not a listening TCP socket after all.
    pub fn tcp(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // A message is written at once and whole; there is nothing to wait for.
        // Every accepted connection inherits it, which saves a call for each.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        let name = socket.local_addr()?.to_string();
        Ok(Self { socket: ListenSocket::Tcp(socket), name })
    }

    /// Takes over a Unix socket that listens already; its file is not ours.
    ///
    /// # Errors
    ///
    /// The system's, if that is not a listening Unix socket after all.
    pub fn unix(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let name = match (
            address.as_pathname(),
            std::os::linux::net::SocketAddrExt::as_abstract_name(&address),
        ) {
            (Some(path), _) => format!("unix:{}", path.display()),
            (None, Some(name)) => format!("unix:@{}", name.escape_ascii()),
            (None, None) => "unix:".to_owned(),
        };
        Ok(Self { socket: ListenSocket::Unix(socket, None), name })
    }
}

/// The address as an operator writes it, with the port that the system chose.
impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

/// The address, as that of the listener.
impl fmt::Display for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

/// Accepts from one listener, whatever happens.
#[derive(Debug)]
pub struct Acceptor {
    socket: AcceptSocket,
    name: String,
    /// Somebody has just come: others may wait behind.
    more: bool,
    pauses: Pauses,
}

#[derive(Debug)]
enum AcceptSocket {
    Tcp(AsyncFd<TcpListener>),
    Unix(
        AsyncFd<UnixListener>,
        #[expect(dead_code, reason = "removes the file when dropped")] Option<SocketFile>,
    ),
}

impl Acceptor {
    /// Registers `listener` with the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// The system's, if it cannot be polled.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            ListenSocket::Tcp(socket) => AcceptSocket::Tcp(watched(socket)?),
            ListenSocket::Unix(socket, file) => AcceptSocket::Unix(watched(socket)?, file),
        };
        Ok(Self { socket, name: listener.name, more: false, pauses: Pauses::default() })
    }

    /// Waits for the next connection; its socket does not block, and nobody
    /// watches it yet.
    ///
    /// An error of one connection costs that connection only. When descriptors
    /// or memory have run out, `relieve` is asked for some, what waits stays in
    /// the kernel's backlog, and accepting is tried again ten times a second.
    pub async fn accept(&mut self, relieve: impl Fn()) -> (Socket, Peer) {
        loop {
            let error = match self.try_accept().await {
                Ok(accepted) => {
                    self.pauses.ended(&self.name);
                    return accepted;
                }
                Err(error) => error,
            };
            if concerns_one_connection(&error) {
                continue;
            }
            self.pauses.begun(&self.name, &error);
            relieve();
            sleep(PAUSE).await;
        }
    }

    async fn try_accept(&mut self) -> io::Result<(Socket, Peer)> {
        // However many wait, others have their turn too.
        consume_budget().await;
        if self.more
            && let Some(accepted) = unless_it_blocks(self.socket.accept_now())?
        {
            return Ok(accepted);
        }
        self.more = false;
        let accepted = self.socket.accept().await?;
        self.more = true;
        Ok(accepted)
    }
}

impl AcceptSocket {
    /// Takes who waits already, without a word to the runtime, which does not watch
    /// the new connection either: that would take something which may have run out
    /// when there is nothing left to answer the client with.
    fn accept_now(&self) -> io::Result<(Socket, Peer)> {
        let fd = match self {
            Self::Tcp(socket) => socket.get_ref().as_fd(),
            Self::Unix(socket, _) => socket.get_ref().as_fd(),
        };
        let (stream, address) = acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok(match (self, address) {
            (Self::Tcp(_), Some(address)) => {
                (Socket::Tcp(stream.into()), Peer::tcp(address.try_into()?))
            }
            _ => (Socket::Unix(stream.into()), Peer::Unix),
        })
    }

    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(socket) => socket.async_io(Interest::READABLE, |_| self.accept_now()).await,
            Self::Unix(socket, _) => {
                socket.async_io(Interest::READABLE, |_| self.accept_now()).await
            }
        }
    }
}

fn watched<S: AsRawFd>(socket: S) -> io::Result<AsyncFd<S>> {
    watch(socket, Interest::READABLE).map_err(|(_, error)| error)
}

/// What came of it, or nothing if there was nothing to take.
fn unless_it_blocks<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

/// Whether it was the connection that broke, before it was accepted. Whatever
/// else accept(2) says earns a pause, so that nothing can become a busy loop.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::PROTO)
    )
}

/// Pauses of accepting, told to the operator without a flood.
#[derive(Debug, Default)]
struct Pauses {
    /// When the log last heard of one.
    told: Option<Instant>,
    /// Whether accepting pauses now, and the log knows it.
    told_open: bool,
}

impl Pauses {
    fn begun(&mut self, name: &str, error: &io::Error) {
        if self.told.is_some_and(|told| told.elapsed() < PAUSE_LOG_INTERVAL) {
            return;
        }
        self.told = Some(Instant::now());
        self.told_open = true;
        warn!(listener = name, %error, "cannot accept on {name}: {error}; new clients wait");
    }

    fn ended(&mut self, name: &str) {
        if std::mem::take(&mut self.told_open) {
            info!(listener = name, "accepting on {name} again");
        }
    }
}

fn bind_tcp(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // After a restart the port is free for us at once, though connections of
    // the process before are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Whatever the system's default is.
        socket.set_only_v6(v6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = match listen_unix(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path)? => {
            fs::remove_file(path)?;
            listen_unix(path)?
        }
        other => other?,
    };
    Ok((socket, SocketFile::of(path)?))
}

fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether `path` is a socket of our own user that nobody listens on.
fn is_stale(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    let own = found.file_type().is_socket() && found.uid() == rustix::process::geteuid().as_raw();
    Ok(own && is_refused(path)?)
}

/// Whether nobody listens at the socket `path`. If somebody does whose backlog is
/// full, it does not wait.
fn is_refused(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&socket2::SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// The file of a Unix socket that we bound; gone when this is dropped, unless
/// another process has put its own in the place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // There is nothing to be done about an error: the next start
            // replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(path.to_owned())
    }

    #[test]
    fn port_zero_is_named_by_the_port_that_was_chosen() {
        let listener =
            Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), false).unwrap();
        let address: SocketAddr = listener.to_string().parse().unwrap();
        assert_ne!(address.port(), 0);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_ours_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("room.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = Listener::bind(&unix(&path), false).unwrap();
        assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_socket_and_a_plain_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("room.sock");
        let living = UnixListener::bind(&path).unwrap();
        assert_eq!(
            Listener::bind(&unix(&path), false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        UnixStream::connect(&path).unwrap();
        drop(living);
        let plain = folder.path().join("plain");
        fs::write(&plain, "kept").unwrap();
        assert_eq!(
            Listener::bind(&unix(&plain), false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(fs::read(&plain).unwrap(), b"kept");
    }

    #[test]
    fn a_file_that_another_put_in_our_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("room.sock");
        let listener = Listener::bind(&unix(&path), false).unwrap();
        // The old file lives on under another name, so its inode is not free.
        fs::rename(&path, folder.path().join("old")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
