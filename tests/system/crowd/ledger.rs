//! What the room said, in its order, as the first client that heard it tells.

use serde_json::Value;

/// Complaints that are kept; the first ones tell the most.
const WRONG_MAX: usize = 20;
/// How far back the first message of a newcomer is looked for.
const LOOK_BACK: usize = 10_000;

/// All messages in their order, and all that was wrong with them.
pub struct Ledger {
    order: Vec<Box<[u8]>>,
    /// How many messages of each sender came.
    heard: Vec<u32>,
    last_tim: String,
    last_ns: u64,
    /// The longest time without a new message for anybody.
    pub silence_ns: u64,
    /// What must not be.
    pub wrong: Vec<String>,
}

impl Ledger {
    pub fn new(senders: usize) -> Self {
        Self {
            order: Vec::new(),
            heard: vec![0; senders],
            last_tim: String::new(),
            last_ns: 0,
            silence_ns: 0,
            wrong: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// How many messages of that sender the room has sent.
    pub fn heard(&self, sender: usize) -> u32 {
        self.heard[sender]
    }

    pub fn complain(&mut self, what: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }

    /// The place of a text, for somebody who came later than the others.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        let back = self.order.iter().rev().take(LOOK_BACK).position(|said| **said == *text)?;
        Some(self.order.len() - 1 - back)
    }

    /// A client at this place hears a text; gives back its next place.
    pub fn hear(&mut self, place: usize, text: &[u8], now_ns: u64) -> Result<usize, String> {
        match self.order.get(place) {
            Some(said) if **said == *text => {}
            Some(said) => {
                return Err(format!(
                    "at place {place} heard {:?} instead of {:?}",
                    String::from_utf8_lossy(text),
                    String::from_utf8_lossy(said)
                ));
            }
            None => self.append(text, now_ns)?,
        }
        Ok(place + 1)
    }

    /// Nobody has heard this before: it must be the next of its sender, and younger.
    fn append(&mut self, text: &[u8], now_ns: u64) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        let message: Value = serde_json::from_slice(text).map_err(|_| shown())?;
        let field = |name: &str| message[name].as_str().ok_or_else(shown);
        let sender = field("usr")?.strip_prefix('s').and_then(|n| n.parse::<usize>().ok());
        let number = field("msg")?.split(' ').next().and_then(|n| n.parse::<u32>().ok());
        // Others may speak too, but not the server: it has nothing to complain of.
        if message.get("err").is_some() {
            return Err(shown());
        }
        if let (Some(sender), Some(number)) = (sender, number) {
            let heard = self.heard.get_mut(sender).ok_or_else(shown)?;
            if number != *heard + 1 {
                return Err(format!("after message {heard} of the sender came {}", shown()));
            }
            *heard = number;
        }
        let tim = field("tim")?;
        if tim <= self.last_tim.as_str() {
            return Err(format!("after {} came {}", self.last_tim, shown()));
        }
        self.last_tim = tim.into();
        if self.last_ns > 0 {
            self.silence_ns = self.silence_ns.max(now_ns - self.last_ns);
        }
        self.last_ns = now_ns;
        self.order.push(text.into());
        Ok(())
    }
}
