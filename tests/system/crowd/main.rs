//! A crowd of clients that checks every byte of the room, for
//! tests/system/restarts.py: it needs no code of the daemon's, and tells what
//! it saw on its standard output, in JSON.
//!
//! It says `ready` when all are in. Then it obeys the lines of its standard
//! input: `mark` forgets how long it was silent, `report` tells how things are,
//! `end` lets everybody hear everything, tells, and leaves.

mod client;
mod ledger;
mod speech;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use client::{Client, End, Role, State};
use ledger::Ledger;
use mio::{Events, Poll, Token, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use speech::Speech;
use wschat::ws::frame::client_frame;

/// Connections that are being opened at once.
const OPENING_MAX: usize = 256;
/// How often a newcomer knocks, and how often those who do not read say that
/// they are there.
const NEWCOMER_INTERVAL_NS: u64 = 25_000_000;
const PONG_INTERVAL_NS: u64 = 10_000_000_000;
/// How long `end` waits for what has not come.
const END_TIMEOUT: Duration = Duration::from_secs(60);
const WAKER: Token = Token(usize::MAX);

/// Who is in the crowd.
#[derive(Clone, Parser)]
struct Options {
    /// Where the room is: `127.0.0.1:8080` or `unix:/path`.
    to: String,
    /// How many clients are there from the beginning.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// How many of them also speak.
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// How many of them do not read before the end, but answer pings.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// How many more come one after the other while the others listen.
    #[arg(long, default_value_t = 0)]
    newcomers: usize,
    /// Messages a second, of all senders together.
    #[arg(long, default_value_t = 8.0)]
    rate: f64,
    /// Send frames in pieces and messages in fragments, with time between them.
    #[arg(long)]
    cut: bool,
}

fn main() -> io::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    Crowd::new(Options::parse())?.run()
}

struct Crowd {
    options: Options,
    poll: Poll,
    commands: Receiver<String>,
    clients: Vec<Client>,
    ledger: Ledger,
    speech: Speech,
    scratch: Vec<u8>,
    started: Instant,
    /// Clients whose handshake is over.
    open: usize,
    newcomer_due_ns: u64,
    pong_due_ns: u64,
    /// The longest time from a newcomer's knock to its place in the room.
    let_in_ns: u64,
    /// When the end gives up.
    ending: Option<Instant>,
}

impl Crowd {
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
            ledger: Ledger::new(options.senders),
            speech: Speech::new(options.senders, options.rate, options.cut),
            scratch: vec![0; 256 * 1024],
            started: Instant::now(),
            open: 0,
            newcomer_due_ns: 0,
            pong_due_ns: PONG_INTERVAL_NS,
            let_in_ns: 0,
            ending: None,
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
                self.speech.start(self.now_ns());
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
                self.speak();
            }
            while let Ok(command) = self.commands.try_recv() {
                self.obey(&command)?;
            }
            if self.ending.is_some() {
                self.find_places();
            }
            if self.ending.is_some_and(|end| self.all_is_heard() || Instant::now() > end) {
                self.complain();
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
        due_ns = due_ns.min(self.speech.due_ns());
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
            self.enter(match number {
                n if n < self.options.senders => Role::Sender,
                n if n < self.options.senders + self.options.stalled => Role::Stalled,
                _ => Role::Listener,
            })?;
        }
        let all = self.options.clients + self.options.newcomers;
        let may_come = self.open >= self.options.clients && self.ending.is_none();
        if may_come && self.clients.len() < all && now_ns >= self.newcomer_due_ns {
            self.newcomer_due_ns = now_ns + NEWCOMER_INTERVAL_NS;
            self.enter(Role::Newcomer { knocked_ns: now_ns })?;
        }
        Ok(())
    }

    fn enter(&mut self, role: Role) -> io::Result<()> {
        let token = Token(self.clients.len());
        let mut client = Client::connect(&self.options.to, token.0, role)?;
        client.register(self.poll.registry(), token)?;
        self.clients.push(client);
        Ok(())
    }

    /// A connection has something, or takes something again.
    fn serve(&mut self, number: usize, writable: bool) {
        let now_ns = self.now_ns();
        let client = &mut self.clients[number];
        if writable {
            client.flush();
        }
        if client.role == Role::Stalled && client.state == State::Open && self.ending.is_none() {
            return;
        }
        let before = client.state;
        if let Err(wrong) = client.read(&mut self.scratch, &mut self.ledger, now_ns) {
            self.ledger.complain(format!("client {number}: {wrong}"));
        }
        if before == State::Shaking && client.state != State::Shaking {
            self.open += 1;
            if let Role::Newcomer { knocked_ns } = client.role {
                self.let_in_ns = self.let_in_ns.max(now_ns - knocked_ns);
            }
        }
    }

    /// Sends what is due.
    fn speak(&mut self) {
        let now_ns = self.now_ns();
        for (sender, bytes, is_last) in self.speech.take_due(now_ns) {
            self.clients[sender].send_piece(&bytes, is_last);
        }
        if now_ns >= self.pong_due_ns {
            self.pong_due_ns = now_ns + PONG_INTERVAL_NS;
            for client in self.clients.iter_mut().filter(|c| c.role == Role::Stalled) {
                client.send(&client_frame(0x8a, b""));
            }
        }
    }

    fn obey(&mut self, command: &str) -> io::Result<()> {
        match command {
            "mark" => {
                self.ledger.silence_ns = 0;
                self.clients.iter_mut().for_each(|client| client.silence_ns = 0);
            }
            "report" => self.report(),
            "end" => {
                self.ending = Some(Instant::now() + END_TIMEOUT);
                self.speech.stop();
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

    fn find_places(&mut self) {
        let now_ns = self.now_ns();
        for (number, client) in self.clients.iter_mut().enumerate() {
            if let Err(wrong) = client.find_place(&mut self.ledger, now_ns) {
                self.ledger.complain(format!("client {number}: {wrong}"));
            }
        }
    }

    fn is_missing(&self, number: usize) -> bool {
        let client = &self.clients[number];
        let late = match client.place {
            Some(place) => place < self.ledger.len(),
            // Who came last may have come after the last message.
            None => client.is_lost(),
        };
        let unheard =
            client.role == Role::Sender && self.ledger.heard(number) < self.speech.said(number);
        client.state != State::Closed && (client.state != State::Open || late || unheard)
    }

    fn all_is_heard(&self) -> bool {
        self.speech.is_over() && (0..self.clients.len()).all(|number| !self.is_missing(number))
    }

    /// Whatever is missing at the end is wrong.
    fn complain(&mut self) {
        for number in 0..self.clients.len() {
            if self.is_missing(number) {
                let client = &self.clients[number];
                let (place, state, role) = (client.place, client.state, client.role);
                let all = self.ledger.len();
                self.ledger.complain(format!(
                    "client {number} ({role:?}) is {state:?} at {place:?} of {all} messages"
                ));
            }
        }
    }

    fn report(&mut self) {
        let mut closed = BTreeMap::<String, usize>::new();
        for end in self.clients.iter().filter_map(|client| client.end.as_ref()) {
            let how = match end {
                End::Closed(code, reason) => format!("{code} {reason}"),
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
            "messages": self.ledger.len(),
            "room_silence_ms": ms(self.ledger.silence_ns),
            "client_silence_ms": ms(silence_ns.unwrap_or(0)),
            "let_in_ms": ms(self.let_in_ns),
            "wrong": self.ledger.wrong,
        });
        println!("{figures}");
    }
}
