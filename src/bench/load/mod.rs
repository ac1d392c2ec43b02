//! The event loop over all connections: opens them, sends and receives.

mod read;
mod write;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use super::BenchError;
use super::connection::{Connection, Received, Role, State, Stream};
use super::message::MessageFormat;
use super::options::{Mode, Options, Transport};
use super::schedule::Schedule;
use super::target::Target;
use super::tracker::{Position, Tracker};

/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 256;
/// Connections begun in one turn: more would delay the reading of listeners.
const OPENED_PER_TURN: usize = 8;
/// Without progress of a handshake for this time, the run fails.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
/// Space for one read: several hundred messages.
const READ_BYTES: usize = 256 * 1024;
/// Readiness events taken at a time.
const EVENTS_MAX: usize = 1024;
/// The longest turn, so that progress can be shown.
const TURN_MAX: Duration = Duration::from_millis(100);

const TIMER: Token = Token(usize::MAX);

/// All connections of a run, and what they have received.
pub struct Load {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// When the timer expires, by the run's clock.
    timer_ns: u64,
    read_buffer: Vec<u8>,
    clock: Instant,
    target: Target,
    format: MessageFormat,
    /// The senders first, then other listeners, the slow ones, those of the storm or those that
    /// resume.
    connections: Vec<Connection>,
    listeners: usize,
    slow: usize,
    transport: Transport,
    /// What the connections behind the listeners had received when they were cut; none if they
    /// do not resume.
    cut: Vec<Received>,
    wanted: usize,
    opening: usize,
    open: usize,
    /// When a handshake made progress.
    opened_ns: u64,
    /// The frames that each sender has to send.
    send_buffers: Vec<Vec<u8>>,
    next_sender: usize,
    pub schedule: Schedule,
    pub tracker: Tracker,
    pub counts: Counts,
}

/// Counts of a run.
pub struct Counts {
    /// Messages that reached a listener.
    pub deliveries: u64,
    /// Messages that reached a connection of the storm, or one that resumes.
    pub storm_deliveries: u64,
    /// In nanoseconds, of messages sent from `measured_from_ns` on.
    pub latencies: Histogram<u64>,
    pub measured_from_ns: u64,
    /// Connections that the server closed, without slow ones.
    pub closed: u64,
    pub slow_closed: u64,
    /// Connections that resumed and have received the order up to `resume_end`.
    pub resumed: u64,
    pub resume_end: Position,
}

impl Load {
    pub fn new(options: &Options) -> Result<Self, BenchError> {
        let target = options.url.parse().map_err(BenchError::Options)?;
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from)?;
        // mio waits in milliseconds, which is too coarse for a latency.
        let registry = poll.registry();
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let run = RandomState::new().build_hasher().finish() as u32;
        let latencies = Histogram::new_with_bounds(1_000, 600_000_000_000, 3)
            .map_err(|error| BenchError::Options(error.to_string()))?;
        let cut = match options.mode {
            Mode::Resume => vec![Received::default(); options.storm],
            _ => Vec::new(),
        };
        let checked = options.listeners - options.slow() + cut.len();
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            timer,
            timer_ns: 0,
            read_buffer: vec![0; READ_BYTES],
            clock: Instant::now(),
            target,
            format: MessageFormat::new(run, options.size, options.token.as_deref()),
            connections: Vec::new(),
            listeners: options.listeners,
            slow: options.slow(),
            transport: options.transport,
            cut,
            wanted: 0,
            opening: 0,
            open: 0,
            opened_ns: 0,
            send_buffers: vec![Vec::new(); options.senders],
            next_sender: 0,
            schedule: Schedule::Stopped,
            tracker: Tracker::new(options.senders, checked),
            counts: Counts {
                deliveries: 0,
                storm_deliveries: 0,
                latencies,
                measured_from_ns: u64::MAX,
                closed: 0,
                slow_closed: 0,
                resumed: 0,
                resume_end: Position::MAX,
            },
        })
    }

    /// The run's clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// How many handshakes are complete.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Opens `count` more connections in the next turns, as fast as the server does.
    pub fn open_more(&mut self, count: usize) {
        self.wanted += count;
        self.connections.reserve_exact(count);
        self.opened_ns = self.now_ns();
    }

    /// One turn of the loop, until `end_ns` at the latest.
    ///
    /// # Errors
    ///
    /// The run cannot continue.
    pub fn turn(&mut self, end_ns: u64) -> Result<(), BenchError> {
        for _ in 0..OPENED_PER_TURN {
            if self.opening < OPENING_MAX && self.connections.len() < self.wanted {
                self.connect()?;
            }
        }
        let now_ns = self.now_ns();
        if self.opening > 0 && now_ns > self.opened_ns + OPENING_TIMEOUT.as_nanos() as u64 {
            let secs = OPENING_TIMEOUT.as_secs();
            let error = format!("connection {}: no answer for {secs} s", self.open + 1);
            return Err(BenchError::Server(error));
        }
        self.send_due(now_ns)?;
        let timeout = match self.opening == 0 && matches!(self.schedule, Schedule::Stopped) {
            true => Duration::from_nanos(end_ns.saturating_sub(now_ns)).min(TURN_MAX),
            // Waking a sleeping process costs CPU time of the process that sends to it:
            // the server's, if it runs on this machine.
            false => Duration::ZERO,
        };
        self.set_timer(now_ns)?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() != TIMER {
                self.handle(event)?;
            }
            self.send_due(self.now_ns())?;
        }
        self.events = events;
        Ok(())
    }

    /// Watches the slow listeners, so that closed ones are counted.
    pub fn watch_slow(&mut self) -> io::Result<()> {
        for (at, connection) in self.connections.iter_mut().enumerate() {
            if connection.role == Role::Slow && connection.state == State::Open {
                let registry = self.poll.registry();
                registry.register(&mut connection.stream, Token(at), Interest::READABLE)?;
            }
        }
        Ok(())
    }

    /// Disconnects the connections that resume, at once. [`open_more`](Self::open_more) opens
    /// them again, and they continue after what they have received.
    pub fn cut(&mut self) {
        let received = self.connections.drain(self.listeners..).map(|cut| match cut.role {
            Role::Resuming(received) => received,
            _ => Received::default(),
        });
        self.cut = received.collect();
        self.wanted = self.listeners;
        self.open = self.listeners;
    }

    fn connect(&mut self) -> Result<(), BenchError> {
        let at = self.connections.len();
        let role = if at >= self.listeners {
            match self.cut.get(at - self.listeners) {
                Some(received) => Role::Resuming(*received),
                None => Role::Storm,
            }
        } else if at >= self.listeners - self.slow {
            Role::Slow
        } else {
            Role::Listener(0)
        };
        let source = self.target.source(at);
        let mut connection =
            Connection::connect(self.target.address, source, role, self.stream(at))
                .map_err(|error| self.connect_error(at, error))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.stream, Token(at), interest)?;
        self.connections.push(connection);
        self.opening += 1;
        Ok(())
    }

    fn stream(&self, at: usize) -> Stream {
        let is_sender = at < self.send_buffers.len();
        match self.transport {
            Transport::Sse if !is_sender => Stream::Events,
            Transport::Mixed if !is_sender && at % 2 == 1 => Stream::Events,
            _ => Stream::WebSocket,
        }
    }

    fn connect_error(&self, at: usize, error: io::Error) -> BenchError {
        let source = self.target.source(at);
        let source = source.map_or("left".into(), |source| format!("at {}", source.ip()));
        BenchError::connecting(error, self.open, &source)
    }

    /// The handshake of a connection is complete.
    fn opened(&mut self, at: usize) -> io::Result<()> {
        self.opening -= 1;
        self.open += 1;
        self.opened_ns = self.now_ns();
        let connection = &mut self.connections[at];
        connection.state = State::Open;
        if connection.role == Role::Slow {
            self.poll.registry().deregister(&mut connection.stream)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: &Event) -> Result<(), BenchError> {
        let Token(at) = event.token();
        match self.connections[at].state {
            State::Connecting if event.is_writable() => {
                let sent = self.connections[at].send_request(&self.target);
                sent.map_err(|error| self.connect_error(at, error))
            }
            State::Connecting | State::Closed => Ok(()),
            State::Handshake | State::Open => {
                if event.is_writable() {
                    self.flush(at)?;
                }
                self.read(at, event.is_read_closed())
            }
        }
    }

    /// The server, or the network, has closed a connection.
    fn closed(&mut self, at: usize, reason: &str) -> Result<(), BenchError> {
        let connection = &mut self.connections[at];
        if connection.state != State::Open {
            return Err(BenchError::Server(format!("connection {}: {reason}", at + 1)));
        }
        connection.close();
        match connection.role {
            Role::Slow => {
                self.counts.slow_closed += 1;
                return Ok(());
            }
            Role::Storm => {}
            Role::Listener(position) => self.tracker.leave(position),
            Role::Resuming(_) => {
                return Err(BenchError::Server(format!(
                    "the server closed a listener that resumes: {reason}"
                )));
            }
        }
        self.counts.closed += 1;
        if at < self.send_buffers.len() {
            return Err(BenchError::Server(format!("the server closed a sender: {reason}")));
        }
        Ok(())
    }
}
