//! Signals, as values that the daemon waits for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

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

/// Catches the signals from now on, on a thread of its own.
///
/// # Errors
///
/// The system's: no pipe, no thread.
pub fn catch() -> io::Result<Receiver<Request>> {
    // Under a limit of file sizes, a write that is too long is an error of the
    // record, which can live with it, and not the end of the room.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::<AtomicBool>::default())?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let request = match signal {
                SIGHUP => Request::Reload,
                SIGUSR2 => Request::HandOver,
                _ => Request::Stop,
            };
            if sender.blocking_send(request).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}
