//! A socket in the tokio runtime until its handshake is finished.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::server::admission::epoll_watches::{EpollWatches, WatchUse};
use crate::server::socket::Socket;

/// A socket that is registered with the tokio runtime, and can be taken out of it again.
/// A shared reference reads and writes.
#[derive(Debug)]
pub struct HandshakeStream(AsyncFd<Socket>);

impl HandshakeStream {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    ///
    /// The system's, with the socket. (A stream of tokio would close the socket, and its
    /// client would get no response.)
    #[expect(deprecated, reason = "the successor is unsafe; the socket keeps its descriptor")]
    pub fn new(socket: Socket, watches: &EpollWatches) -> Result<Self, (Socket, io::Error)> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let register = |socket| {
            AsyncFd::try_with_interest(socket, interest).map_err(|error| error.into_parts())
        };
        watches.register(WatchUse::Response, socket, register).map(Self)
    }

    /// Takes the socket out of the runtime.
    pub fn into_socket(self) -> Socket {
        self.0.into_inner()
    }

    /// Waits for the next byte and leaves it in the socket; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn peek_byte(&self) -> io::Result<Option<u8>> {
        let peek = |socket: &Socket| {
            let mut byte = [0];
            let (_, bytes) = recv(socket, &mut byte, RecvFlags::PEEK)?;
            Ok(byte.first().copied().filter(|_| bytes > 0))
        };
        self.0.async_io(Interest::READABLE, peek).await
    }
}

impl AsFd for HandshakeStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncRead for &HandshakeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let free = buffer.initialize_unfilled();
            let read = |fd: &AsyncFd<Socket>| Ok(recv(fd.get_ref(), free, RecvFlags::empty())?.1);
            if let Ok(read) = ready.try_io(read) {
                return Poll::Ready(read.map(|bytes| buffer.advance(bytes)));
            }
        }
    }
}

impl AsyncWrite for &HandshakeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            let write = |fd: &AsyncFd<Socket>| Ok(send(fd.get_ref(), bytes, SendFlags::NOSIGNAL)?);
            if let Ok(written) = ready.try_io(write) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(*self).shutdown(Shutdown::Write))
    }
}
