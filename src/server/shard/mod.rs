//! A shard: a thread with its event loop and its connections.
//!
//! A turn of the loop: wait for events (or only poll, if there is work) → carry out
//! commands → read each ready socket once and publish the messages as one batch → fetch
//! the feed → sweep some hundred connections. While a sweep is under way, new messages
//! accumulate and go out together: the busier the room, the cheaper a delivery.

pub(crate) mod cold_state;
pub(crate) mod command;
pub(crate) mod connection;
mod early;
mod held;
pub(crate) mod mailbox;
mod outbox;
pub(crate) mod post;
mod posts;
mod read;
mod requests;
mod sender;
mod slow;
mod sweep;
pub(crate) mod table;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
mod timers;
mod turn;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc;

use crate::chat::{ModAction, Now, SpeakerId, ack, nack};
use crate::mutex::lock;
use crate::room::{ActReply, Batch};
use crate::server::admission::epoll_watches::WatchUse;
use crate::server::admission::rejection::Rejection;
use crate::server::settings::Settings;
use crate::server::shard::command::{Done, ShardCommand};
use crate::server::shard::connection::Stream;
use crate::server::shard::mailbox::Mailbox;
use crate::server::shard::table::{PendingAction, Table, Turn};
use crate::server::shared::{Shared, time_of_day};
use crate::server::snapshot::ConnectionSnapshot;
use crate::server::socket::Socket;
use crate::ws::close;
use crate::ws::frame;

/// The token of the waker; ids of connections are never this large.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// The size of the buffer into which all sockets of the shard are read. The messages of one
/// read may all have to be held.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// The most events of one poll.
const EVENTS_MAX: usize = 1024;

/// The state of a shard's thread.
pub(crate) struct Shard {
    number: usize,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    poll: Poll,
    table: Table<Socket>,
    batch: Batch,
    /// Moderation actions that were requested in this turn.
    pending: Vec<PendingAction>,
    /// Kicks of moderators on this shard that some shard of this machine has not carried out.
    open_kicks: usize,
    read_buffer: Vec<u8>,
    /// Dropped when the last connection is gone.
    all_gone: Vec<Done>,
    /// A handover follows: nothing is read or written.
    is_paused: bool,
    /// Gets all connections as soon as no command is left.
    successor: Option<mpsc::UnboundedSender<Vec<(ConnectionSnapshot, Socket)>>>,
    /// All connections were handed over.
    is_over: bool,
}

impl Shard {
    pub fn new(number: usize, shared: Arc<Shared>, poll: Poll) -> Self {
        let settings = shared.settings.borrow().clone();
        let batch = shared.room.batch(number);
        Self {
            number,
            table: Table::new(number, &shared.room),
            shared,
            settings,
            poll,
            batch,
            pending: Vec::new(),
            open_kicks: 0,
            read_buffer: vec![0; READ_BUFFER_BYTES],
            all_gone: Vec::new(),
            is_paused: false,
            successor: None,
            is_over: false,
        }
    }

    /// Runs until the connections are handed over.
    ///
    /// # Errors
    ///
    /// The system's, if it cannot wait for events any more.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.mailbox().set_asleep(false);
            self.turn(&events);
        }
        Ok(())
    }

    fn mailbox(&self) -> &Mailbox {
        &self.shared.mailboxes[self.number]
    }

    /// How long to wait for the next event. From here on a new command wakes the shard.
    fn timeout(&self) -> Option<Duration> {
        self.mailbox().set_asleep(true);
        if self.mailbox().has_commands() {
            return Some(Duration::ZERO);
        }
        if self.is_paused {
            return None;
        }
        let due_ms = self.table.due_ms(&self.shared.room)?;
        Some(Duration::from_millis(due_ms.saturating_sub(self.shared.now().ms)))
    }

    fn turn(&mut self, events: &Events) {
        let now = self.shared.now();
        self.shared.respond(self.number);
        self.table.tick(now);
        for command in self.mailbox().take_commands() {
            self.carry_out(command, now);
        }
        if !self.is_paused {
            self.pass_on(events, now);
            self.turn_table(now);
        }
        self.hand_over(now);
        self.report();
    }

    /// Tells the table which sockets are ready.
    fn pass_on(&mut self, events: &Events, now: Now) {
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

    /// A turn of the table, and the moderation actions that were requested in it.
    fn turn_table(&mut self, now: Now) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let mut wakes_others = false;
        self.with_table(now, |table, turn| wakes_others = table.turn(&mut buffer, turn));
        self.read_buffer = buffer;
        self.run_pending(now);
        if wakes_others {
            self.shared.wake_all_but(Some(self.number));
        }
    }

    /// Carries out the requested moderation actions. Their results come back as commands.
    fn run_pending(&mut self, now: Now) {
        for PendingAction { id, action, actor } in std::mem::take(&mut self.pending) {
            let (shared, number) = (Arc::clone(&self.shared), self.number);
            // Others answer for a room on several machines, and perhaps not in time.
            let is_local = shared.room.remote().is_none();
            self.open_kicks += usize::from(is_local && matches!(action, ModAction::Kick { .. }));
            let requested = action.clone();
            let reply: ActReply = Box::new(move |done| {
                shared.mailboxes[number].send(ShardCommand::ActDone { id, action, done });
            });
            self.shared.moderate(requested, actor, now, reply);
        }
    }

    fn carry_out(&mut self, command: ShardCommand, now: Now) {
        match command {
            ShardCommand::Adopt { socket, connection, received } => {
                match self.watch(&socket, connection.id) {
                    Ok(()) => self.with_table(now, |table, turn| {
                        table.adopt(socket, connection, received, turn);
                    }),
                    Err(_) => self.reject(&socket, true),
                }
            }
            ShardCommand::Resume { socket, snapshot, permit } => {
                match self.watch(&socket, snapshot.id) {
                    Ok(()) => self.with_table(now, |table, turn| {
                        table.resume(socket, &snapshot, permit, turn);
                    }),
                    Err(_) => {
                        let takes_close =
                            self.shared.room.inspect(|log, _| snapshot.takes_close(log));
                        self.reject(&socket, takes_close);
                    }
                }
            }
            ShardCommand::Pause(_done) => {
                // Handles what has arrived before this command, as far as the gate allows;
                // the rest is handed over.
                self.turn_table(now);
                self.table.refuse_posts(now.tim);
                self.is_paused = true;
            }
            ShardCommand::Post(post) if self.is_paused => post.refuse(now.tim),
            ShardCommand::Post(post) => {
                self.with_table(now, |table, turn| table.add_post(post, turn));
            }
            ShardCommand::RemovePost(id) => {
                self.with_table(now, |table, turn| table.remove_post(id, turn));
            }
            ShardCommand::Settle(id, outcome) => {
                self.with_table(now, |table, turn| table.settle(id, outcome, turn));
            }
            ShardCommand::ActDone { id, action, done } => {
                if matches!(action, ModAction::Kick { .. }) {
                    self.open_kicks = self.open_kicks.saturating_sub(1);
                }
                let mut text = Vec::new();
                let refused = match done {
                    Ok(done) => ack(&action, &done, now.tim, &mut text).map(Into::into),
                    Err(error) => {
                        nack(error, now.tim, &mut text);
                        Some(error.into())
                    }
                };
                self.with_table(now, |table, turn| table.send_result(id, refused, text, turn));
            }
            ShardCommand::HandOver(successor) => self.successor = Some(successor),
            ShardCommand::ReloadSettings(_done) => {
                self.settings = self.shared.settings.borrow().clone();
                self.table.run_timers_soon(&self.settings.limits);
            }
            ShardCommand::StopReading(_done) => {
                self.table.stop_reading();
                self.table.refuse_posts(now.tim);
            }
            ShardCommand::CloseAll(close, done) => {
                self.table.close_all(close);
                self.all_gone.push(done);
            }
            ShardCommand::Barrier(_done) => {}
            ShardCommand::Kick { kick, before } => {
                let mut next = 0;
                let shared = Arc::clone(&self.shared);
                let meets = |speaker: &SpeakerId<'_>, id, has_sent| {
                    let is_met = kick.meets(speaker, id, has_sent);
                    if is_met {
                        kick.add(speaker, id, shared.next_id.load(Ordering::SeqCst), now.ms);
                    }
                    is_met
                };
                self.with_table(now, |table, turn| next = table.kick(meets, before, turn).1);
                if next > 0 {
                    self.mailbox().send(ShardCommand::Kick { kick, before: next });
                }
            }
            ShardCommand::List { before, answer } => {
                // The receiver may have stopped waiting.
                let _ = answer.send(self.table.list(before, self.shared.room.end(), now.ms));
            }
            ShardCommand::Traffic(answer) => {
                let _ = answer.send(self.table.traffic(now.ms));
            }
        }
    }

    /// Registers a socket; the next poll reports whether it is ready.
    fn watch(&self, socket: &Socket, id: u64) -> io::Result<()> {
        let (registry, fd) = (self.poll.registry(), socket.as_raw_fd());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let register = |()| {
            let mut source = SourceFd(&fd);
            registry
                .register(&mut source, Token(id as usize), interest)
                .map_err(|error| ((), error))
        };
        let registered = self.shared.watches.register(WatchUse::Connection, (), register);
        registered.map_err(|((), error)| error)
    }

    /// Closes an admitted connection whose socket cannot be registered.
    fn reject(&self, mut socket: &Socket, takes_close: bool) {
        self.shared.count_rejection(Rejection::System);
        if takes_close {
            let mut bytes = Vec::new();
            frame::put_close(&close::NO_WATCH, &mut bytes);
            // A socket that does not take these few bytes has a client that does not read.
            let _ = socket.write(&bytes);
        }
    }

    /// Gives all connections away, if that was requested and no command is left: it may
    /// close connections. The moderators on this shard are told first whom their kicks have met.
    fn hand_over(&mut self, now: Now) {
        if self.open_kicks > 0 || self.mailbox().has_commands() {
            return;
        }
        let Some(successor) = self.successor.take() else { return };
        // Without a receiver, the process is ending.
        let _ = successor.send(self.table.hand_over(now));
        self.is_over = true;
    }

    fn report(&mut self) {
        if self.table.is_empty() {
            self.all_gone.clear();
        }
        let lost_event_stream = std::mem::take(&mut self.table.lost_event_stream);
        if lost_event_stream && self.shared.connections.event_streams() == 0 {
            self.shared.room.forget_events();
        }
        let mut report = lock(&self.shared.mailboxes[self.number].report);
        report.lagging = self.table.lagging();
        report.slowest = self.table.slowest();
        report.counters.clone_from(self.table.counters());
    }

    fn with_table(&mut self, now: Now, act: impl FnOnce(&mut Table<Socket>, &mut Turn<'_>)) {
        let Self { shared, settings, table, batch, pending, .. } = self;
        let (room, client_log) = (&shared.room, &shared.client_log);
        let (rules, limits) = (&settings.rules, &settings.limits);
        let (clock_us, time_of_day) = (&|| shared.elapsed_us(), &time_of_day);
        let mut turn =
            Turn { now, clock_us, time_of_day, room, rules, limits, batch, pending, client_log };
        act(table, &mut turn);
    }
}

impl Stream for Socket {
    fn shutdown_write(&mut self) {
        // An error means that the peer is already gone.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn set_user_timeout(&self, timeout: Duration) {
        // A Unix socket has none: its peer cannot vanish unnoticed.
        let _ = self.set_tcp_user_timeout(Some(timeout));
    }

    fn send_buffer_bytes(&self) -> Option<usize> {
        // Linux doubles the value that was set, for its own overhead.
        self.send_buffer_size().ok().map(|bytes| bytes / 2)
    }
}
