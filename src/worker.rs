//! Work that may take long, or may not end at all, away from the event loops.

use std::io;
use std::thread;

use tokio::sync::oneshot::{self, Receiver};

/// Runs `work` on a new thread called `name`. The result comes out of the
/// receiver; an error comes out if `work` panics.
///
/// Unlike a runtime's pool this reports that the system has no thread left, and
/// a thread that is blocked for ever does not keep the process from ending.
///
/// # Errors
///
/// The system's, if it has no thread left.
///
/// # Examples
///
/// ```
/// let sum = wschat::worker::on_thread("sum", || 1 + 1).unwrap();
/// assert_eq!(sum.blocking_recv(), Ok(2));
/// ```
pub fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Whoever asked may have stopped waiting.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}
