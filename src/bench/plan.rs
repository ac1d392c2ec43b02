//! What shall be measured: the options of a run, checked before it begins.

use std::time::Duration;

use super::text;
use super::{Stop, Target};

/// The question that a run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Deliveries per second, with a limited number of messages in flight
    Throughput,
    /// Delay of messages that are sent at a fixed rate
    Latency,
    /// Memory of an idle connection
    Idle,
    /// Many new connections at the same time: their cost and their effect on listeners
    Storm,
    /// The effect of listeners that never read on the others
    Slow,
}

/// A run that can be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server is.
    pub target: Target,
    /// The question.
    pub mode: Mode,
    /// Connections that listen; the senders and the slow ones are among them.
    pub listeners: usize,
    /// The listeners that also speak, in turn.
    pub senders: usize,
    /// Mode throughput: messages that have not reached every listener yet, of all senders together.
    pub window: usize,
    /// All modes but throughput and idle: messages a second, of all senders together.
    pub rate: f64,
    /// How long is measured.
    pub secs: Duration,
    /// Mode slow: the listeners that never read.
    pub slow: usize,
    /// Mode storm: the connections that arrive at once.
    pub storm: usize,
    /// Length of a message as its sender writes it: JSON, without the token and the frame.
    pub size: usize,
    /// Goes into each message as `jwt`.
    pub token: Option<String>,
    /// The server's process, for what it costs there.
    pub pid: Option<u32>,
}

impl Plan {
    /// Everything that the options say wrongly about each other.
    ///
    /// # Errors
    ///
    /// The first of them, as [`Stop::Plan`].
    pub fn check(&self) -> Result<(), Stop> {
        let wrong = |why: String| Err(Stop::Plan(why));
        if self.listeners == 0 {
            return wrong("--listeners must be at least 1".into());
        }
        if self.senders == 0 || self.senders > text::SENDERS_MAX {
            return wrong(format!("--senders must be 1 to {}", text::SENDERS_MAX));
        }
        if self.senders + self.slow > self.listeners {
            return wrong(format!(
                "senders and slow listeners are listeners too: {} + {} are more than {}",
                self.senders, self.slow, self.listeners
            ));
        }
        if self.window == 0 {
            return wrong("--window must be at least 1".into());
        }
        if !(0.001..=1e6).contains(&self.rate) {
            return wrong("--rate must be 0.001 to 1000000".into());
        }
        if self.size < text::SIZE_MIN || self.size > text::SIZE_MAX {
            return wrong(format!("--size must be {} to {}", text::SIZE_MIN, text::SIZE_MAX));
        }
        if self.slow > 0 && self.mode != Mode::Slow {
            return wrong("--slow belongs to --mode slow".into());
        }
        Ok(())
    }

    /// Descriptors that the run needs in this process.
    pub fn descriptors(&self) -> u64 {
        // Standard streams, the poll, the timer, /proc files, and a little air.
        const OTHERS: usize = 32;
        let storm = if self.mode == Mode::Storm { self.storm } else { 0 };
        (self.listeners + storm + OTHERS) as u64
    }
}
