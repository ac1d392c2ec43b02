//! The senders' side of the loop: what is due goes out.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

use super::super::pace::Pace;
use super::{Load, Stop};
use crate::ws::frame::put_client;

/// Bytes that a sender may have ready and not sent; then it waits with new ones.
const OUT_MAX: usize = 1 << 20;

impl Load {
    /// Sends all messages that are due, the senders taking turns.
    #[inline]
    pub(super) fn speak(&mut self, now_ns: u64) -> Result<(), Stop> {
        if self.pace.is_due(now_ns, self.ledger.on_the_way()) { self.say(now_ns) } else { Ok(()) }
    }

    fn say(&mut self, now_ns: u64) -> Result<(), Stop> {
        while let Some(sender) = self.next_sender() {
            let Some(stamp_ns) = self.pace.take(now_ns, self.ledger.on_the_way()) else { break };
            let mark = self.ledger.send(sender as u16, stamp_ns);
            put_client(0x81, self.texts.write(mark).as_bytes(), &mut self.outs[sender]);
            self.turn = sender + 1;
        }
        // All that a sender has goes out in one write.
        (0..self.outs.len()).try_for_each(|sender| self.flush(sender))
    }

    /// The next in turn that is not held up by the server.
    fn next_sender(&self) -> Option<usize> {
        let count = self.outs.len();
        (self.turn..self.turn + count)
            .map(|turn| turn % count)
            .find(|sender| self.outs[*sender].len() < OUT_MAX)
    }

    /// Writes what a sender has ready, as far as its socket takes it.
    pub(super) fn flush(&mut self, sender: usize) -> Result<(), Stop> {
        let Some(out) = self.outs.get_mut(sender).filter(|out| !out.is_empty()) else {
            return Ok(());
        };
        while !out.is_empty() {
            match self.clients[sender].stream.write(out) {
                Ok(count) => drop(out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.over(sender, &error.to_string()),
            }
        }
        Ok(())
    }

    /// Lets the poll wake up when the next message is due.
    pub(super) fn set_timer(&mut self, now_ns: u64) -> Result<(), Stop> {
        let Pace::Rate { due_ns, .. } = self.pace else { return Ok(()) };
        if due_ns == self.timer_ns {
            return Ok(());
        }
        self.timer_ns = due_ns;
        // A timer of zero would be none.
        let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns).max(1));
        let value = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: wait.as_secs() as i64,
                tv_nsec: i64::from(wait.subsec_nanos()),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)
            .map_err(io::Error::from)?;
        Ok(())
    }
}
