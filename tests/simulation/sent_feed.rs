//! All that the room has sent, and what a client has received of it.

use std::collections::{BTreeMap, VecDeque};

use wschat::chat::SERVER_NAME;
use wschat::room::Room;

/// The whole feed, from its first byte.
#[derive(Default)]
pub struct SentFeed {
    pub bytes: Vec<u8>,
    /// Where each message ends.
    pub ends: Vec<u64>,
    last_tim: String,
}

/// A message that was sent: its client, and its number among that client's messages.
/// Messages of the server have none.
pub struct SentMessage {
    pub client: u64,
    pub number: u64,
}

impl SentFeed {
    pub fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Reads what is new. Returns the clients' messages in it.
    pub fn catch_up(&mut self, room: &Room) -> Vec<SentMessage> {
        let mut sent = Vec::new();
        let seen = self.bytes.len();
        if room.end() == seen as u64 {
            return sent;
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
            sent.extend(spoken(text));
            at = end;
        }
        sent
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

fn spoken(text: &str) -> Option<SentMessage> {
    let (usr, rest) = text.strip_prefix(r#"{"usr":""#)?.split_once(r#"","msg":""#)?;
    if usr == SERVER_NAME {
        return None;
    }
    let number = rest.split(' ').next()?.parse().expect("a message has a number");
    Some(SentMessage { client: usr[1..].parse().expect("a name has a number"), number })
}

/// What the server sent to one client, frame by frame.
pub struct Received {
    /// The position in the feed up to which complete frames arrived.
    pub position: u64,
    /// The bytes of an incomplete frame.
    pub begun: Vec<u8>,
    /// Messages of the feed that arrived completely.
    pub messages: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// The ends of unanswered pings in the stream.
    pub pings: VecDeque<u64>,
    pub pings_count: u64,
    pub pongs: u64,
    /// Notices by their code.
    pub notices: BTreeMap<String, u64>,
    /// The close frame: its code, its reason, and its end in the stream.
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

    /// Parses the next bytes of the stream.
    pub fn take(&mut self, bytes: &[u8], sent_feed: &SentFeed) {
        let mut begun = std::mem::take(&mut self.begun);
        begun.extend_from_slice(bytes);
        let mut rest = &begun[..];
        while let Some((header, payload)) = length(rest) {
            let Some((frame, behind)) = rest.split_at_checked(header + payload) else { break };
            self.bytes += frame.len() as u64;
            self.frame(frame, header, sent_feed);
            rest = behind;
        }
        self.begun = rest.to_vec();
        assert!(
            self.close.is_none() || self.begun.is_empty(),
            "nothing follows a close frame: {}",
            String::from_utf8_lossy(&self.begun)
        );
    }

    fn frame(&mut self, frame: &[u8], header: usize, sent_feed: &SentFeed) {
        assert!(self.close.is_none(), "no frame follows a close frame: {}", shown(frame));
        let payload = &frame[header..];
        match frame[0] {
            0x81 if sent_feed.holds(frame, self.position) => {
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
                        shown(&sent_feed.bytes[self.position as usize..]),
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

    /// Whether a connection that received this may have this cursor: a frame of the feed
    /// has begun as far as the cursor sends, or an own frame at a boundary.
    pub fn is_at(&self, cursor: u64, sent_feed: &SentFeed) -> bool {
        let feed = !self.begun.is_empty() && sent_feed.holds(&self.begun, self.position);
        let own = !feed || self.begins_like_a_notice();
        (own && cursor == self.position)
            || (feed && cursor == self.position + self.begun.len() as u64)
    }

    /// A notice and a message of the server begin with the same bytes.
    fn begins_like_a_notice(&self) -> bool {
        let text = r#"{"usr":"wschat","msg":""#.as_bytes();
        let header = if self.begun.get(1) == Some(&126) { 4 } else { 2 };
        let begun = self.begun.get(header..).unwrap_or_default();
        begun.iter().zip(text).all(|(a, b)| a == b)
    }

    /// The stream is over: its incomplete part must be the beginning of a frame.
    pub fn check_end(&self, sent_feed: &SentFeed) {
        if self.begun.is_empty() || sent_feed.holds(&self.begun, self.position) {
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

/// The lengths of header and payload of the first frame.
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
