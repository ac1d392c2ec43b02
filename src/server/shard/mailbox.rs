//! The commands for a shard, and its report.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mio::Waker;

use crate::mutex::lock;
use crate::server::counters::Counters;
use crate::server::shard::command::ShardCommand;
use crate::server::socket::Peer;

/// The commands for a shard, and what it reports after each turn.
pub(crate) struct Mailbox {
    commands: Mutex<Vec<ShardCommand>>,
    waker: Waker,
    /// The shard waits for events, or is about to: a new command has to wake it.
    asleep: AtomicBool,
    /// The newest [health check](crate::server::ShardPool::all_respond) that it has seen.
    pub health_check: AtomicU64,
    pub report: Mutex<ShardReport>,
}

/// The state of a shard after its last turn.
#[derive(Default)]
pub(crate) struct ShardReport {
    pub lagging: usize,
    /// The cursor, the id and the address of the connection that is furthest behind.
    pub slowest: Option<(u64, u64, Peer)>,
    pub counters: Counters,
}

impl Mailbox {
    pub fn new(waker: Waker) -> Self {
        Self {
            commands: Mutex::default(),
            waker,
            asleep: false.into(),
            health_check: 0.into(),
            report: Mutex::default(),
        }
    }

    /// Sends a command, and wakes the shard.
    pub fn send(&self, command: ShardCommand) {
        self.push(command);
        self.wake();
    }

    /// Sends a command that can wait until the shard is [woken](Self::wake).
    pub fn push(&self, command: ShardCommand) {
        lock(&self.commands).push(command);
    }

    /// Wakes the shard if it waits.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // This fails only if the shard's event queue is gone, and so the shard.
            let _ = self.waker.wake();
        }
    }

    pub fn has_commands(&self) -> bool {
        !lock(&self.commands).is_empty()
    }

    pub fn take_commands(&self) -> Vec<ShardCommand> {
        std::mem::take(&mut lock(&self.commands))
    }

    /// The shard starts or stops to wait for events.
    pub fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }
}
