//! What the senders say, and when; whole or in pieces.

use wschat::ws::frame::client_frame;

/// The longest time between two pieces of what belongs together.
const HELD_MAX_NS: u64 = 600_000_000;
const NEVER_NS: u64 = u64::MAX;

/// The senders, in turn.
pub struct Speech {
    interval_ns: u64,
    due_ns: u64,
    turn: usize,
    cut: bool,
    senders: Vec<Sender>,
}

#[derive(Default)]
struct Sender {
    said: u32,
    /// The piece that follows, and when it is due.
    held: Option<Vec<u8>>,
    due_ns: u64,
}

impl Speech {
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

    /// Nobody begins anything any more.
    pub fn stop(&mut self) {
        self.due_ns = NEVER_NS;
    }

    /// Nothing is half said.
    pub fn is_over(&self) -> bool {
        self.senders.iter().all(|sender| sender.held.is_none())
    }

    pub fn said(&self, sender: usize) -> u32 {
        self.senders[sender].said
    }

    /// When something has to be said next.
    pub fn due_ns(&self) -> u64 {
        let held = self.senders.iter().filter(|s| s.held.is_some()).map(|s| s.due_ns);
        held.min().unwrap_or(NEVER_NS).min(self.due_ns)
    }

    /// The bytes that are due now, with their senders, and whether they are the
    /// last that belong together.
    pub fn take_due(&mut self, now_ns: u64) -> Vec<(usize, Vec<u8>, bool)> {
        let mut due = Vec::new();
        for (number, sender) in self.senders.iter_mut().enumerate() {
            if sender.due_ns <= now_ns
                && let Some(piece) = sender.held.take()
            {
                sender.due_ns = now_ns + fastrand::u64(..HELD_MAX_NS);
                due.push((number, piece, sender.held.is_none()));
            }
        }
        while self.due_ns <= now_ns {
            self.due_ns += self.interval_ns;
            let count = self.senders.len();
            let mut turns = (0..count).map(|n| (self.turn + n) % count);
            let free = turns.find(|n| self.senders[*n].held.is_none());
            let Some(number) = free else { break };
            self.turn = number + 1;
            let sender = &mut self.senders[number];
            sender.said += 1;
            let text = format!(r#"{{"usr":"s{number}","msg":"{} and so on"}}"#, sender.said);
            let (first, rest) = if self.cut { pieces(&text) } else { (whole(&text), None) };
            due.push((number, first, rest.is_none()));
            sender.held = rest;
            sender.due_ns = now_ns + fastrand::u64(..HELD_MAX_NS);
        }
        due
    }
}

fn whole(text: &str) -> Vec<u8> {
    client_frame(0x81, text.as_bytes())
}

/// A message cut in the middle of a frame, or two fragments with a ping between
/// them, cut anywhere, or as it is.
fn pieces(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut bytes = match fastrand::u8(..3) {
        0 => return (whole(text), None),
        1 => whole(text),
        _ => {
            let (left, right) = text.as_bytes().split_at(fastrand::usize(..text.len()));
            [client_frame(0x01, left), client_frame(0x89, b"there?"), client_frame(0x80, right)]
                .concat()
        }
    };
    let rest = bytes.split_off(fastrand::usize(1..bytes.len()));
    (bytes, Some(rest))
}
