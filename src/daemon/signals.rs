//! Signals, as values that the daemon waits for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use nix::sys::signal::SigSet;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc::{self, Receiver};

/// What the daemon is asked to do by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read the configuration again (SIGHUP).
    Reload,
    /// Say goodbye and end (SIGTERM, SIGINT).
    Stop,
    /// Leave the room to the next process and end (SIGUSR2).
    HandOver,
}

/// Requests that may wait; signals of one kind become one anyway.
const WAITING_MAX: usize = 16;

/// The requests in the order in which they came.
#[derive(Debug)]
pub struct Requests {
    receiver: Receiver<Request>,
    /// A reload was asked for while only the end was waited for.
    reload: bool,
}

/// Catches the signals from now on, on a thread of its own.
///
/// # Errors
///
/// The system's: no pipe, no thread.
pub fn catch() -> io::Result<Requests> {
    // Who started us may have blocked signals, and a process inherits that.
    SigSet::empty().thread_set_mask()?;
    // Under a limit of file sizes, a write that is too long is an error of the
    // record, which can live with it, and not the end of the room.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::<AtomicBool>::default())?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let sent = match signal {
                // If so many wait already, this one is among them.
                SIGHUP => match sender.try_send(Request::Reload) {
                    Err(mpsc::error::TrySendError::Closed(_)) => break,
                    _ => Ok(()),
                },
                SIGUSR2 => sender.blocking_send(Request::HandOver),
                _ => sender.blocking_send(Request::Stop),
            };
            if sent.is_err() {
                break;
            }
        }
    })?;
    Ok(Requests { receiver, reload: false })
}

impl Requests {
    /// Waits for the next request; none if the signals' thread has ended.
    pub async fn next(&mut self) -> Option<Request> {
        if std::mem::take(&mut self.reload) {
            return Some(Request::Reload);
        }
        self.receiver.recv().await
    }

    /// Waits for a request to end, as [`next`](Self::next) does for any. A reload
    /// that is asked for meanwhile comes out of [`next`](Self::next) later.
    pub async fn end(&mut self) -> Option<Request> {
        loop {
            match self.receiver.recv().await {
                Some(Request::Reload) => self.reload = true,
                end => return end,
            }
        }
    }

    /// Does `work` unless a request to end comes before it is done.
    ///
    /// # Errors
    ///
    /// That request, as [`end`](Self::end) gives it.
    pub async fn unless_ended<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Option<Request>> {
        tokio::select! {
            done = work => Ok(done),
            end = self.end() => Err(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_end_overtakes_a_reload_and_the_reload_is_kept() {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut requests = Requests { receiver, reload: false };
        assert_eq!(requests.unless_ended(async { 1 }).await, Ok(1));
        for request in [Request::Reload, Request::HandOver, Request::Stop] {
            sender.send(request).await.unwrap();
        }
        let ended = requests.unless_ended(pending::<()>()).await;
        assert_eq!(ended, Err(Some(Request::HandOver)));
        assert_eq!(requests.next().await, Some(Request::Reload));
        assert_eq!(requests.next().await, Some(Request::Stop));
    }
}
