//! Listening sockets: bound by this process, or passed to it.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::address::ListenAddress;
use crate::server::socket::{Peer, Socket};

/// Connections that the kernel queues before they are accepted; `net.core.somaxconn` can
/// lower it.
const BACKLOG: i32 = 4096;

/// A non-blocking listening socket, TCP or Unix.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: socket2::Socket,
    name: String,
    /// The socket file, if this process created it.
    _file: Option<SocketFile>,
}

impl ListeningSocket {
    /// Binds `address` and listens there. `[::]` accepts IPv4 as well, unless `v6_only`.
    ///
    /// Replaces a socket file that an earlier process of the same user left behind, but no
    /// socket file on which another process listens.
    ///
    /// # Errors
    ///
    /// The system's: the address is in use, does not belong to this machine, or needs a
    /// privilege.
    pub fn bind(address: &ListenAddress, v6_only: bool) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => Self::new(bind_tcp(*address, v6_only)?),
            ListenAddress::Unix(path) => {
                let socket = bind_unix(path)?;
                Ok(Self { _file: Some(SocketFile::new(path)?), ..Self::new(socket)? })
            }
        }
    }

    /// Whether [`bind`](Self::bind) would succeed. No client can connect meanwhile, and nothing
    /// stays.
    ///
    /// # Errors
    ///
    /// As those of [`bind`](Self::bind).
    pub fn try_bind(address: &ListenAddress, v6_only: bool) -> io::Result<()> {
        match address {
            ListenAddress::Tcp(address) => tcp_socket(*address, v6_only)?.bind(&(*address).into()),
            ListenAddress::Unix(path) => {
                if path.symlink_metadata().is_ok() && !is_stale(path)? {
                    return Err(Errno::ADDRINUSE.into());
                }
                // The same folder, and no longer name than any socket can have.
                let other = path.with_file_name(format!(".{}", std::process::id()));
                unix_socket()?.bind(&SockAddr::unix(&other)?)?;
                fs::remove_file(other)
            }
        }
    }

    /// Takes over a socket that already listens. Its socket file stays when this is dropped.
    ///
    /// # Errors
    ///
    /// The socket does not listen, or the system's.
    pub fn new(socket: impl Into<socket2::Socket>) -> io::Result<Self> {
        let socket = socket.into();
        if !socket.is_listener()? {
            return Err(io::Error::other("it does not listen"));
        }
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let name = if let Some(tcp) = address.as_socket() {
            // Each message is one write, so waiting for more data only delays it. Accepted
            // connections inherit the option, which saves a system call for each.
            socket.set_tcp_nodelay(true)?;
            tcp.to_string()
        } else if let Some(path) = address.as_pathname() {
            format!("unix:{}", path.display())
        } else if let Some(name) = address.as_abstract_namespace() {
            format!("unix:@{}", name.escape_ascii())
        } else {
            "unix:".to_owned()
        };
        Ok(Self { socket, name, _file: None })
    }

    /// Whether systemd can bind the address once more while this socket listens, as it has to
    /// if its socket unit is restarted: it replaces the file of a Unix socket.
    pub fn leaves_address_free(&self) -> bool {
        match self.socket.local_addr() {
            Ok(address) if address.is_ipv4() || address.is_ipv6() => {
                self.socket.reuse_port().unwrap_or(false)
            }
            address => address.is_ok_and(|address| address.as_pathname().is_some()),
        }
    }

    /// Accepts a waiting connection. Its socket does not block, and is registered with no
    /// epoll instance: that takes a watch, and there may be none left.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::WouldBlock`] if no connection waits.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, address) = acceptfrom_with(&self.socket, flags)?;
        Ok(match address.and_then(|address| SocketAddr::try_from(address).ok()) {
            Some(address) => (socket.into(), Peer::tcp(address)),
            None => (socket.into(), Peer::Unix),
        })
    }
}

/// The address as in the configuration, with the port that the system chose.
impl fmt::Display for ListeningSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ListeningSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn bind_tcp(address: SocketAddr, v6_only: bool) -> io::Result<socket2::Socket> {
    listen(tcp_socket(address, v6_only)?, &address.into())
}

fn tcp_socket(address: SocketAddr, v6_only: bool) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Allows the bind while connections of an earlier process are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The default depends on the system.
        socket.set_only_v6(v6_only)?;
    }
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<socket2::Socket> {
    let bind = || listen(unix_socket()?, &SockAddr::unix(path)?);
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path)? => {
            fs::remove_file(path)?;
            bind()
        }
        result => result,
    }
}

fn listen(socket: socket2::Socket, address: &SockAddr) -> io::Result<socket2::Socket> {
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn unix_socket() -> io::Result<socket2::Socket> {
    socket2::Socket::new(Domain::UNIX, Type::STREAM, None)
}

/// Whether `path` is a socket file of this process's user on which no process listens.
fn is_stale(path: &Path) -> io::Result<bool> {
    let file = fs::symlink_metadata(path)?;
    if !file.file_type().is_socket() || file.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let socket = unix_socket()?;
    // A listener whose backlog is full would block connect(2).
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// The file of a Unix socket that this process bound. Dropping it removes the file, unless
/// another process has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // If this fails, the next start replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn bind(path: &Path) -> io::Result<ListeningSocket> {
        ListeningSocket::bind(&ListenAddress::Unix(path.to_owned()), false)
    }

    #[test]
    fn a_file_that_is_in_use_or_no_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("room.sock"), folder.path().join("plain"));
        let _listening = UnixListener::bind(&path).unwrap();
        fs::write(&plain, "kept").unwrap();
        for path in [&path, &plain] {
            assert_eq!(bind(path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read(&plain).unwrap(), b"kept");
    }

    #[test]
    fn a_file_of_another_process_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("room.sock");
        let socket = bind(&path).unwrap();
        // The old file keeps its inode, so that the new one gets another.
        fs::rename(&path, folder.path().join("old")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
