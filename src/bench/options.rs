//! The options of a run, and their check.

use std::num::ParseFloatError;
use std::time::Duration;

use super::BenchError;
use super::message::{BYTES_MAX, BYTES_MIN, SENDERS_MAX};

/// What to measure.
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
    /// Many listeners that are cut and come back at the same time: what they missed, and their
    /// effect on the others
    Resume,
}

impl Mode {
    /// Whether many connections are opened at the same time.
    pub fn has_storm(self) -> bool {
        matches!(self, Self::Storm | Self::Resume)
    }
}

/// How listeners that do not send receive messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// WebSockets
    Ws,
    /// Server-sent events
    Sse,
    /// Half of them WebSockets, half server-sent events
    Mixed,
}

/// The options of a run, as on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server, ws://HOST:PORT/
    #[arg(value_name = "URL")]
    pub url: String,
    /// What to measure
    #[arg(long, value_enum, default_value = "throughput")]
    pub mode: Mode,
    /// How listeners receive messages; senders are WebSockets
    #[arg(long, value_enum, default_value = "ws")]
    pub transport: Transport,
    /// Connections that listen, including the senders and the slow listeners
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub listeners: usize,
    /// Listeners that also send messages, in turn
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub senders: usize,
    /// throughput: messages in flight, of all senders; a message is in flight until every listener has it
    #[arg(long, value_name = "W", default_value_t = 16)]
    pub window: usize,
    /// latency, storm, slow, resume: messages per second, of all senders
    #[arg(long, value_name = "R", default_value_t = 10.0)]
    pub rate: f64,
    /// Duration of the measurement in seconds
    #[arg(long, value_name = "T", default_value = "10", value_parser = parse_secs)]
    pub secs: Duration,
    /// slow: listeners that never read [default: 10 % of the listeners]
    #[arg(long, value_name = "K")]
    slow: Option<usize>,
    /// storm, resume: connections that are opened at the same time
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub storm: usize,
    /// Length of the JSON of a message in bytes, without its token
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub size: usize,
    /// Send this token with each message
    #[arg(long, value_name = "T")]
    pub token: Option<String>,
    /// Process id of the server on this machine, to measure its CPU time and memory
    #[arg(long, value_name = "P")]
    pub pid: Option<u32>,
}

impl Options {
    /// Checks the options against each other.
    ///
    /// # Errors
    ///
    /// The first contradiction, as [`BenchError::Options`].
    pub fn check(&self) -> Result<(), BenchError> {
        let (senders, slow, listeners) = (self.senders, self.slow(), self.listeners);
        let size_is_valid = (BYTES_MIN..=BYTES_MAX).contains(&self.size);
        let errors = [
            (listeners == 0, "--listeners must be at least 1".to_owned()),
            (
                !(1..=SENDERS_MAX).contains(&senders),
                format!("--senders must be 1 to {SENDERS_MAX}"),
            ),
            (
                senders + slow > listeners,
                format!(
                    "senders and slow ones listen, too: {senders} + {slow} are more than {listeners}"
                ),
            ),
            (self.window == 0, "--window must be at least 1".to_owned()),
            (!(0.001..=1e6).contains(&self.rate), "--rate must be 0.001 to 1000000".to_owned()),
            (!size_is_valid, format!("--size must be {BYTES_MIN} to {BYTES_MAX}")),
            (self.mode.has_storm() && self.storm == 0, "--storm must be at least 1".to_owned()),
            (slow > 0 && self.mode != Mode::Slow, "--slow belongs to --mode slow".to_owned()),
        ];
        let error = errors.into_iter().find_map(|(is_wrong, error)| is_wrong.then_some(error));
        error.map_or(Ok(()), |error| Err(BenchError::Options(error)))
    }

    /// How many listeners never read.
    pub fn slow(&self) -> usize {
        let default = if self.mode == Mode::Slow { (self.listeners / 10).max(1) } else { 0 };
        self.slow.unwrap_or(default)
    }

    /// How many descriptors the run needs.
    pub fn descriptors(&self) -> u64 {
        // Standard streams, the poll, the timer, /proc files, and some spare ones.
        const OTHERS: usize = 32;
        let at_once = if self.mode.has_storm() { self.storm } else { 0 };
        (self.listeners + at_once + OTHERS) as u64
    }
}

fn parse_secs(text: &str) -> Result<Duration, String> {
    let secs: f64 = text.parse().map_err(|error: ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(secs).map_err(|error| error.to_string())
}
