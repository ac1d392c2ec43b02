//! One client: its socket, its handshake, its frames.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::ledger::Ledger;
use wschat::ws::frame::client_frame;

/// Connections from one loopback address: with more, connecting gets slow.
const PER_SOURCE: usize = 5_000;
/// So little that a client which does not read is soon felt, in bytes.
const STALLED_RECEIVE_BYTES: usize = 4096;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Listener,
    Sender,
    /// Does not read before the end.
    Stalled,
    /// Comes while the others are there already.
    Newcomer {
        knocked_ns: u64,
    },
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Shaking,
    Open,
    Closed,
}

/// How it ended.
pub enum End {
    /// By a close frame.
    Closed(u16, String),
    /// Without one.
    Cut,
}

pub struct Client {
    stream: Stream,
    pub role: Role,
    pub state: State,
    pub end: Option<End>,
    /// Its place in the ledger; none while a newcomer's is not known.
    pub place: Option<usize>,
    /// What it heard before its place was known.
    unplaced: Vec<Vec<u8>>,
    heard_ns: u64,
    /// The longest time between two messages.
    pub silence_ns: u64,
    /// What of a frame has come.
    rest: Vec<u8>,
    /// What the socket did not take.
    out: Vec<u8>,
    /// A piece of a frame is out, and the rest is not.
    begun: bool,
    /// Frames that wait for its end.
    later: Vec<u8>,
}

impl Client {
    pub fn connect(to: &str, number: usize, role: Role) -> io::Result<Self> {
        let stream = match to.strip_prefix("unix:") {
            Some(path) => Stream::Unix(UnixStream::connect(path)?),
            None => Stream::Tcp(connect_tcp(to, number, role)?),
        };
        // The key of RFC 6455, section 1.3.
        let request = "GET / HTTP/1.1\r\nHost: room\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        Ok(Self {
            stream,
            role,
            state: State::Shaking,
            end: None,
            place: if matches!(role, Role::Newcomer { .. }) { None } else { Some(0) },
            unplaced: Vec::new(),
            heard_ns: 0,
            silence_ns: 0,
            rest: Vec::new(),
            out: request.into(),
            begun: false,
            later: Vec::new(),
        })
    }

    pub fn register(&mut self, with: &Registry, token: Token) -> io::Result<()> {
        with.register(self.stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Lets what came long ago be reported again.
    pub fn reregister(&mut self, with: &Registry, token: Token) -> io::Result<()> {
        with.reregister(self.stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Sends a piece of what belongs together, perhaps the last one.
    pub fn send_piece(&mut self, bytes: &[u8], is_last: bool) {
        self.out.extend_from_slice(bytes);
        self.begun = !is_last;
        if is_last {
            self.out.append(&mut self.later);
        }
        self.flush();
    }

    /// Sends a frame, when the one that is begun is over.
    pub fn send(&mut self, frame: &[u8]) {
        if self.begun {
            self.later.extend_from_slice(frame);
        } else {
            self.send_piece(frame, true);
        }
    }

    /// Writes what waits; that a connection is gone is found out by reading.
    pub fn flush(&mut self) {
        while !self.out.is_empty() && self.state != State::Closed {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reads all that there is.
    ///
    /// # Errors
    ///
    /// What the server must not send; then the connection is closed.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        ledger: &mut Ledger,
        now_ns: u64,
    ) -> Result<(), String> {
        while self.state != State::Closed {
            let read = match self.stream.read(scratch) {
                Ok(0) => {
                    self.over(End::Cut);
                    0
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A connection on its way.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) if self.state == State::Shaking => {
                    self.over(End::Cut);
                    return Err(format!("was not let in: {error}"));
                }
                Err(_) => {
                    self.over(End::Cut);
                    0
                }
            };
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(&scratch[..read]);
            let used = self.take(&bytes, ledger, now_ns).inspect_err(|_| self.over(End::Cut))?;
            bytes.drain(..used);
            if !bytes.is_empty() {
                self.rest = bytes;
            }
            if read < scratch.len() {
                break;
            }
        }
        Ok(())
    }

    /// Takes whole frames; gives back how many bytes they were.
    fn take(&mut self, bytes: &[u8], ledger: &mut Ledger, now_ns: u64) -> Result<usize, String> {
        let mut used = 0;
        if self.state == State::Shaking {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(format!("was told {:?}", String::from_utf8_lossy(&bytes[..end])));
            }
            self.state = State::Open;
            used = end + 4;
        }
        while let Some((first, payload, length)) = whole_frame(&bytes[used..])? {
            used += length;
            match first {
                0x81 => {
                    self.hear(payload, ledger, now_ns)?;
                    if self.heard_ns > 0 {
                        self.silence_ns = self.silence_ns.max(now_ns - self.heard_ns);
                    }
                    self.heard_ns = now_ns;
                }
                0x88 => {
                    let (code, reason) = payload.split_first_chunk().unwrap_or((&[0; 2], b""));
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.send(&client_frame(0x88, code));
                    self.over(End::Closed(u16::from_be_bytes(*code), reason));
                    if used < bytes.len() {
                        return Err("something follows a close frame".into());
                    }
                }
                0x89 => self.send(&client_frame(0x8a, payload)),
                0x8a => {}
                other => return Err(format!("no frame of the room begins with {other:#x}")),
            }
        }
        Ok(used)
    }

    fn hear(&mut self, text: &[u8], ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        match self.place {
            Some(place) => self.place = Some(ledger.hear(place, text, now_ns)?),
            None => {
                self.unplaced.push(text.into());
                self.find_place(ledger, now_ns)?;
            }
        }
        Ok(())
    }

    /// A newcomer may hear something before those whose order counts do; its
    /// place is known as soon as they have.
    pub fn find_place(&mut self, ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        let first = self.unplaced.first();
        if let Some(mut place) = first.and_then(|text| ledger.find(text)) {
            for text in std::mem::take(&mut self.unplaced) {
                place = ledger.hear(place, &text, now_ns)?;
            }
            self.place = Some(place);
        }
        Ok(())
    }

    /// Whether something that it heard has no place.
    pub fn is_lost(&self) -> bool {
        !self.unplaced.is_empty()
    }

    fn over(&mut self, end: End) {
        self.state = State::Closed;
        self.end.get_or_insert(end);
        self.stream.shutdown();
    }
}

/// The first byte and the payload of a frame, and how long it is in all.
type Frame<'a> = (u8, &'a [u8], usize);

/// The frame at the beginning, if all of it is there.
fn whole_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let (header, length) = match bytes {
        [_, length @ ..=125, ..] => (2, usize::from(*length)),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [_, 127..=255, ..] => return Err("a frame as the room has none".into()),
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
        // An error says that it is over already.
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
