//! All that the room ever sent, and what a client got of it.

use std::collections::{BTreeMap, VecDeque};

use wschat::chat::SERVER_NAME;
use wschat::room::Room;

/// The whole feed, from its first byte.
#[derive(Default)]
pub struct Witness {
    pub bytes: Vec<u8>,
    /// Where each message ends.
    pub ends: Vec<u64>,
    last_tim: String,
}

/// A message that was sent: who said it, and its number among theirs. The
/// server's own has none.
pub struct Said {
    pub client: u64,
    pub number: u64,
}

impl Witness {
    pub fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Takes what is new, and gives back the clients' messages in it.
    pub fn catch_up(&mut self, room: &Room) -> Vec<Said> {
        let mut said = Vec::new();
        let seen = self.bytes.len();
        if room.end() == seen as u64 {
            return said;
        }
        for piece in room.read_from_or_later(seen as u64, usize::MAX).iter() {
            let from = self.end().saturating_sub(piece.start) as usize;
            assert_eq!(piece.start + from as u64, self.end(), "the feed has no gap");
            self.bytes.extend_from_slice(&piece.bytes[from..]);
        }
        let mut at = seen;
        while at < self.bytes.len() {
            let (header, payload) = length(&self.bytes[at..]).expect("the feed has whole frames");
            let end = at + header + payload;
            let text = std::str::from_utf8(&self.bytes[at + header..end]).expect("UTF-8");
            let tim = &text[text.len() - 32..text.len() - 2];
            assert!(*tim > *self.last_tim, "tim increases: {tim} after {}", self.last_tim);
            self.last_tim = tim.into();
            self.ends.push(end as u64);
            said.extend(spoken(text));
            at = end;
        }
        said
    }

    /// How many messages end at or before this position.
    pub fn messages_before(&self, position: u64) -> u64 {
        self.ends.partition_point(|end| *end <= position) as u64
    }

    fn holds(&self, bytes: &[u8], position: u64) -> bool {
        let end = self.bytes.len().min(position as usize + bytes.len());
        self.bytes.get(position as usize..end) == Some(bytes)
    }
}

fn spoken(text: &str) -> Option<Said> {
    let (usr, rest) = text.strip_prefix(r#"{"usr":""#)?.split_once(r#"","msg":""#)?;
    if usr == SERVER_NAME {
        return None;
    }
    let number = rest.split(' ').next()?.parse().expect("a message has a number");
    Some(Said { client: usr[1..].parse().expect("a name has a number"), number })
}

/// What the server sent to one client, frame by frame.
pub struct Received {
    /// The position in the feed up to which whole frames came.
    pub position: u64,
    /// The bytes of a frame that is not whole.
    pub begun: Vec<u8>,
    /// Messages of the feed that came whole.
    pub messages: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// Where in the stream unanswered pings end.
    pub pings: VecDeque<u64>,
    pub pings_count: u64,
    pub pongs: u64,
    /// Notices by their code.
    pub notices: BTreeMap<String, u64>,
    /// The close frame: its code, its reason, and where it ends.
    pub close: Option<(u16, String, u64)>,
}

impl Received {
    pub fn new(joined_at: u64) -> Self {
        Self {
            position: joined_at,
            begun: Vec::new(),
            messages: 0,
            bytes: 0,
            pings: VecDeque::new(),
            pings_count: 0,
            pongs: 0,
            notices: BTreeMap::new(),
            close: None,
        }
    }

    /// Takes the next bytes of the stream apart.
    pub fn take(&mut self, bytes: &[u8], witness: &Witness) {
        let mut begun = std::mem::take(&mut self.begun);
        begun.extend_from_slice(bytes);
        let mut rest = &begun[..];
        while let Some((header, payload)) = length(rest) {
            let Some((frame, behind)) = rest.split_at_checked(header + payload) else { break };
            self.bytes += frame.len() as u64;
            self.frame(frame, header, witness);
            rest = behind;
        }
        self.begun = rest.to_vec();
        assert!(
            self.close.is_none() || self.begun.is_empty(),
            "nothing follows a close frame: {}",
            String::from_utf8_lossy(&self.begun)
        );
    }

    fn frame(&mut self, frame: &[u8], header: usize, witness: &Witness) {
        assert!(self.close.is_none(), "no frame follows a close frame: {}", shown(frame));
        let payload = &frame[header..];
        match frame[0] {
            0x81 if witness.holds(frame, self.position) => {
                self.position += frame.len() as u64;
                self.messages += 1;
            }
            0x81 => {
                let text = std::str::from_utf8(payload).expect("UTF-8");
                let code = [r#""err":""#, r#""ack":""#]
                    .into_iter()
                    .find_map(|name| Some(text.split_once(name)?.1.split('"').next()?.to_owned()));
                let Some(code) = code else {
                    panic!(
                        "not what the feed has at {}: {}, but {}",
                        self.position,
                        shown(&witness.bytes[self.position as usize..]),
                        shown(frame),
                    );
                };
                *self.notices.entry(code).or_default() += 1;
            }
            0x88 => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = payload.get(2..).unwrap_or_default();
                let reason = String::from_utf8(reason.to_vec()).expect("UTF-8");
                self.close = Some((code, reason, self.bytes));
            }
            0x89 => {
                self.pings.push_back(self.bytes);
                self.pings_count += 1;
            }
            0x8a => self.pongs += 1,
            other => panic!("no frame begins with {other:#x}: {}", shown(frame)),
        }
    }

    /// Whether a connection that got this can have this cursor: a frame of the
    /// feed is begun as far as the cursor says, or an own one at a boundary.
    pub fn is_at(&self, cursor: u64, witness: &Witness) -> bool {
        let feed = !self.begun.is_empty() && witness.holds(&self.begun, self.position);
        let own = !feed || self.begins_like_a_notice();
        (own && cursor == self.position)
            || (feed && cursor == self.position + self.begun.len() as u64)
    }

    /// A notice and a message of the server have the same begin.
    fn begins_like_a_notice(&self) -> bool {
        let text = r#"{"usr":"wschat","msg":""#.as_bytes();
        let header = if self.begun.get(1) == Some(&126) { 4 } else { 2 };
        let begun = self.begun.get(header..).unwrap_or_default();
        begun.iter().zip(text).all(|(a, b)| a == b)
    }

    /// The stream is over: what is begun is the begin of one frame.
    pub fn check_end(&self, witness: &Witness) {
        if self.begun.is_empty() || witness.holds(&self.begun, self.position) {
            return;
        }
        let text = match self.begun[0] {
            0x81 if self.begun[1..].first() == Some(&126) => self.begun.get(4..),
            0x81 | 0x89 | 0x8a => self.begun.get(2..),
            0x88 => self.begun.get(4..),
            _ => panic!("no frame begins so: {}", shown(&self.begun)),
        };
        let valid = text.is_none_or(|text| text.iter().all(u8::is_ascii));
        assert!(valid, "a frame within a frame: {}", shown(&self.begun));
    }
}

/// The lengths of header and payload of the frame that `bytes` begin with.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [_, 126, a, b, ..] => Some((4, usize::from(u16::from_be_bytes([a, b])))),
        [_, short, ..] if short < 126 => Some((2, usize::from(short))),
        _ => None,
    }
}

fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(120)];
    format!("{:?} of {} bytes", String::from_utf8_lossy(start), bytes.len())
}
