//! Clients, honest ones and others: how they read, send, answer and leave.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastrand::Rng;
use wschat::feed::Encoding;
use wschat::server::Peer;
use wschat::ws::frame::client_frame;

use super::pipe::Pipe;
use super::sent_feed::Received;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It empties its socket this many milliseconds after something arrived.
    Within(u64),
    /// This many bytes per second.
    Bytes(usize),
    /// A few bytes now and then, so that frames are cut anywhere.
    Bits,
    Never,
}

/// How long after a ping its pong is sent, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    After(u64),
    Never,
}

/// What a client sends on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    Nothing,
    /// A message of about this many bytes every `ms` milliseconds.
    Every {
        ms: u64,
        bytes: usize,
    },
    /// As many messages as the default limits allow: 60 at once, then 20 per second.
    AllItMay {
        bytes: usize,
    },
    /// A ping every `ms` milliseconds.
    Pings {
        ms: u64,
    },
    /// Anything: messages, fragments, pings, invalid messages.
    Anything {
        ms: u64,
    },
}

/// What a client does when a close frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// It replies and ends its stream.
    Properly,
    Never,
    /// It sends close frames for ever, whether one arrived or not.
    AgainAndAgain,
}

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub encoding: Encoding,
    pub reads: Reads,
    pub answers: Answers,
    pub sends: Sends,
    pub closes: Closes,
    /// How many bytes its socket takes while it does not read.
    pub socket_bytes: usize,
}

/// It reads at once, answers pings, and sends nothing.
pub const LISTENER: Kind = Kind {
    encoding: Encoding::Frames,
    reads: Reads::Within(1),
    answers: Answers::After(20),
    sends: Sends::Nothing,
    closes: Closes::Properly,
    socket_bytes: 65_536,
};

impl Kind {
    /// The same as a listener of events, which sends nothing.
    pub fn of_events(self) -> Self {
        Self {
            encoding: Encoding::Events,
            sends: Sends::Nothing,
            answers: Answers::Never,
            closes: match self.closes {
                Closes::AgainAndAgain => Closes::Never,
                closes => closes,
            },
            ..self
        }
    }

    /// Whether it empties its socket within the longest round trip that is not too slow.
    pub fn reads_fast(&self) -> bool {
        matches!(self.reads, Reads::Within(ms) if ms <= 300) && self.socket_bytes >= 65_536
    }
}

/// What a client does next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Take,
    Deliver,
    Say,
    Pong,
    Close,
    End,
    /// The network drops the connection.
    Reset,
    /// It violates RFC 6455, and continues to send.
    Break,
}

/// One client.
pub struct Client {
    pub id: u64,
    pub kind: Kind,
    pub peer: Peer,
    pub pipe: Rc<RefCell<Pipe>>,
    pub shard: usize,
    pub received: Received,
    /// Bytes of the stream that it has read.
    pub taken: u64,
    /// What it has sent and the network has not delivered.
    pub unsent: VecDeque<u8>,
    pub takes_soon: bool,
    pub delivers_soon: bool,
    /// Messages that it has sent.
    pub sent: u64,
    /// Its messages that the room has accepted.
    pub accepted: u64,
    /// Number and time in microseconds of each message that the room has not accepted
    /// yet.
    pub sent_us: VecDeque<(u64, u64)>,
    /// The longest time until the room accepted a message.
    pub waited_us_max: u64,
    pub sent_close: bool,
    pub saw_close: bool,
    pub ended: bool,
    /// When it ended, or was first seen to be closing, in milliseconds.
    pub leaving_since: Option<u64>,
    /// It lost its place, in the middle of a frame or not.
    pub is_detached: bool,
    pub was_kicked: bool,
    /// It did not read fast before all clients did.
    pub was_slow: bool,
    /// It started so far back that the gate did not wait for it.
    pub was_far_back: bool,
    /// It violated the protocol, or may have.
    pub is_violator: bool,
}

impl Client {
    /// The most bytes in flight to the server.
    pub const WINDOW_BYTES: usize = 1_048_576;

    pub fn name(id: u64) -> String {
        format!("c{id}")
    }

    /// Its next message, of about this many bytes.
    pub fn message(&mut self, bytes: usize, now_us: u64) -> String {
        self.sent += 1;
        self.sent_us.push_back((self.sent, now_us));
        let (name, number) = (Self::name(self.id), self.sent);
        let mut text = format!(r#"{{"usr":"{name}","msg":"{number} "#);
        let filler = bytes.saturating_sub(text.len() + 2);
        text.extend(std::iter::repeat_n('x', filler));
        text.push_str(r#""}"#);
        text
    }

    /// A random choice of what a client may send.
    pub fn anything(&mut self, rng: &mut Rng, now_us: u64) -> Vec<u8> {
        match rng.u8(..12) {
            0 => client_frame(0x89, b"are you there?"),
            1 => client_frame(0x81, b"not json"),
            2 => client_frame(0x81, b""),
            3 => client_frame(0x82, &[0xff; 9]),
            4 | 5 => {
                let text = self.message(rng.usize(..400), now_us);
                let (left, right) = text.as_bytes().split_at(rng.usize(..text.len()));
                [client_frame(0x01, left), client_frame(0x89, b"!"), client_frame(0x80, right)]
                    .concat()
            }
            6 if rng.bool() => [client_frame(0x8a, b""), client_frame(0x89, &[b'p'; 125])].concat(),
            _ => client_frame(0x81, self.message(rng.usize(..400), now_us).as_bytes()),
        }
    }
}
