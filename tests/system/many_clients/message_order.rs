//! All messages in the order in which the server sent them. The first client that receives
//! a message adds it; every other client must receive it at the same position.

use serde_json::Value;

/// The number of errors that are kept; the first ones are the most useful.
const ERRORS_MAX: usize = 20;
/// How many of the last messages are searched for the first message of a newcomer.
const LOOK_BACK: usize = 10_000;

/// All messages in their order, and all errors.
pub struct MessageOrder {
    order: Vec<Box<[u8]>>,
    /// The number of received messages of each sender.
    received: Vec<u32>,
    last_tim: String,
    last_ns: u64,
    /// The longest time in which no client received a new message.
    pub silence_ns: u64,
    /// What the server did wrong.
    pub errors: Vec<String>,
}

impl MessageOrder {
    pub fn new(senders: usize) -> Self {
        Self {
            order: Vec::new(),
            received: vec![0; senders],
            last_tim: String::new(),
            last_ns: 0,
            silence_ns: 0,
            errors: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The number of received messages of that sender.
    pub fn received(&self, sender: usize) -> u32 {
        self.received[sender]
    }

    pub fn add_error(&mut self, what: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(what);
        }
    }

    /// The position of a text, for a client that connected later than the others.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        let distance =
            self.order.iter().rev().take(LOOK_BACK).position(|known| **known == *text)?;
        Some(self.order.len() - 1 - distance)
    }

    /// A client at this position receives a text; returns its next position.
    pub fn receive(&mut self, position: usize, text: &[u8], now_ns: u64) -> Result<usize, String> {
        match self.order.get(position) {
            Some(known) if **known == *text => {}
            Some(known) => {
                return Err(format!(
                    "at position {position} received {:?} instead of {:?}",
                    String::from_utf8_lossy(text),
                    String::from_utf8_lossy(known)
                ));
            }
            None => self.append(text, now_ns)?,
        }
        Ok(position + 1)
    }

    /// Appends a text that no client has received before: it must be the next message of its
    /// sender, with a larger `tim`.
    fn append(&mut self, text: &[u8], now_ns: u64) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        let message: Value = serde_json::from_slice(text).map_err(|_| shown())?;
        let field = |name: &str| message[name].as_str().ok_or_else(shown);
        let sender = field("usr")?.strip_prefix('s').and_then(|n| n.parse::<usize>().ok());
        let number = field("msg")?.split(' ').next().and_then(|n| n.parse::<u32>().ok());
        // Other clients may send messages too, but there is no reason for a notice.
        if message.get("err").is_some() {
            return Err(shown());
        }
        if let (Some(sender), Some(number)) = (sender, number) {
            let received = self.received.get_mut(sender).ok_or_else(shown)?;
            if number != *received + 1 {
                return Err(format!("after message {received} of the sender: {}", shown()));
            }
            *received = number;
        }
        let tim = field("tim")?;
        if tim <= self.last_tim.as_str() {
            return Err(format!("after {}: {}", self.last_tim, shown()));
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
