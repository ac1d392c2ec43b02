//! The event loop over all clients: opens them, lets senders speak, hears.

mod hear;
mod speak;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use super::client::{Client, Role, State};
use super::ledger::Ledger;
use super::pace::Pace;
use super::text::Texts;
use super::{Plan, Stop, Target};

/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 256;
/// … and those begun in one turn, so that no listener waits long to be heard.
const BEGUN_PER_TURN: usize = 8;
/// With no news for so long from those that are being opened, the server is gone.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
/// Space for one read: several hundred messages.
const SCRATCH: usize = 256 * 1024;
/// Readiness events taken at a time.
const EVENTS: usize = 1024;
/// A turn ends after this, so that progress can be shown.
const TURN_MAX: Duration = Duration::from_millis(100);

const TIMER: Token = Token(usize::MAX);

/// All clients of a run, and what they have heard.
pub struct Load {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// For when the timer is set, by the run's clock.
    timer_ns: u64,
    scratch: Vec<u8>,
    clock: Instant,
    target: Target,
    texts: Texts,
    /// The senders first, then those who only listen, the slow ones, the guests.
    clients: Vec<Client>,
    listeners: usize,
    slow: usize,
    wanted: usize,
    opening: usize,
    open: usize,
    opened_ns: u64,
    /// Of each sender: frames ready to be sent.
    outs: Vec<Vec<u8>>,
    turn: usize,
    /// When messages are sent.
    pub pace: Pace,
    /// Who has heard what.
    pub ledger: Ledger,
    /// What has been counted.
    pub tally: Tally,
}

/// Counts of a run.
pub struct Tally {
    /// Messages that reached a listener.
    pub deliveries: u64,
    /// Messages that reached a guest.
    pub overheard: u64,
    /// How late they were, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// Only messages sent in this time, by the run's clock, count for `latencies`.
    pub watched: Range<u64>,
    /// Healthy connections that the server closed.
    pub closed: u64,
    /// Why the first of them was.
    pub close_reason: Option<String>,
    /// Connections that never read and were closed.
    pub slow_closed: u64,
}

impl Load {
    /// Ready to open connections as `plan` says.
    ///
    /// # Errors
    ///
    /// The system has no descriptors for the poll.
    pub fn new(plan: &Plan) -> Result<Self, Stop> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from)?;
        // mio waits in milliseconds, which is too coarse for a latency.
        let registry = poll.registry();
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let run = RandomState::new().build_hasher().finish() as u32;
        let latencies = Histogram::new_with_bounds(1_000, 600_000_000_000, 3)
            .map_err(|error| Stop::Plan(error.to_string()))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            timer,
            timer_ns: 0,
            scratch: vec![0; SCRATCH],
            clock: Instant::now(),
            target: plan.target.clone(),
            texts: Texts::new(run, plan.size, plan.token.as_deref()),
            clients: Vec::new(),
            listeners: plan.listeners,
            slow: plan.slow,
            wanted: 0,
            opening: 0,
            open: 0,
            opened_ns: 0,
            outs: vec![Vec::new(); plan.senders],
            turn: 0,
            pace: Pace::Silent,
            ledger: Ledger::new(plan.senders, plan.listeners - plan.slow),
            tally: Tally {
                deliveries: 0,
                overheard: 0,
                latencies,
                watched: 0..0,
                closed: 0,
                close_reason: None,
                slow_closed: 0,
            },
        })
    }

    /// The run's clock, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Connections whose handshake is done.
    pub fn open(&self) -> usize {
        self.open
    }

    /// From now on `count` more connections are opened, as fast as the server takes them.
    pub fn want_more(&mut self, count: usize) {
        self.wanted += count;
        self.clients.reserve_exact(count);
        self.opened_ns = self.now_ns();
    }

    /// One turn of the loop: opens, speaks, waits until `end_ns` at most, hears.
    ///
    /// # Errors
    ///
    /// The run cannot go on.
    pub fn turn(&mut self, end_ns: u64) -> Result<(), Stop> {
        for _ in 0..BEGUN_PER_TURN {
            if self.opening < OPENING_MAX && self.clients.len() < self.wanted {
                self.begin()?;
            }
        }
        let now = self.now_ns();
        if self.opening > 0 && now > self.opened_ns + OPENING_PATIENCE.as_nanos() as u64 {
            let secs = OPENING_PATIENCE.as_secs();
            let why = format!("connection {}: no answer for {secs} s", self.open + 1);
            return Err(Stop::Server(why));
        }
        self.speak(now)?;
        let rest = match self.is_idle() {
            true => Duration::from_nanos(end_ns.saturating_sub(now)).min(TURN_MAX),
            // To wake somebody who sleeps costs whoever sends the bytes, if that is
            // on the same machine: no server shall pay for our sleep.
            false => Duration::ZERO,
        };
        self.set_timer(now)?;
        match self.poll.poll(&mut self.events, Some(rest)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                TIMER => {}
                Token(at) => {
                    let ready =
                        Ready { writable: event.is_writable(), ended: event.is_read_closed() };
                    self.ready(at, ready)?;
                }
            }
            self.speak(self.now_ns())?;
        }
        self.events = events;
        Ok(())
    }

    /// Whether nothing is under way that a server is measured by.
    fn is_idle(&self) -> bool {
        self.opening == 0 && matches!(self.pace, Pace::Silent)
    }

    /// At the end, looks at those who never read: whoever is closed shows now.
    ///
    /// # Errors
    ///
    /// The system has no memory for it.
    pub fn wake_slow(&mut self) -> Result<(), Stop> {
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.role == Role::Slow && client.state == State::Open {
                let registry = self.poll.registry();
                registry.register(&mut client.stream, Token(at), Interest::READABLE)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Stop> {
        let at = self.clients.len();
        let role = if at >= self.listeners {
            Role::HandshakeStream
        } else if at >= self.listeners - self.slow {
            Role::Slow
        } else {
            Role::Listener(0)
        };
        let source = self.target.source(at);
        let mut client = Client::connect(self.target.address, source, role)
            .map_err(|error| self.cannot_connect(at, error))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.stream, Token(at), interest)?;
        self.clients.push(client);
        self.opening += 1;
        Ok(())
    }

    fn opened(&mut self, at: usize) -> Result<(), Stop> {
        self.opening -= 1;
        self.open += 1;
        self.opened_ns = self.now_ns();
        let client = &mut self.clients[at];
        client.state = State::Open;
        if client.role == Role::Slow {
            self.poll.registry().deregister(&mut client.stream)?;
        }
        Ok(())
    }

    /// Something happened at a connection.
    fn ready(&mut self, at: usize, event: Ready) -> Result<(), Stop> {
        match self.clients[at].state {
            State::Connecting if event.writable => {
                let asked = self.clients[at].request(&self.target);
                asked.map_err(|error| self.cannot_connect(at, error))
            }
            State::Connecting | State::Closed => Ok(()),
            State::Shaking | State::Open => {
                if event.writable {
                    self.flush(at)?;
                }
                self.hear(at, event.ended)
            }
        }
    }

    fn cannot_connect(&self, at: usize, error: io::Error) -> Stop {
        let from = self.target.source(at);
        let from = from.map_or("left".into(), |from| format!("at {}", from.ip()));
        Stop::connecting(error, self.open, &from)
    }

    /// A connection is over, not by our will.
    fn over(&mut self, at: usize, why: &str) -> Result<(), Stop> {
        let client = &mut self.clients[at];
        if client.state != State::Open {
            return Err(Stop::Server(format!("connection {}: {why}", at + 1)));
        }
        client.close();
        match client.role {
            Role::Slow => {
                self.tally.slow_closed += 1;
                return Ok(());
            }
            Role::HandshakeStream => {}
            Role::Listener(place) => self.ledger.leave(place),
        }
        self.tally.closed += 1;
        if at < self.outs.len() {
            return Err(Stop::Server(format!("the server closed a sender: {why}")));
        }
        self.tally.close_reason.get_or_insert_with(|| why.to_owned());
        Ok(())
    }
}

/// What the poll says about a connection.
#[derive(Clone, Copy)]
struct Ready {
    writable: bool,
    /// Nothing follows what there is to read.
    ended: bool,
}
