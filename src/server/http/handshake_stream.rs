//! A socket in the tokio runtime until its handshake is finished.

use std::io;

use tokio::net::TcpStream;

use crate::server::admission::epoll_watches::{EpollWatches, WatchUse};
use crate::server::socket::Socket;

/// The stream of a TCP or a Unix socket: to recv(2), send(2) and shutdown(2) they are the same.
pub(crate) type HandshakeStream = TcpStream;

/// Registers `socket` with the current runtime.
///
/// # Errors
///
/// The system's, with the socket, so that its client can still get a response.
pub(crate) fn register_socket(
    socket: Socket,
    watches: &EpollWatches,
) -> Result<HandshakeStream, (Socket, io::Error)> {
    watches.register(WatchUse::Response, socket, |socket| {
        // The runtime closes a socket that it cannot register, so it gets a duplicate.
        let duplicate = socket.try_clone();
        let stream = duplicate.and_then(|duplicate| TcpStream::from_std(duplicate.into()));
        stream.map_err(|error| (socket, error))
    })
}
