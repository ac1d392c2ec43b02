//! All that the room has sent, and what a client has received of it.

use std::collections::{BTreeMap, VecDeque};

use wschat::chat::{SERVER_NAME, Tim, is_presence};
use wschat::feed::{Encoding, Log};
use wschat::room::{Gap, Room, StartPoint};
use wschat::ws::close::{self, Close};
use wschat::ws::frame::{self, Opcode};

/// The whole feed, from its first byte.
#[derive(Default)]
pub struct SentFeed {
    pub bytes: Vec<u8>,
    /// Where each message starts,
    starts: Vec<u64>,
    /// and where it ends. Presence is no message.
    pub ends: Vec<u64>,
    /// The `tim` of each message.
    pub tims: Vec<Tim>,
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
            let start = at as u64;
            at = end;
            if is_presence(text.as_bytes()) {
                continue;
            }
            let tim = &text[text.len() - 32..text.len() - 2];
            let tim: Tim = tim.parse().expect("a tim");
            let last = self.tims.last().copied().unwrap_or_default();
            assert!(tim > last, "tim increases: {tim} after {last}");
            self.tims.push(tim);
            self.starts.push(start);
            self.ends.push(end as u64);
            sent.extend(spoken(text));
        }
        sent
    }

    /// The process has crashed. The next one continues with `log`: it has the messages that the
    /// last one had, without presence, and perhaps not the newest ones.
    pub fn recover(&mut self, log: &Log) {
        let first = log.pieces().start().unwrap_or(log.end());
        let messages = log.messages() as usize;
        let before = log.pieces().iter().next().map_or(messages, |it| it.messages_before as usize);
        let old = std::mem::take(self);
        self.bytes = vec![0; first as usize];
        (self.starts, self.ends) = (vec![0; before], vec![first; before]);
        for index in before..messages {
            let frame = &old.bytes[old.starts[index] as usize..old.ends[index] as usize];
            self.starts.push(self.end());
            self.bytes.extend_from_slice(frame);
            self.ends.push(self.end());
        }
        self.tims = old.tims[..messages].to_vec();
        let recovered: Vec<u8> = log.pieces().iter().flat_map(|it| it.bytes.to_vec()).collect();
        assert!(self.bytes[first as usize..] == recovered, "what was sent is recovered");
    }

    /// How many messages end at or before this position.
    pub fn messages_before(&self, position: u64) -> u64 {
        self.ends.partition_point(|end| *end <= position) as u64
    }

    /// The position of the message with this index, or the end of the feed.
    pub fn start_of(&self, index: usize) -> u64 {
        self.starts.get(index).copied().unwrap_or(self.end())
    }

    /// The index of the first message with a greater `tim`.
    pub fn first_after(&self, tim: Tim) -> usize {
        self.tims.partition_point(|sent| *sent <= tim)
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
    encoding: Encoding,
    /// It gets messages from the first one with a greater `tim` on, and has none yet.
    pub after: Option<Tim>,
    /// `after` was a time once.
    was_early: bool,
    /// The notice that has to come before anything else.
    gap: Option<Gap>,
    /// Bytes of complete messages of the feed.
    pub feed_bytes: u64,
    /// When something arrived last.
    last_ms: u64,
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
    pub fn new(encoding: Encoding, start: &StartPoint, now_ms: u64) -> Self {
        Self {
            encoding,
            after: start.after,
            was_early: start.after.is_some(),
            gap: start.gap,
            feed_bytes: 0,
            last_ms: now_ms,
            position: start.cursor,
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
    pub fn take(&mut self, bytes: &[u8], sent_feed: &SentFeed, now_ms: u64) {
        let mut begun = std::mem::take(&mut self.begun);
        begun.extend_from_slice(bytes);
        let silence_ms = now_ms - self.last_ms;
        if !bytes.is_empty() {
            self.last_ms = now_ms;
        }
        if self.encoding == Encoding::Events {
            return self.take_events(&begun, silence_ms, sent_feed);
        }
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

    fn take_events(&mut self, stream: &[u8], silence_ms: u64, sent_feed: &SentFeed) {
        let mut rest = stream;
        while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\n\n") {
            let (block, behind) = rest.split_at(end + 2);
            self.bytes += block.len() as u64;
            let block = std::str::from_utf8(&block[..end]).expect("UTF-8");
            self.event(block, silence_ms, sent_feed);
            rest = behind;
        }
        self.begun = rest.to_vec();
        assert!(self.close.is_none() || self.begun.is_empty(), "nothing follows the last comment");
    }

    fn event(&mut self, block: &str, silence_ms: u64, sent_feed: &SentFeed) {
        assert!(self.close.is_none(), "no event follows the last comment: {block}");
        let (first, data) = match block.split_once('\n') {
            Some((first, data)) => (first, data.strip_prefix("data: ")),
            None => ("", block.strip_prefix("data: ")),
        };
        let Some(data) = data else {
            let comment = block.strip_prefix(':').expect("a comment");
            if let Some(reason) = comment.strip_prefix(" closed: ") {
                self.close = Some((code_of(reason), reason.into(), self.bytes));
                return;
            }
            assert_eq!(comment, "");
            assert!(silence_ms >= 15_000, "a comment after {silence_ms} ms");
            self.pings_count += 1;
            return;
        };
        let mut frame = Vec::new();
        frame::put(Opcode::Text, data.as_bytes(), &mut frame);
        let is_of_feed = self.frame(&frame, frame.len() - data.len(), sent_feed);
        if is_of_feed {
            self.feed_bytes += block.len() as u64 + 2;
        }
        if is_presence(data.as_bytes()) {
            assert_eq!(first, "event: room");
        } else if is_of_feed {
            let id = first.strip_prefix("id: ");
            assert_eq!(id, data.get(data.len() - 32..data.len() - 2), "the id is the tim");
        } else {
            assert_eq!(first, "", "a notice has no id: {block}");
        }
    }

    /// Where it gets its first message, if it has waited for that.
    fn first_position(&self, sent_feed: &SentFeed) -> Option<u64> {
        Some(sent_feed.start_of(sent_feed.first_after(self.after?)))
    }

    /// The connection has come to its first message.
    pub fn start_at(&mut self, cursor: u64, sent_feed: &SentFeed) {
        if let Some(first) = self.first_position(sent_feed) {
            (self.position, self.after) = (first, None);
            assert!(self.is_at(cursor, sent_feed), "it is at {cursor}, but begins at {first}");
        }
    }

    /// Whether it has the notice about what is missing, if anything is.
    pub fn has_notice(&self) -> bool {
        self.gap.is_none()
    }

    /// Takes a frame. Returns whether it is of the feed.
    fn frame(&mut self, frame: &[u8], header: usize, sent_feed: &SentFeed) -> bool {
        assert!(self.close.is_none(), "no frame follows a close frame: {}", shown(frame));
        let payload = &frame[header..];
        if let (0x81, Some(gap)) = (frame[0], self.gap.take()) {
            let text = std::str::from_utf8(payload).expect("UTF-8");
            let field = |name: &str| {
                let value = text.split_once(&format!("\"{name}\":\""))?.1;
                Some(value.split('"').next()?.to_owned())
            };
            assert_eq!(field("err").as_deref(), Some("gap"), "the notice comes first: {text}");
            assert_eq!(field("after"), gap.after.map(|after| after.to_string()));
            assert_eq!(field("before"), gap.before.map(|before| before.to_string()));
            return false;
        }
        if let Some(first) = self.first_position(sent_feed)
            && sent_feed.holds(frame, first)
        {
            (self.position, self.after) = (first, None);
        }
        match frame[0] {
            0x81 if self.after.is_none() && sent_feed.holds(frame, self.position) => {
                self.position += frame.len() as u64;
                self.messages += u64::from(!is_presence(payload));
                if self.encoding == Encoding::Frames {
                    self.feed_bytes += frame.len() as u64;
                }
                return true;
            }
            // It was told while this client waited for its first message.
            0x81 if self.was_early && is_presence(payload) => {}
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
                assert_ne!(code, "gap", "nothing is missing: {text}");
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
        false
    }

    /// Whether a connection that received this may have this cursor: a frame of the feed
    /// has begun as far as the cursor sends, or an own frame at a boundary.
    pub fn is_at(&self, cursor: u64, sent_feed: &SentFeed) -> bool {
        if self.encoding == Encoding::Events {
            return cursor == self.position;
        }
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
        let is_event = self.encoding == Encoding::Events;
        if is_event || self.begun.is_empty() || sent_feed.holds(&self.begun, self.position) {
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

/// The close code with this reason, as a WebSocket gets it.
fn code_of(reason: &str) -> u16 {
    let all = [close::GOING_AWAY, close::IDLE, close::KICKED, close::RESTART];
    let found = all.into_iter().find(|close| close.reason == reason);
    found.map_or(Close::too_slow(0).code, |close| close.code)
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
