//! One connection: how it is opened, its handshake, and the bytes of a frame cut short.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};

use super::Target;
use super::ledger::Place;

/// The handshake of all connections: the key and its answer are those of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest answer to a handshake that is read, in bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// What a connection is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Hears every message and is checked; stands at this place of the order.
    Listener(Place),
    /// Never reads.
    Slow,
    /// Came with the storm: reads, and nobody looks at what.
    HandshakeStream,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel connects.
    Connecting,
    /// The request is out.
    Shaking,
    /// Frames come.
    Open,
    /// Over.
    Closed,
}

/// A connection, in as few bytes as can be: there are tens of thousands of them.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub state: State,
    pub role: Role,
    /// What has been read of a frame (or an answer) that is not whole.
    rest: Vec<u8>,
}

impl Client {
    /// Begins to connect to `to`, from `from` if that is given.
    ///
    /// # Errors
    ///
    /// As the system says; what they mean is for [`super::Stop::connecting`].
    pub fn connect(to: SocketAddr, from: Option<SocketAddr>, role: Role) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // A sender's next message must not wait for the acknowledgement of its last.
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(&from.into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != in_progress() => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self { stream, state: State::Connecting, role, rest: Vec::new() })
    }

    /// The kernel has connected (or not): asks for a WebSocket.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn request(&mut self, target: &Target) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        let Target { host, path, .. } = target;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes())?;
        self.state = State::Shaking;
        Ok(())
    }

    /// Reads what there is, behind what was kept, into `scratch`: how many
    /// bytes are in it now, and whether there may be more. `None` means that
    /// nothing new is there.
    ///
    /// # Errors
    ///
    /// The connection is over; also if the peer closed it.
    #[inline]
    pub fn read(&mut self, scratch: &mut Vec<u8>) -> io::Result<Option<(usize, bool)>> {
        let kept = self.rest.len();
        if kept * 2 > scratch.len() {
            scratch.resize(kept * 2, 0);
        }
        scratch[..kept].copy_from_slice(&self.rest);
        loop {
            return match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    // A read that did not fill the space has emptied the socket.
                    Ok(Some((kept + count, kept + count == scratch.len())))
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            };
        }
    }

    /// Keeps the bytes that do not make a whole frame yet.
    #[inline]
    pub fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            // Most reads end with a frame: then a connection owns no buffer at all.
            if self.rest.capacity() > 0 {
                self.rest = Vec::new();
            }
        } else {
            self.rest.clear();
            self.rest.extend_from_slice(rest);
        }
    }

    /// Closes with a reset, so that the port does not linger and can be used again.
    pub fn close(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.state = State::Closed;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// The length of the server's answer in `bytes`; `None` if it is not whole yet.
///
/// # Errors
///
/// What the server says instead of opening a WebSocket.
pub fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > ANSWER_MAX { Err("no HTTP".into()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") && status != "HTTP/1.1 101" {
        return Err(status.to_owned());
    }
    if !head.contains(ACCEPT) {
        return Err("the Sec-WebSocket-Accept is wrong".into());
    }
    Ok(Some(end + 4))
}

fn in_progress() -> Option<i32> {
    Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let good =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        assert_eq!(answer(good.as_bytes()), Ok(Some(good.len())));
        assert_eq!(answer(format!("{good}\u{1}").as_bytes()), Ok(Some(good.len())));
        assert_eq!(answer(&good.as_bytes()[..40]), Ok(None));
        let full = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n";
        assert_eq!(answer(full.as_bytes()), Err("HTTP/1.1 503 Service Unavailable".into()));
        assert!(answer(b"HTTP/1.1 101 x\r\n\r\n").is_err());
        assert!(answer(&[b'x'; ANSWER_MAX + 1]).is_err());
    }
}
