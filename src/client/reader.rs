//! Notices when nobody reads our output any more.

use std::future::{Future, pending};
use std::io;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

/// Waits until the reader of stdout is gone, so that `wschat join … | head -1`
/// ends at once and not with the next message. Forever where stdout is a file.
pub fn stdout_gone() -> impl Future<Output = ()> {
    let (gone, told) = oneshot::channel();
    // The wait cannot be called off, so it gets a thread that nobody joins.
    thread::spawn(move || {
        let stdout = io::stdout();
        // Asked for nothing, poll(2) still reports that the other end closed.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        loop {
            match poll(&mut watched, None) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    // Nobody listens any more once the client has ended by itself.
                    let _ = gone.send(());
                    break;
                }
                Err(_) => break,
            }
        }
    });
    async {
        if told.await.is_err() {
            pending().await
        }
    }
}
