//! One client: its socket, its handshake, its frames or events.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::message_order::MessageOrder;
use wschat::ws::frame::client_frame;

/// Connections from one loopback address: with more, connecting gets slow.
const PER_SOURCE: usize = 5_000;
/// So small that the server soon notices a client that does not read, in bytes.
const STALLED_RECEIVE_BYTES: usize = 4096;

/// How a client gets messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Events,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Listener,
    Sender,
    /// Does not read until `end`.
    Stalled,
    /// Connects while the others are connected.
    Newcomer {
        started_ns: u64,
    },
}

/// The state of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Handshake,
    Open,
    Closed,
}

/// How its connection ended.
pub enum End {
    /// With a close frame: its code and reason.
    Closed(u16, String),
    /// An event stream that ended after a whole event, with the last comment, if there was one.
    Ended(String),
    /// Without a close frame, or inside an event.
    Cut,
}

pub struct Client {
    stream: Stream,
    transport: Transport,
    /// Why the server ends an event stream, once it has said it.
    comment: Option<String>,
    pub role: Role,
    pub state: State,
    pub end: Option<End>,
    /// Its position in the order of messages; `None` while that of a newcomer is unknown.
    pub position: Option<usize>,
    /// The messages that it received before its position was known.
    unordered: Vec<Vec<u8>>,
    last_message_ns: u64,
    /// The longest time between two messages.
    pub silence_ns: u64,
    /// The received part of an incomplete frame.
    incomplete: Vec<u8>,
    /// Bytes that the socket has not accepted yet.
    out: Vec<u8>,
    /// Whether a frame is sent in part.
    is_partly_sent: bool,
    /// Frames that wait until that frame is complete.
    queued: Vec<u8>,
}

impl Client {
    pub fn connect(to: &str, number: usize, role: Role, transport: Transport) -> io::Result<Self> {
        let stream = match to.strip_prefix("unix:") {
            Some(path) => Stream::Unix(UnixStream::connect(path)?),
            None => Stream::Tcp(connect_tcp(to, number, role)?),
        };
        let request = match transport {
            // The key of RFC 6455, section 1.3.
            Transport::WebSocket => {
                "GET / HTTP/1.1\r\nHost: room\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
            // A proxy passes the events of a response of HTTP/1.0 on without chunks.
            Transport::Events => "GET /events HTTP/1.0\r\nHost: room\r\n\r\n",
        };
        Ok(Self {
            stream,
            transport,
            comment: None,
            role,
            state: State::Handshake,
            end: None,
            position: if matches!(role, Role::Newcomer { .. }) { None } else { Some(0) },
            unordered: Vec::new(),
            last_message_ns: 0,
            silence_ns: 0,
            incomplete: Vec::new(),
            out: request.into(),
            is_partly_sent: false,
            queued: Vec::new(),
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Makes the poll report bytes again that arrived long ago.
    pub fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.reregister(self.stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Sends a part of a frame or of a fragmented message; `is_last` for its last part.
    pub fn send_piece(&mut self, bytes: &[u8], is_last: bool) {
        self.out.extend_from_slice(bytes);
        self.is_partly_sent = !is_last;
        if is_last {
            self.out.append(&mut self.queued);
        }
        self.flush();
    }

    /// Sends a frame, after the one that is sent in part. A client of an event stream sends none.
    pub fn send(&mut self, frame: &[u8]) {
        if self.transport == Transport::Events {
            return;
        }
        if self.is_partly_sent {
            self.queued.extend_from_slice(frame);
        } else {
            self.send_piece(frame, true);
        }
    }

    /// Writes the waiting bytes. Errors are ignored: the next read reports a lost connection.
    pub fn flush(&mut self) {
        while !self.out.is_empty() && self.state != State::Closed {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reads everything that has arrived.
    ///
    /// # Errors
    ///
    /// The server sent something that it must not send; the connection is closed.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<(), String> {
        while self.state != State::Closed {
            let read = match self.stream.read(scratch) {
                Ok(0) => {
                    let end = match self.transport {
                        Transport::Events if self.incomplete.is_empty() => {
                            End::Ended(self.comment.take().unwrap_or_default())
                        }
                        _ => End::Cut,
                    };
                    self.finish(end);
                    0
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // The connection is not established yet.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) if self.state == State::Handshake => {
                    self.finish(End::Cut);
                    return Err(format!("could not connect: {error}"));
                }
                Err(_) => {
                    self.finish(End::Cut);
                    0
                }
            };
            let mut bytes = std::mem::take(&mut self.incomplete);
            bytes.extend_from_slice(&scratch[..read]);
            let used = self.handle(&bytes, order, now_ns).inspect_err(|_| self.finish(End::Cut))?;
            bytes.drain(..used);
            if !bytes.is_empty() {
                self.incomplete = bytes;
            }
            // The end of an event stream can arrive with its last bytes, and is reported once.
            if read < scratch.len() && self.transport == Transport::WebSocket {
                break;
            }
        }
        Ok(())
    }

    /// Handles a complete head and complete frames or events, and returns their length in bytes.
    fn handle(
        &mut self,
        bytes: &[u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<usize, String> {
        let mut used = 0;
        if self.state == State::Handshake {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(0);
            };
            let status: &[u8] = match self.transport {
                Transport::WebSocket => b"101 ",
                Transport::Events => b"200 ",
            };
            if bytes.get("HTTP/1.1 ".len()..).is_none_or(|rest| !rest.starts_with(status)) {
                return Err(format!(
                    "the response was {:?}",
                    String::from_utf8_lossy(&bytes[..end])
                ));
            }
            self.state = State::Open;
            used = end + 4;
        }
        let rest = &bytes[used..];
        Ok(used
            + match self.transport {
                Transport::WebSocket => self.handle_frames(rest, order, now_ns)?,
                Transport::Events => self.handle_events(rest, order, now_ns)?,
            })
    }

    /// Handles complete events, and returns their length in bytes.
    fn handle_events(
        &mut self,
        bytes: &[u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<usize, String> {
        let mut used = 0;
        while let Some(length) = bytes[used..].windows(2).position(|two| two == b"\n\n") {
            let event = &bytes[used..used + length];
            used += length + 2;
            let text = String::from_utf8_lossy(event);
            if let Some((id, data)) =
                text.strip_prefix("id: ").and_then(|rest| rest.split_once("\ndata: "))
            {
                if !data.contains(id) {
                    return Err(format!("the event has another id than tim: {text:?}"));
                }
                self.receive_in_time(data.as_bytes(), order, now_ns)?;
            } else if text.starts_with("event: room\ndata: ") {
                // Presence is no message.
            } else if let Some(comment) = text.strip_prefix(": closed: ") {
                self.comment = Some(comment.to_owned());
            } else if text != ":" && text != "retry: 3000" {
                return Err(format!("unexpected event: {text:?}"));
            }
        }
        Ok(used)
    }

    /// Handles complete frames, and returns their length in bytes.
    fn handle_frames(
        &mut self,
        bytes: &[u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<usize, String> {
        let mut used = 0;
        while let Some((first, payload, length)) = complete_frame(&bytes[used..])? {
            used += length;
            match first {
                // Presence is no message: every message ends with its `tim`.
                0x81 if payload.ends_with(b"}}") => {}
                0x81 => self.receive_in_time(payload, order, now_ns)?,
                0x88 => {
                    let (code, reason) = payload.split_first_chunk().unwrap_or((&[0; 2], b""));
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.send(&client_frame(0x88, code));
                    self.finish(End::Closed(u16::from_be_bytes(*code), reason));
                    if used < bytes.len() {
                        return Err("bytes after a close frame".into());
                    }
                }
                0x89 => self.send(&client_frame(0x8a, payload)),
                0x8a => {}
                other => return Err(format!("unexpected first byte of a frame: {other:#x}")),
            }
        }
        Ok(used)
    }

    fn receive_in_time(
        &mut self,
        text: &[u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<(), String> {
        self.receive(text, order, now_ns)?;
        if self.last_message_ns > 0 {
            self.silence_ns = self.silence_ns.max(now_ns - self.last_message_ns);
        }
        self.last_message_ns = now_ns;
        Ok(())
    }

    fn receive(
        &mut self,
        text: &[u8],
        order: &mut MessageOrder,
        now_ns: u64,
    ) -> Result<(), String> {
        match self.position {
            Some(position) => self.position = Some(order.receive(position, text, now_ns)?),
            None => {
                self.unordered.push(text.into());
                self.find_position(order, now_ns)?;
            }
        }
        Ok(())
    }

    /// A newcomer can receive a message before any client with a position does. Its
    /// position is known once one of them has received that message.
    pub fn find_position(&mut self, order: &mut MessageOrder, now_ns: u64) -> Result<(), String> {
        let first = self.unordered.first();
        if let Some(mut position) = first.and_then(|text| order.find(text)) {
            for text in std::mem::take(&mut self.unordered) {
                position = order.receive(position, &text, now_ns)?;
            }
            self.position = Some(position);
        }
        Ok(())
    }

    /// Whether it received a message whose position is unknown.
    pub fn has_unordered(&self) -> bool {
        !self.unordered.is_empty()
    }

    fn finish(&mut self, end: End) {
        self.state = State::Closed;
        self.end.get_or_insert(end);
        self.stream.shutdown();
    }
}

/// The first byte and the payload of a frame, and the length of the whole frame.
type Frame<'a> = (u8, &'a [u8], usize);

/// The frame at the beginning, if it is complete.
fn complete_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let (header, length) = match bytes {
        [_, length @ ..=125, ..] => (2, usize::from(*length)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [_, 127..=255, ..] => return Err("a frame that is longer than any of the server".into()),
        _ => return Ok(None),
    };
    let end = header + length;
    Ok(bytes.get(header..end).map(|payload| (bytes[0], payload, end)))
}

fn connect_tcp(to: &str, number: usize, role: Role) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if role == Role::Stalled {
        socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
    }
    let from = Ipv4Addr::new(127, 0, 0, 2 + (number / PER_SOURCE) as u8);
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    match socket.connect(&to.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn shutdown(&self) {
        // An error means that the connection is closed already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}
