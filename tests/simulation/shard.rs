//! A shard without a thread: its table, what wakes it, and when it turns. It does what
//! `src/server/shard/mod.rs` does, in the same order.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use wschat::chat::{ActDone, Now, Target, ack, nack};
use wschat::room::{Batch, Room};
use wschat::server::{
    ClientLog, ConnectionPermit, ConnectionSnapshot, NewConnection, PendingAction, Settings, Table,
    Turn,
};
use wschat::ws::close::Close;

use super::pipe::Side;

/// What a shard is asked to do.
pub enum Command {
    Adopt(Side, NewConnection, Vec<u8>),
    Resume(Side, Box<ConnectionSnapshot>, ConnectionPermit),
    Apply(Rc<Settings>),
    StopReading,
    CloseAll(Close),
    Kick(Target, usize),
}

/// What a poll reports about a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    pub readable: bool,
    pub writable: bool,
    pub ended: bool,
}

pub struct Shard {
    pub table: Table<Side>,
    pub settings: Rc<Settings>,
    pub commands: VecDeque<Command>,
    /// What the next poll reports.
    pub events: BTreeMap<u64, Event>,
    pub woken: bool,
    /// Until then it is busy or pauses.
    pub busy_until_us: u64,
    /// When it turns even if nothing happens, by its own clock.
    pub due_ms: Option<u64>,
    batch: Batch,
    pending: Vec<PendingAction>,
    scratch: Vec<u8>,
}

impl Shard {
    pub fn new(number: usize, room: &Room, settings: Rc<Settings>, scratch_bytes: usize) -> Self {
        Self {
            table: Table::new(number, room),
            settings,
            commands: VecDeque::new(),
            events: BTreeMap::new(),
            woken: false,
            busy_until_us: 0,
            due_ms: None,
            batch: Batch::default(),
            pending: Vec::new(),
            scratch: vec![0; scratch_bytes],
        }
    }

    /// One turn. Returns whether the other shards are woken.
    pub fn turn(&mut self, room: &Room, now: Now) -> bool {
        self.woken = false;
        self.table.tick(now);
        self.run_commands(room, now);
        let mut scratch = std::mem::take(&mut self.scratch);
        let events = std::mem::take(&mut self.events);
        let wake = self.with_table(room, now, |table, turn| {
            for (id, event) in events {
                if event.writable {
                    table.writable(id, turn);
                }
                if event.ended {
                    table.ended(id);
                } else if event.readable {
                    table.readable(id);
                }
            }
            table.turn(&mut scratch, turn)
        });
        self.scratch = scratch;
        self.run_pending(room, now);
        self.due_ms = self.table.due_ms(room);
        wake
    }

    /// Runs all commands that have arrived.
    pub fn run_commands(&mut self, room: &Room, now: Now) {
        for command in std::mem::take(&mut self.commands) {
            self.open(command, room, now);
        }
    }

    fn open(&mut self, command: Command, room: &Room, now: Now) {
        match command {
            Command::Adopt(side, arrival, early) => self.with_table(room, now, |table, turn| {
                table.adopt(side, arrival, early, turn);
            }),
            Command::Resume(side, row, permit) => {
                self.with_table(room, now, |table, turn| table.resume(side, &row, permit, turn));
            }
            Command::Apply(settings) => {
                self.settings = settings;
                self.table.run_timers_soon(&self.settings.limits);
            }
            Command::StopReading => self.table.stop_reading(),
            Command::CloseAll(close) => self.table.close_all(close),
            Command::Kick(target, before) => {
                let (_, before) = self.with_table(room, now, |table, turn| {
                    table.kick(|speaker, id, _| target.matches(speaker, id), before, turn)
                });
                if before > 0 {
                    self.commands.push_back(Command::Kick(target, before));
                }
            }
        }
    }

    /// Hands every connection over.
    pub fn hand_over(&mut self, room: &Room, now: Now) -> Vec<(ConnectionSnapshot, Side)> {
        self.table.tick(now);
        self.run_commands(room, now);
        self.table.hand_over(now)
    }

    fn run_pending(&mut self, room: &Room, now: Now) {
        for PendingAction { id, action, actor } in std::mem::take(&mut self.pending) {
            let mut text = Vec::new();
            match room.decide(&action, &actor, now.tim) {
                Ok(changed) => {
                    ack(&action, &ActDone::changed(changed), now.tim, &mut text);
                }
                Err(error) => nack(error, now.tim, &mut text),
            }
            self.with_table(room, now, |table, turn| table.send_notice(id, &text, turn));
        }
    }

    fn with_table<T>(
        &mut self,
        room: &Room,
        now: Now,
        act: impl FnOnce(&mut Table<Side>, &mut Turn<'_>) -> T,
    ) -> T {
        let Self { settings, table, batch, pending, .. } = self;
        let (rules, limits) = (&settings.rules, &settings.limits);
        let (clock_us, time_of_day, client_log) = (&|| 0, &|| now.tim, &ClientLog::default());
        let mut turn =
            Turn { now, clock_us, time_of_day, room, rules, limits, batch, pending, client_log };
        act(table, &mut turn)
    }
}
