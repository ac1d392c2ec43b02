//! Signals: SIGHUP reloads, SIGTERM and SIGINT stop, SIGUSR2 hands over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use nix::sys::signal::SigSet;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator;
use tokio::sync::{Notify, mpsc};

/// How a signal ends the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Close every connection (SIGTERM, SIGINT).
    Stop,
    /// Hand every connection over to the next process (SIGUSR2).
    HandOver,
}

/// The signals that have arrived. (tokio's own panic if no descriptor is left.)
pub struct Signals {
    shutdowns: mpsc::Receiver<Shutdown>,
    reload: Arc<Notify>,
}

/// Shutdowns that may wait; the thread blocks when there are more.
const SHUTDOWNS_MAX: usize = 16;

impl Signals {
    /// Starts a thread that catches the signals.
    pub fn catch() -> io::Result<Self> {
        // A process inherits the mask of blocked signals.
        SigSet::empty().thread_set_mask()?;
        // Under a limit of file sizes, a write that is too long then fails in the
        // record only, instead of killing the process.
        signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::<AtomicBool>::default())?;
        let mut signals = iterator::Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
        let (sender, shutdowns) = mpsc::channel(SHUTDOWNS_MAX);
        let reload = Arc::<Notify>::default();
        let reload_sender = Arc::clone(&reload);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let sent = match signal {
                    SIGHUP => {
                        reload_sender.notify_one();
                        Ok(())
                    }
                    SIGUSR2 => sender.blocking_send(Shutdown::HandOver),
                    _ => sender.blocking_send(Shutdown::Stop),
                };
                if sent.is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { shutdowns, reload })
    }

    /// Waits for the next signal; `None` is a reload.
    pub async fn next(&mut self) -> Option<Shutdown> {
        tokio::select! {
            biased;
            shutdown = self.shutdowns.recv() => Some(shutdown.unwrap_or(Shutdown::Stop)),
            () = self.reload.notified() => None,
        }
    }

    /// Does `work`, or drops it and returns the shutdown if one comes first. A reload
    /// comes out of [`next`](Self::next) later.
    pub async fn unless_shutdown<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Shutdown> {
        tokio::select! {
            done = work => Ok(done),
            shutdown = self.shutdowns.recv() => Err(shutdown.unwrap_or(Shutdown::Stop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_shutdown_overtakes_a_reload_and_the_reload_is_kept() {
        let (sender, shutdowns) = mpsc::channel(SHUTDOWNS_MAX);
        let mut signals = Signals { shutdowns, reload: Arc::default() };
        assert_eq!(signals.unless_shutdown(async { 1 }).await, Ok(1));
        signals.reload.notify_one();
        sender.send(Shutdown::HandOver).await.unwrap();
        let ended = signals.unless_shutdown(pending::<()>()).await;
        assert_eq!((ended, signals.next().await), (Err(Shutdown::HandOver), None));
    }
}
