//! Many clients that check every byte that they receive, for tests/system/restart.py.
//!
//! The program prints `ready` when all clients are connected. Then it executes the lines of
//! its standard input: `mark` resets the longest silence, `report` prints a report as a line
//! of JSON, `end` waits until every client has received everything, prints the report and
//! exits.

mod client;
mod message_order;
mod senders;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use client::{Client, End, Role, State, Transport};
use message_order::MessageOrder;
use mio::{Events, Poll, Token, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use senders::Senders;
use serde_json::json;
use wschat::ws::frame::client_frame;

/// The most connections that are being opened at once.
const OPENING_MAX: usize = 256;
/// How often a newcomer connects, and how often the clients that do not read send a pong.
const NEWCOMER_INTERVAL_NS: u64 = 25_000_000;
const PONG_INTERVAL_NS: u64 = 10_000_000_000;
/// How long `end` waits for what has not arrived.
const END_TIMEOUT: Duration = Duration::from_secs(60);
const WAKER: Token = Token(usize::MAX);

/// The clients.
#[derive(Clone, Parser)]
struct Options {
    /// The address of the server: `127.0.0.1:8080` or `unix:/path`.
    to: String,
    /// The number of clients from the beginning.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// How many of them also send messages.
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// How many of them do not read until `end`, but send pongs.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Whether every second client that sends nothing gets its messages by `GET /events`.
    #[arg(long)]
    events: bool,
    /// How many more clients connect one after the other, after the first ones.
    #[arg(long, default_value_t = 0)]
    newcomers: usize,
    /// Messages per second, of all senders together.
    #[arg(long, default_value_t = 8.0)]
    rate: f64,
    /// Send frames in parts and messages in fragments, with pauses between them.
    #[arg(long)]
    cut: bool,
}

fn main() -> io::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    Clients::new(Options::parse())?.run()
}

struct Clients {
    options: Options,
    poll: Poll,
    commands: Receiver<String>,
    clients: Vec<Client>,
    order: MessageOrder,
    senders: Senders,
    scratch: Vec<u8>,
    started: Instant,
    /// The number of clients whose handshake has ended.
    open: usize,
    newcomer_due_ns: u64,
    pong_due_ns: u64,
    /// The longest time from a newcomer's connect to the end of its handshake.
    handshake_ns: u64,
    /// Until when `end` waits.
    end_deadline: Option<Instant>,
}

impl Clients {
    fn new(options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (to, commands) = channel();
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if to.send(line).is_err() || waker.wake().is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            poll,
            commands,
            clients: Vec::new(),
            order: MessageOrder::new(options.senders),
            senders: Senders::new(options.senders, options.rate, options.cut),
            scratch: vec![0; 256 * 1024],
            started: Instant::now(),
            open: 0,
            newcomer_due_ns: 0,
            pong_due_ns: PONG_INTERVAL_NS,
            handshake_ns: 0,
            end_deadline: None,
            options,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4096);
        let mut ready = false;
        loop {
            self.open_more()?;
            if !ready && self.open >= self.options.clients {
                println!("ready");
                self.senders.start(self.now_ns());
                ready = true;
            }
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.serve(event.token().0, event.is_writable());
            }
            if ready {
                self.send_due();
            }
            while let Ok(command) = self.commands.try_recv() {
                self.run_command(&command)?;
            }
            if self.end_deadline.is_some() {
                self.find_positions();
            }
            if self.end_deadline.is_some_and(|end| self.has_received_all() || Instant::now() > end)
            {
                self.add_missing();
                self.report();
                return Ok(());
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn timeout(&self) -> Duration {
        let mut due_ns = self.now_ns() + 100_000_000;
        due_ns = due_ns.min(self.senders.due_ns());
        if self.clients.len() < self.options.clients + self.options.newcomers {
            due_ns = due_ns.min(self.newcomer_due_ns);
        }
        Duration::from_nanos(due_ns.saturating_sub(self.now_ns()))
    }

    /// Opens connections: a bounded number at once, and newcomers one by one.
    fn open_more(&mut self) -> io::Result<()> {
        let now_ns = self.now_ns();
        while self.clients.len() < self.options.clients
            && self.clients.len() < self.open + OPENING_MAX
        {
            let number = self.clients.len();
            self.connect(match number {
                n if n < self.options.senders => Role::Sender,
                n if n < self.options.senders + self.options.stalled => Role::Stalled,
                _ => Role::Listener,
            })?;
        }
        let all = self.options.clients + self.options.newcomers;
        let may_come = self.open >= self.options.clients && self.end_deadline.is_none();
        if may_come && self.clients.len() < all && now_ns >= self.newcomer_due_ns {
            self.newcomer_due_ns = now_ns + NEWCOMER_INTERVAL_NS;
            self.connect(Role::Newcomer { started_ns: now_ns })?;
        }
        Ok(())
    }

    fn connect(&mut self, role: Role) -> io::Result<()> {
        let token = Token(self.clients.len());
        let is_stream = self.options.events && role != Role::Sender && token.0 % 2 == 1;
        let transport = if is_stream { Transport::Events } else { Transport::WebSocket };
        let mut client = Client::connect(&self.options.to, token.0, role, transport)?;
        client.register(self.poll.registry(), token)?;
        self.clients.push(client);
        Ok(())
    }

    /// Handles a connection that is readable or writable.
    fn serve(&mut self, number: usize, writable: bool) {
        let now_ns = self.now_ns();
        let client = &mut self.clients[number];
        if writable {
            client.flush();
        }
        if client.role == Role::Stalled
            && client.state == State::Open
            && self.end_deadline.is_none()
        {
            return;
        }
        let before = client.state;
        if let Err(error) = client.read(&mut self.scratch, &mut self.order, now_ns) {
            self.order.add_error(format!("client {number}: {error}"));
        }
        if before == State::Handshake && client.state != State::Handshake {
            self.open += 1;
            if let Role::Newcomer { started_ns } = client.role {
                self.handshake_ns = self.handshake_ns.max(now_ns - started_ns);
            }
        }
    }

    /// Sends the bytes that are due.
    fn send_due(&mut self) {
        let now_ns = self.now_ns();
        for (sender, bytes, is_last) in self.senders.take_due(now_ns) {
            self.clients[sender].send_piece(&bytes, is_last);
        }
        if now_ns >= self.pong_due_ns {
            self.pong_due_ns = now_ns + PONG_INTERVAL_NS;
            for client in self.clients.iter_mut().filter(|c| c.role == Role::Stalled) {
                client.send(&client_frame(0x8a, b""));
            }
        }
    }

    fn run_command(&mut self, command: &str) -> io::Result<()> {
        match command {
            "mark" => {
                self.order.silence_ns = 0;
                self.clients.iter_mut().for_each(|client| client.silence_ns = 0);
            }
            "report" => self.report(),
            "end" => {
                self.end_deadline = Some(Instant::now() + END_TIMEOUT);
                self.senders.stop();
                for (number, client) in self.clients.iter_mut().enumerate() {
                    if client.role == Role::Stalled && client.state == State::Open {
                        client.reregister(self.poll.registry(), Token(number))?;
                    }
                }
            }
            _ => return Err(io::Error::other(format!("unknown command {command:?}"))),
        }
        Ok(())
    }

    fn find_positions(&mut self) {
        let now_ns = self.now_ns();
        for (number, client) in self.clients.iter_mut().enumerate() {
            if let Err(error) = client.find_position(&mut self.order, now_ns) {
                self.order.add_error(format!("client {number}: {error}"));
            }
        }
    }

    fn is_missing(&self, number: usize) -> bool {
        let client = &self.clients[number];
        let late = match client.position {
            Some(position) => position < self.order.len(),
            // A newcomer may have connected after the last message.
            None => client.has_unordered(),
        };
        let unsent =
            client.role == Role::Sender && self.order.received(number) < self.senders.sent(number);
        client.state != State::Closed && (client.state != State::Open || late || unsent)
    }

    fn has_received_all(&self) -> bool {
        self.senders.is_idle() && (0..self.clients.len()).all(|number| !self.is_missing(number))
    }

    /// Reports every client that lacks something at the end.
    fn add_missing(&mut self) {
        for number in 0..self.clients.len() {
            if self.is_missing(number) {
                let client = &self.clients[number];
                let (position, state, role) = (client.position, client.state, client.role);
                let all = self.order.len();
                self.order.add_error(format!(
                    "client {number} ({role:?}) is {state:?} at {position:?} of {all} messages"
                ));
            }
        }
    }

    fn report(&mut self) {
        let mut closed = BTreeMap::<String, usize>::new();
        for end in self.clients.iter().filter_map(|client| client.end.as_ref()) {
            let how = match end {
                End::Closed(code, reason) => format!("{code} {reason}"),
                End::Ended(comment) => format!("events ended: {comment}"),
                End::Cut => "cut".into(),
            };
            *closed.entry(how).or_default() += 1;
        }
        let is_open = |client: &&Client| client.state == State::Open;
        let ms = |ns: u64| ns as f64 / 1e6;
        let silence_ns = self.clients.iter().map(|client| client.silence_ns).max();
        let figures = json!({
            "clients": self.clients.len(),
            "open": self.clients.iter().filter(is_open).count(),
            "closed": closed,
            "messages": self.order.len(),
            "room_silence_ms": ms(self.order.silence_ns),
            "client_silence_ms": ms(silence_ns.unwrap_or(0)),
            "handshake_ms": ms(self.handshake_ns),
            "errors": self.order.errors,
        });
        println!("{figures}");
    }
}
