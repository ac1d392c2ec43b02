//! A shard: one thread, its event loop, and the connections it owns.
//!
//! A turn of the loop: poll (without waiting while there is work) → letters →
//! read every ready socket and publish what they sent as one batch → take the
//! room's news → sweep some hundred connections → again. While a sweep circles,
//! new messages pile up and go out together: the busier the room, the cheaper a
//! delivery.

pub(crate) mod connection;
mod held;
mod read;
mod slow;
mod sweep;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod timers;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::SockRef;
use tokio::sync::mpsc;

use crate::chat::{Now, ack, nack};
use crate::room::Batch;
use crate::server::admission::epoll_watches::WatchUse;
use crate::server::admission::rejection::Rejection;
use crate::server::pool::{ShardCommand, Shared};
use crate::server::settings::Settings;
use crate::server::shard::connection::Stream;
use crate::server::shard::table::{PendingAction, Table, Turn};
use crate::server::snapshot::ConnectionSnapshot;
use crate::server::socket::Socket;
use crate::ws::close;
use crate::ws::frame;

/// What wakes a shard that waits; ids of connections are never as large.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// The buffer that every socket of the shard is read into; so much may have to wait
/// of one connection.
const SCRATCH_BYTES: usize = 16 * 1024;
/// The most readiness that one poll reports.
const EVENTS_PER_TURN: usize = 1024;

/// The state of a shard's thread.
pub(crate) struct Shard {
    number: usize,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    poll: Poll,
    table: Table<Watched>,
    batch: Batch,
    /// What moderators asked for, and nobody has seen to yet.
    pending: Vec<PendingAction>,
    scratch: Vec<u8>,
    /// Held until the last connection has left.
    leaving: Vec<crate::server::pool::Done>,
    /// Nothing is read or written any more: a handover follows.
    paused: bool,
    /// Where the connections go.
    successor: Option<mpsc::UnboundedSender<Vec<(ConnectionSnapshot, Socket)>>>,
    /// The connections were handed over: there is nothing left to do.
    over: bool,
}

impl Shard {
    pub fn new(number: usize, shared: Arc<Shared>, settings: Arc<Settings>, poll: Poll) -> Self {
        Self {
            number,
            table: Table::new(number, &shared.room).counting_at(shared.addresses.clone()),
            shared,
            settings,
            poll,
            batch: Batch::default(),
            pending: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            leaving: Vec::new(),
            paused: false,
            successor: None,
            over: false,
        }
    }

    /// The loop; it ends with the process, or when all is handed over.
    ///
    /// # Errors
    ///
    /// The system's, if it cannot be polled any more.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.over {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.post().asleep.store(false, Ordering::SeqCst);
            self.turn(&events);
        }
        Ok(())
    }

    fn post(&self) -> &crate::server::pool::Mailbox {
        &self.shared.posts[self.number]
    }

    /// How long to wait for the next event. From here on until the poll returns
    /// whoever has something for this shard wakes it.
    fn timeout(&self) -> Option<Duration> {
        self.post().asleep.store(true, Ordering::SeqCst);
        if self.post().has_letters() {
            return Some(Duration::ZERO);
        }
        if self.paused {
            return None;
        }
        let due_ms = self.table.due_ms(&self.shared.room)?;
        Some(Duration::from_millis(due_ms.saturating_sub(self.shared.now().ms)))
    }

    fn turn(&mut self, events: &Events) {
        let now = self.shared.now();
        self.shared.answer(self.number);
        self.table.tick(now);
        let letters = self.post().take_letters();
        let (had, mut arrived) = (self.table.len(), 0);
        for letter in letters {
            arrived += usize::from(self.open(letter, now));
        }
        if !self.paused {
            self.note(events, now);
            self.turn_table(now);
        }
        self.hand_over(now);
        self.report(had + arrived);
    }

    /// Gives every connection away, if that is asked for and nothing else is:
    /// some may still have to be kicked.
    fn hand_over(&mut self, now: Now) {
        if self.post().has_letters() {
            return;
        }
        let Some(to) = self.successor.take() else { return };
        let rows = self.table.hand_over(now).into_iter();
        // Who asked waits for it, or is gone with the process.
        let _ = to.send(rows.map(|(row, watched)| (row, watched.into())).collect());
        self.over = true;
    }

    /// Tells the table which sockets are ready.
    fn note(&mut self, events: &Events, now: Now) {
        self.with_table(now, |table, turn| {
            for event in events.iter().filter(|event| event.token() != WAKER) {
                let id = event.token().0 as u64;
                if event.is_writable() {
                    table.writable(id, turn);
                }
                if event.is_read_closed() || event.is_error() {
                    table.ended(id);
                } else if event.is_readable() {
                    table.readable(id);
                }
            }
        });
    }

    /// One turn of the table; then what moderators asked for in it is done.
    fn turn_table(&mut self, now: Now) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut wake = false;
        self.with_table(now, |table, turn| wake = table.turn(&mut scratch, turn));
        self.scratch = scratch;
        self.run_pending(now);
        if wake {
            self.shared.wake_others(self.number);
        }
    }

    /// Opens one letter; says whether a connection was in it.
    fn open(&mut self, letter: ShardCommand, now: Now) -> bool {
        match letter {
            ShardCommand::Adopt { socket, arrival, received, seat } => {
                let watched = match self.watch(socket, arrival.id) {
                    Ok(watched) => watched,
                    Err(watched) => return self.reject(watched, true),
                };
                seat.occupy();
                self.with_table(now, |table, turn| {
                    table.adopt(watched, arrival, received, turn);
                });
                return true;
            }
            ShardCommand::Resume { socket, row, seat } => {
                let watched = match self.watch(socket, row.id) {
                    Ok(watched) => watched,
                    Err(watched) => {
                        let takes_close = self.shared.room.inspect(|log, _| row.takes_close(log));
                        return self.reject(watched, takes_close);
                    }
                };
                seat.occupy();
                self.with_table(now, |table, turn| table.resume(watched, &row, turn));
                return true;
            }
            ShardCommand::Pause(_done) => {
                // What came with a letter before this one is handled here, as far
                // as the gate allows it; the rest is handed over.
                self.turn_table(now);
                self.paused = true;
            }
            ShardCommand::HandOver(to) => self.successor = Some(to),
            ShardCommand::Apply(settings, _done) => {
                self.settings = settings;
                self.table.run_timers_soon();
            }
            ShardCommand::StopReading(_done) => self.table.stop_reading(),
            ShardCommand::CloseAll(close, done) => {
                self.table.close_all(close);
                self.leaving.push(done);
            }
            ShardCommand::Turn(_done) => {}
            ShardCommand::Kick { target, before, counter } => {
                let mut kicked = (0, 0);
                self.with_table(now, |table, turn| kicked = table.kick(&target, before, turn));
                let (kicked, before) = kicked;
                // Whoever asked may not want to know any more.
                let _ = counter.send(kicked);
                if before > 0 {
                    self.post().send(ShardCommand::Kick { target, before, counter });
                }
            }
            ShardCommand::List { before, answer } => {
                // Whoever asked may not want to know any more.
                let _ = answer.send(self.table.list(before, self.shared.room.end()));
            }
        }
        false
    }

    /// Registers a socket; what it has to read or can take is reported at once.
    /// Gives it back if the system cannot watch another.
    fn watch(&self, socket: Socket, id: u64) -> Result<Watched, Watched> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let register = |mut watched: Watched| match self.poll.registry().register(
            &mut watched,
            Token(id as usize),
            interest,
        ) {
            Ok(()) => Ok(watched),
            // As new, since mio refuses what it was given before.
            Err(error) => Err((Watched::new(watched.into()), error)),
        };
        let watched =
            self.shared.watches.register(WatchUse::Connection, Watched::new(socket), register);
        watched.map_err(|(watched, _)| watched)
    }

    /// Ends a connection that was let in and cannot be watched; it never came.
    fn reject(&self, mut watched: Watched, takes_close: bool) -> bool {
        self.shared.rejected.add(Rejection::System);
        if takes_close {
            let mut bytes = Vec::new();
            frame::put_close(&close::NO_WATCH, &mut bytes);
            // It takes these few bytes, or it would not have read them anyway.
            let _ = watched.write(&bytes);
        }
        false
    }

    /// Does what moderators asked for, and tells them.
    fn run_pending(&mut self, now: Now) {
        for PendingAction { id, act, by } in std::mem::take(&mut self.pending) {
            let mut text = Vec::new();
            match self.shared.moderate(&act, &by, now) {
                Ok(_) => ack(&act, now.tim, &mut text),
                Err(error) => nack(error, now.tim, &mut text),
            }
            self.with_table(now, |table, turn| table.send_notice(id, &text, turn));
        }
    }

    fn with_table(&mut self, now: Now, act: impl FnOnce(&mut Table<Watched>, &mut Turn<'_>)) {
        let Self { shared, settings, table, batch, pending, .. } = self;
        let (room, rules, limits) = (&shared.room, &settings.rules, &settings.limits);
        let clock_us = &|| shared.elapsed_us();
        act(table, &mut Turn { now, clock_us, room, rules, limits, batch, pending });
    }

    /// Tells the hub what happened in this turn.
    fn report(&mut self, had: usize) {
        let (post, len) = (&self.shared.posts[self.number], self.table.len());
        self.shared.leave(had - len);
        if len == 0 {
            self.leaving.clear();
        }
        post.report(len, self.table.lagging(), self.table.counters());
    }
}

/// A socket that is registered with a shard's poll.
#[derive(Debug)]
pub(crate) enum Watched {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

impl Watched {
    /// Sockets do not block from the door on, and stay so through a handover.
    fn new(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(stream) => Self::Tcp(mio::net::TcpStream::from_std(stream)),
            Socket::Unix(stream) => Self::Unix(mio::net::UnixStream::from_std(stream)),
        }
    }
}

impl From<Watched> for Socket {
    fn from(watched: Watched) -> Self {
        match watched {
            Watched::Tcp(stream) => Self::Tcp(stream.into()),
            Watched::Unix(stream) => Self::Unix(stream.into()),
        }
    }
}

impl Stream for Watched {
    fn shutdown_write(&mut self) {
        // An error says that the peer is gone already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    fn send_buffer_bytes(&self) -> Option<usize> {
        let bytes = match self {
            Self::Tcp(stream) => SockRef::from(stream).send_buffer_size(),
            Self::Unix(stream) => SockRef::from(stream).send_buffer_size(),
        };
        // Linux doubles what it is asked for, as it counts its own needs too.
        bytes.ok().map(|bytes| bytes / 2)
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Watched {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Watched {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(to, token, interest),
            Self::Unix(stream) => stream.register(to, token, interest),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(to, token, interest),
            Self::Unix(stream) => stream.reregister(to, token, interest),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(from),
            Self::Unix(stream) => stream.deregister(from),
        }
    }
}
