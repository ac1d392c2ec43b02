//! Epoll watches, and a reserve for when the system has no more of them for this user
//! (`fs.epoll.max_user_watches`, epoll(7)).
//!
//! Each registered socket takes a watch, and no system call tells how many are left. So this
//! holds some in reserve. When no other is left, the reserve is released for admitted
//! connections and for error responses, and no connection is admitted until the reserve is
//! complete again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::log_limit::LogLimit;
use crate::mutex::lock;

/// What a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchUse {
    /// An admitted connection.
    Connection,
    /// A response to a client or an operator.
    Response,
}

/// The watches in reserve for each [`WatchUse`], in the order of declaration.
const RESERVED: [usize; 2] = [16, 48];
/// The shortest time between two tries to complete the reserve.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two warnings.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Whether there are epoll watches, and those in reserve.
#[derive(Debug)]
pub struct EpollWatches {
    /// The reserve is not complete.
    are_exhausted: AtomicBool,
    reserve: Mutex<WatchReserve>,
    log_limit: LogLimit,
}

#[derive(Debug, Default)]
struct WatchReserve {
    parts: [Option<ReservedWatches>; RESERVED.len()],
    tried_at: Option<Instant>,
}

impl Default for EpollWatches {
    fn default() -> Self {
        let log_limit = LogLimit::new(LOG_INTERVAL);
        let watches = Self { are_exhausted: true.into(), reserve: Mutex::default(), log_limit };
        watches.complete_reserve();
        watches
    }
}

impl EpollWatches {
    /// Calls `register`, which takes a watch. If no watch is left, releases the reserve for
    /// this `purpose` and calls it again.
    ///
    /// # Errors
    ///
    /// The last one of `register`, with the socket that it gives back.
    pub fn register<T, S>(
        &self,
        purpose: WatchUse,
        socket: S,
        mut register: impl FnMut(S) -> Result<T, (S, io::Error)>,
    ) -> Result<T, (S, io::Error)> {
        match register(socket) {
            Err((socket, error))
                if Errno::from_io_error(&error) == Some(Errno::NOSPC) && self.release(purpose) =>
            {
                register(socket)
            }
            result => result,
        }
    }

    /// Releases the reserve for `purpose`. Returns whether there was any.
    fn release(&self, purpose: WatchUse) -> bool {
        let mut reserve = lock(&self.reserve);
        self.are_exhausted.store(true, Ordering::Relaxed);
        let now = Instant::now();
        if self.log_limit.problem(now) {
            warn!(
                "no epoll watch is left for this user (fs.epoll.max_user_watches); new clients \
                 get status 503"
            );
        }
        reserve.tried_at = Some(now);
        match purpose {
            // Leaves the other part, so that rejected clients still get a response.
            WatchUse::Connection => reserve.parts[0].take().is_some(),
            WatchUse::Response => std::mem::take(&mut reserve.parts).iter().any(Option::is_some),
        }
    }

    /// Whether there may be no watch for another connection. Tries at intervals to complete
    /// the reserve.
    pub fn are_exhausted(&self) -> bool {
        self.are_exhausted.load(Ordering::Relaxed) && !self.complete_reserve()
    }

    /// Completes the reserve, if the last try is long enough ago. Returns whether it is
    /// complete.
    fn complete_reserve(&self) -> bool {
        let mut reserve = lock(&self.reserve);
        let now = Instant::now();
        if reserve.tried_at.is_some_and(|tried_at| tried_at + RETRY_INTERVAL > now) {
            return false;
        }
        reserve.tried_at = Some(now);
        for (part, count) in reserve.parts.iter_mut().zip(RESERVED) {
            if part.is_none() {
                *part = ReservedWatches::new(count).ok();
            }
        }
        let is_complete = reserve.parts.iter().all(Option::is_some);
        self.are_exhausted.store(!is_complete, Ordering::Relaxed);
        if is_complete && self.log_limit.end() {
            info!("epoll watches are available again");
        }
        is_complete
    }
}

/// Watches on duplicates of one event descriptor, which never becomes ready.
#[derive(Debug)]
struct ReservedWatches {
    _epoll: OwnedFd,
    _event: OwnedFd,
}

impl ReservedWatches {
    fn new(count: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        // A watch is of a descriptor number and an open file. It outlives the number for as
        // long as the file is open under another one (epoll(7), questions and answers).
        let duplicates: io::Result<Vec<_>> = (0..count).map(|_| event.try_clone()).collect();
        for duplicate in &duplicates? {
            epoll::add(&epoll, duplicate, EventData::new_u64(0), EventFlags::empty())?;
        }
        Ok(Self { _epoll: epoll, _event: event })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::feed::Encoding;
    use crate::room::Start;
    use crate::server::{Peer, Rejection, Settings, ShardPool, Socket};

    /// Registers in a system that has `left` watches; each part of the reserve has eight.
    fn register(watches: &EpollWatches, purpose: WatchUse, left: &mut usize) -> bool {
        let parts = || lock(&watches.reserve).parts.iter().flatten().count();
        let parts_before = parts();
        let take_one = |()| {
            *left += (parts_before - parts()) * 8;
            *left = left.checked_sub(1).ok_or(((), io::Error::from(Errno::NOSPC)))?;
            Ok(())
        };
        watches.register(purpose, (), take_one).is_ok()
    }

    #[test]
    fn the_reserve_is_for_admitted_connections_and_for_responses() {
        use WatchUse::{Connection, Response};
        let watches = EpollWatches::default();
        assert!(!watches.are_exhausted());
        let mut left = 1;
        assert!(register(&watches, Connection, &mut left));
        assert!(!watches.are_exhausted());
        for _ in 0..8 {
            assert!(register(&watches, Connection, &mut left));
            assert!(watches.are_exhausted());
        }
        assert!(!register(&watches, Connection, &mut left), "the rest is for responses");
        assert!(register(&watches, Response, &mut left));
        left = 0;
        assert!(!register(&watches, Response, &mut left));
        // The reserve is completed when that is possible, but not at once.
        assert!(watches.are_exhausted());
        lock(&watches.reserve).tried_at = None;
        assert!(!watches.are_exhausted());
        assert!(lock(&watches.reserve).parts.iter().all(Option::is_some));
    }

    #[test]
    fn other_errors_do_not_release_the_reserve() {
        let watches = EpollWatches::default();
        let result: Result<(), _> =
            watches.register(WatchUse::Response, 7, |seven| Err((seven, Errno::MFILE.into())));
        assert_eq!(result.unwrap_err().0, 7);
        assert!(!watches.are_exhausted());
    }

    fn start() -> (ShardPool, Arc<Settings>) {
        let settings = Arc::new(Settings::new(&Config::default()));
        (ShardPool::start_empty(1, Arc::clone(&settings)).unwrap(), settings)
    }

    #[test]
    fn no_connection_is_admitted_without_a_watch() {
        let (shards, settings) = start();
        drop(shards.admit(Peer::Unix, Encoding::Frames, Start::Live, &settings.limits).unwrap());
        let none_left = |()| Err::<(), _>(((), Errno::NOSPC.into()));
        shards.watches().register(WatchUse::Connection, (), none_left).unwrap_err();
        let refused =
            shards.admit(Peer::Unix, Encoding::Frames, Start::Live, &settings.limits).err();
        assert_eq!((refused, shards.listeners()), (Some(Rejection::System), 0));
    }

    #[test]
    fn an_admitted_connection_without_a_watch_is_counted() {
        let (shards, settings) = start();
        // No file of a disk can be watched.
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        let connection =
            shards.admit(Peer::Unix, Encoding::Frames, Start::Live, &settings.limits).unwrap();
        shards.adopt(connection, Socket::from(file), Vec::new());
        shards.wake_adopters();
        let rejected = || shards.totals().counters.rejected[Rejection::System as usize];
        let start = Instant::now();
        while rejected() == 0 || shards.listeners() > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "it is not counted");
            std::thread::yield_now();
        }
        assert_eq!(rejected(), 1);
    }
}
