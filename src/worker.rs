//! Work that may block, away from the event loops.

use std::io;
use std::thread;

use tokio::sync::oneshot::{self, Receiver};

/// Runs `work` on a new thread called `name`. The receiver gets its result, or an error
/// if `work` panics.
///
/// A runtime's pool panics if the system has no thread left, and waits for blocked
/// threads when the process ends.
///
/// # Errors
///
/// The system has no thread left.
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
        // The receiver may be dropped.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}
