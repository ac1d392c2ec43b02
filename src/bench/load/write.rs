//! The sending part of the loop.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

use super::super::schedule::Schedule;
use super::{BenchError, Load};
use crate::ws::frame::put_client;

/// A sender with more unsent bytes than this gets no new messages.
const UNSENT_BYTES_MAX: usize = 1 << 20;

impl Load {
    /// Sends all messages that are due; the senders take turns.
    #[inline]
    pub(super) fn send_due(&mut self, now_ns: u64) -> Result<(), BenchError> {
        if self.schedule.is_due(now_ns, self.tracker.in_flight()) {
            self.send(now_ns)?;
        }
        Ok(())
    }

    fn send(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let count = self.send_buffers.len();
        let has_space = |buffer: &Vec<u8>| buffer.len() < UNSENT_BYTES_MAX;
        while let Some(sender) = (self.next_sender..self.next_sender + count)
            .map(|sender| sender % count)
            .find(|sender| has_space(&self.send_buffers[*sender]))
        {
            let Some(due_ns) = self.schedule.take(now_ns, self.tracker.in_flight()) else { break };
            let id = self.tracker.send(sender as u16, due_ns);
            put_client(0x81, self.format.write(id).as_bytes(), &mut self.send_buffers[sender]);
            self.next_sender = sender + 1;
        }
        // One write for all messages of a sender.
        (0..count).try_for_each(|sender| self.flush(sender))
    }

    /// Writes what a sender has to send, as far as its socket takes it.
    pub(super) fn flush(&mut self, sender: usize) -> Result<(), BenchError> {
        let Some(buffer) = self.send_buffers.get_mut(sender) else { return Ok(()) };
        while !buffer.is_empty() {
            match self.connections[sender].stream.write(buffer) {
                Ok(count) => drop(buffer.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.closed(sender, &error.to_string()),
            }
        }
        Ok(())
    }

    /// Makes the poll return when the next message is due.
    pub(super) fn set_timer(&mut self, now_ns: u64) -> io::Result<()> {
        let Schedule::Rate { due_ns, .. } = self.schedule else { return Ok(()) };
        if due_ns == self.timer_ns {
            return Ok(());
        }
        self.timer_ns = due_ns;
        // Zero would disarm the timer.
        let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns).max(1));
        let it_value =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let value = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        Ok(())
    }
}
