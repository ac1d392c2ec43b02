//! What the senders send, and when; as complete frames or in parts.

use wschat::ws::frame::client_frame;

/// The longest time between two parts of a frame or message.
const PAUSE_MAX_NS: u64 = 600_000_000;
const NEVER_NS: u64 = u64::MAX;

/// The senders, which send one after the other.
pub struct Senders {
    interval_ns: u64,
    due_ns: u64,
    turn: usize,
    cut: bool,
    senders: Vec<Sender>,
}

#[derive(Default)]
struct Sender {
    sent: u32,
    /// The rest of a message that is sent in part, and when it is due.
    rest: Option<Vec<u8>>,
    due_ns: u64,
}

impl Senders {
    pub fn new(senders: usize, rate: f64, cut: bool) -> Self {
        let interval_ns = if rate > 0.0 { (1e9 / rate) as u64 } else { NEVER_NS };
        let senders = (0..senders).map(|_| Sender::default()).collect();
        Self { interval_ns, due_ns: NEVER_NS, turn: 0, cut, senders }
    }

    pub fn start(&mut self, now_ns: u64) {
        if self.interval_ns < NEVER_NS {
            self.due_ns = now_ns;
        }
    }

    /// No sender begins another message.
    pub fn stop(&mut self) {
        self.due_ns = NEVER_NS;
    }

    /// Whether no message is sent in part.
    pub fn is_idle(&self) -> bool {
        self.senders.iter().all(|sender| sender.rest.is_none())
    }

    pub fn sent(&self, sender: usize) -> u32 {
        self.senders[sender].sent
    }

    /// When the next bytes are due.
    pub fn due_ns(&self) -> u64 {
        let rest = self.senders.iter().filter(|s| s.rest.is_some()).map(|s| s.due_ns);
        rest.min().unwrap_or(NEVER_NS).min(self.due_ns)
    }

    /// The bytes that are due now, with their senders, and whether they complete a message.
    pub fn take_due(&mut self, now_ns: u64) -> Vec<(usize, Vec<u8>, bool)> {
        let mut due = Vec::new();
        for (number, sender) in self.senders.iter_mut().enumerate() {
            if sender.due_ns <= now_ns
                && let Some(piece) = sender.rest.take()
            {
                sender.due_ns = now_ns + fastrand::u64(..PAUSE_MAX_NS);
                due.push((number, piece, sender.rest.is_none()));
            }
        }
        while self.due_ns <= now_ns {
            self.due_ns += self.interval_ns;
            let count = self.senders.len();
            let mut turns = (0..count).map(|n| (self.turn + n) % count);
            let free = turns.find(|n| self.senders[*n].rest.is_none());
            let Some(number) = free else { break };
            self.turn = number + 1;
            let sender = &mut self.senders[number];
            sender.sent += 1;
            let text = format!(r#"{{"usr":"s{number}","msg":"{} and so on"}}"#, sender.sent);
            let (first, rest) = if self.cut { pieces(&text) } else { (whole_frame(&text), None) };
            due.push((number, first, rest.is_none()));
            sender.rest = rest;
            sender.due_ns = now_ns + fastrand::u64(..PAUSE_MAX_NS);
        }
        due
    }
}

fn whole_frame(text: &str) -> Vec<u8> {
    client_frame(0x81, text.as_bytes())
}

/// A message, in one of three ways: as it is, cut inside its frame, or as two fragments with a
/// ping between them, cut anywhere.
fn pieces(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut bytes = match fastrand::u8(..3) {
        0 => return (whole_frame(text), None),
        1 => whole_frame(text),
        _ => {
            let (left, right) = text.as_bytes().split_at(fastrand::usize(..text.len()));
            [client_frame(0x01, left), client_frame(0x89, b"there?"), client_frame(0x80, right)]
                .concat()
        }
    };
    let rest = bytes.split_off(fastrand::usize(1..bytes.len()));
    (bytes, Some(rest))
}
