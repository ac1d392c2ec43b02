//! Clients, honest ones and others: how they read, speak, answer and leave.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastrand::Rng;
use wschat::server::Peer;
use wschat::ws::frame::client_frame;

use super::pipe::Pipe;
use super::witness::Received;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It empties the buffer of its socket, so many milliseconds after something
    /// came.
    Within(u64),
    /// So many bytes a second.
    Bytes(usize),
    /// A few bytes now and then, so that frames are cut anywhere.
    Bits,
    /// Never.
    Never,
}

/// How long after a ping its pong is sent, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    After(u64),
    Never,
}

/// What a client sends of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    /// A message of about so many bytes, every so many milliseconds.
    Every {
        ms: u64,
        bytes: usize,
    },
    /// As many messages of so many bytes as the default limits allow: 60 at
    /// once, then 20 a second.
    AllItMay {
        bytes: usize,
    },
    /// A ping every so many milliseconds.
    Pings {
        ms: u64,
    },
    /// Anything: messages, fragments, pings, nonsense.
    Anything {
        ms: u64,
    },
}

/// What a client does when a close frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// It answers and ends its stream.
    Properly,
    /// Nothing.
    Never,
    /// It sends close frames for ever, whether one came or not.
    AgainAndAgain,
}

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub reads: Reads,
    pub answers: Answers,
    pub says: Says,
    pub closes: Closes,
    /// How many bytes its socket takes while it does not read.
    pub socket_bytes: usize,
}

/// One that reads at once, answers, and only listens.
pub const LISTENER: Kind = Kind {
    reads: Reads::Within(1),
    answers: Answers::After(20),
    says: Says::Nothing,
    closes: Closes::Properly,
    socket_bytes: 65_536,
};

impl Kind {
    /// Whether it empties its socket within the longest round trip for which
    /// nobody is too slow.
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
    /// The network loses the connection.
    Reset,
    /// It breaks a rule of RFC 6455, and goes on sending.
    Break,
}

/// One client.
pub struct Client {
    pub id: u64,
    pub kind: Kind,
    pub peer: Peer,
    pub pipe: Rc<RefCell<Pipe>>,
    pub shard: usize,
    pub joined_at: u64,
    pub received: Received,
    /// Bytes of the stream that it has taken.
    pub taken: u64,
    /// What it has sent and the network has not delivered.
    pub unsent: VecDeque<u8>,
    pub takes_soon: bool,
    pub delivers_soon: bool,
    /// Messages that it has sent.
    pub said: u64,
    /// Messages of it that the room has sent.
    pub heard: u64,
    /// When each message that the room has not sent was sent, in microseconds.
    pub sent_us: VecDeque<(u64, u64)>,
    /// How long the room took at most.
    pub waited_us_max: u64,
    pub sent_close: bool,
    pub saw_close: bool,
    pub ended: bool,
    /// When it ended, or was first seen to be closing, in milliseconds.
    pub leaving_since: Option<u64>,
    /// It lost its place, in the middle of a frame or not.
    pub is_detached: bool,
    pub was_kicked: bool,
    /// It broke a rule, or may have.
    pub is_violator: bool,
}

impl Client {
    /// The most that is on its way to the server at once.
    pub const WINDOW_BYTES: usize = 1_048_576;

    pub fn name(id: u64) -> String {
        format!("c{id}")
    }

    /// Its next message, of about so many bytes.
    pub fn message(&mut self, bytes: usize, now_us: u64) -> String {
        self.said += 1;
        self.sent_us.push_back((self.said, now_us));
        let (name, number) = (Self::name(self.id), self.said);
        let mut text = format!(r#"{{"usr":"{name}","msg":"{number} "#);
        let filler = bytes.saturating_sub(text.len() + 2);
        text.extend(std::iter::repeat_n('x', filler));
        text.push_str(r#""}"#);
        text
    }

    /// Something of what a client may send.
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
