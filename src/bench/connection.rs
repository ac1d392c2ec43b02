//! One connection of the load: its handshake, and the bytes of an incomplete frame or event.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use super::message::Tim;
use super::target::Target;
use super::tracker::Position;

/// Key and answer of every handshake (RFC 6455, section 1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest response to a handshake, in bytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads, and is checked; has received the order up to this position.
    Listener(Position),
    /// Never reads.
    Slow,
    /// Connects during the storm, and reads without being checked.
    Storm,
    /// Is checked, and can be cut and resume from what it has received.
    Resuming(Received),
}

/// What a connection has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The order up to this position.
    pub position: Position,
    /// The `tim` of the last message.
    pub tim: Option<Tim>,
}

/// How a connection receives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    WebSocket,
    Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    /// The request is sent.
    Handshake,
    Open,
    Closed,
}

/// A connection, small because there are tens of thousands.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    pub state: State,
    pub role: Role,
    pub kind: Stream,
    /// The received part of an incomplete frame, event or response.
    partial: Vec<u8>,
}

impl Connection {
    /// Begins to connect.
    pub fn connect(
        to: SocketAddr,
        from: Option<SocketAddr>,
        role: Role,
        kind: Stream,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // A sender's next message must not wait for the acknowledgement of its last.
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(&from.into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => {
                return Err(error);
            }
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self { stream, state: State::Connecting, role, kind, partial: Vec::new() })
    }

    /// Sends the handshake, if the kernel has connected.
    pub fn send_request(&mut self, target: &Target) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        let tim = match &self.role {
            Role::Resuming(Received { tim: Some(tim), .. }) => Some(String::from_utf8_lossy(tim)),
            _ => None,
        };
        let host = &target.host;
        let request = match self.kind {
            Stream::WebSocket => {
                let path = target.path(tim.as_deref());
                format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: {KEY}\r\n\r\n"
                )
            }
            Stream::Events => {
                let path = target.events_path();
                let last = tim.map(|tim| format!("Last-Event-ID: {tim}\r\n")).unwrap_or_default();
                format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\
                     {last}\r\n"
                )
            }
        };
        self.stream.write_all(request.as_bytes())?;
        self.state = State::Handshake;
        Ok(())
    }

    /// Fills `buffer` with the partial frame or event and the bytes that have arrived. Returns the
    /// number of bytes and whether more may follow, or `None` if nothing has arrived.
    ///
    /// # Errors
    ///
    /// The connection is over; also if the peer closed it.
    #[inline]
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<(usize, bool)>> {
        let had = self.partial.len();
        if had * 2 > buffer.len() {
            buffer.resize(had * 2, 0);
        }
        buffer[..had].copy_from_slice(&self.partial);
        loop {
            return match self.stream.read(&mut buffer[had..]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                // A read that did not fill the buffer has emptied the socket.
                Ok(count) => Ok(Some((had + count, had + count == buffer.len()))),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            };
        }
    }

    /// Keeps the bytes of an incomplete frame or event.
    #[inline]
    pub fn set_partial(&mut self, partial: &[u8]) {
        self.partial.clear();
        if !partial.is_empty() {
            self.partial.extend_from_slice(partial);
        } else if self.partial.capacity() > 0 {
            // Most reads end with a frame or event; then a connection needs no buffer.
            self.partial = Vec::new();
        }
    }

    pub fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.state = State::Closed;
    }
}

impl Drop for Connection {
    /// Closes with a reset, so that the port can be used again at once.
    fn drop(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// The length of the handshake's response in `bytes`; `None` if it is incomplete.
///
/// # Errors
///
/// The server's reason for not opening a WebSocket or an event stream.
pub fn parse_response(kind: Stream, bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        let is_too_long = bytes.len() > RESPONSE_BYTES_MAX;
        return if is_too_long { Err("no HTTP".into()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default();
    let (code, part, error) = match kind {
        Stream::WebSocket => ("101", ACCEPT, "the Sec-WebSocket-Accept is wrong"),
        Stream::Events => ("200", "text/event-stream", "the answer is not an event stream"),
    };
    if status.split(' ').take(2).ne(["HTTP/1.1", code]) {
        return Err(status.to_owned());
    }
    if !head.contains(part) {
        return Err(error.into());
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses() {
        let good =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        let full = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n";
        let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
        let error = |text: &str| Err(text.to_owned());
        for (kind, response, want) in [
            (Stream::WebSocket, &*good, Ok(Some(good.len()))),
            (Stream::WebSocket, &format!("{good}\u{1}"), Ok(Some(good.len()))),
            (Stream::WebSocket, &good[..40], Ok(None)),
            (Stream::WebSocket, full, error("HTTP/1.1 503 Service Unavailable")),
            (
                Stream::WebSocket,
                "HTTP/1.1 101 x\r\n\r\n",
                error("the Sec-WebSocket-Accept is wrong"),
            ),
            (Stream::WebSocket, &"x".repeat(RESPONSE_BYTES_MAX + 1), error("no HTTP")),
            (Stream::WebSocket, events, error("HTTP/1.1 200 OK")),
            (Stream::Events, &format!("{events}retry: 1\n\n"), Ok(Some(events.len()))),
            (Stream::Events, page, error("the answer is not an event stream")),
            (Stream::Events, full, error("HTTP/1.1 503 Service Unavailable")),
        ] {
            assert_eq!(parse_response(kind, response.as_bytes()), want);
        }
    }
}
