//! Epoll watches, and what is done when the system has no more of them for this
//! user (`fs.epoll.max_user_watches`, epoll(7)).
//!
//! Each socket that is waited for takes one, and nobody can tell how many are left.
//! So some are held in reserve: when there is no other, the reserve is let go for
//! those who were promised a place already, and for those who are to hear that
//! there is none; and nobody else comes in until it can be held again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::server::lock;

/// Who needs a watch, and how many are in reserve for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A shard, for a connection that was let in.
    Shard,
    /// The door and the sockets of operators, to answer somebody.
    Answer,
}

/// The reserve of each need, in the order of their declaration.
const RESERVED: [usize; 2] = [16, 48];
/// The least time between two tries to hold the reserve again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The least time between two log lines about a lack.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The watches of this process, as far as they can be kept account of.
#[derive(Debug)]
pub struct EpollWatches {
    /// Some of the reserve is not held.
    short: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reserves: [Option<Reserve>; RESERVED.len()],
    tried: Option<Instant>,
    told: Option<Instant>,
    /// The log knows of the lack.
    told_short: bool,
}

impl Default for EpollWatches {
    fn default() -> Self {
        let watches = Self { short: true.into(), state: Mutex::default() };
        watches.hold();
        watches
    }
}

impl EpollWatches {
    /// Does `add`, which adds a watch; if there is none left, it does so again
    /// with what was in reserve for this need.
    ///
    /// # Errors
    ///
    /// The last one of `add`, with what it gives back.
    pub fn add<T, Back>(
        &self,
        need: Need,
        from: Back,
        mut add: impl FnMut(Back) -> Result<T, (Back, io::Error)>,
    ) -> Result<T, (Back, io::Error)> {
        match add(from) {
            Err((back, error)) if self.release(need, &error) => add(back),
            done => done,
        }
    }

    /// Lets go of what is in reserve for `need` if `error` says that there is no
    /// watch left. Gives back whether that may help.
    fn release(&self, need: Need, error: &io::Error) -> bool {
        if Errno::from_io_error(error) != Some(Errno::NOSPC) {
            return false;
        }
        let mut state = lock(&self.state);
        self.short.store(true, Ordering::Relaxed);
        let now = Instant::now();
        if state.told.is_none_or(|told| told + LOG_INTERVAL <= now) {
            (state.told, state.told_short) = (Some(now), true);
            warn!(
                "no epoll watch is left for this user (fs.epoll.max_user_watches); new clients \
                 are answered with 503"
            );
        }
        state.tried = Some(now);
        // Whoever is let in must not take the last chance to hear an answer.
        match need {
            Need::Shard => state.reserves[0].take().is_some(),
            Need::Answer => std::mem::take(&mut state.reserves).iter().any(Option::is_some),
        }
    }

    /// Whether there may be none for another connection. Tries at times to hold
    /// the reserve again.
    pub fn are_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) && !self.hold()
    }

    /// Holds the whole reserve, if it can.
    fn hold(&self) -> bool {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if state.tried.is_some_and(|tried| tried + RETRY_INTERVAL > now) {
            return false;
        }
        state.tried = Some(now);
        for (reserve, watches) in state.reserves.iter_mut().zip(RESERVED) {
            if reserve.is_none() {
                *reserve = Reserve::new(watches).ok();
            }
        }
        let whole = state.reserves.iter().all(Option::is_some);
        self.short.store(!whole, Ordering::Relaxed);
        if whole && std::mem::take(&mut state.told_short) {
            info!("there are epoll watches again");
        }
        whole
    }
}

/// Watches that nobody needs yet: of the copies of one file that nothing comes from.
#[derive(Debug)]
struct Reserve {
    _epoll: OwnedFd,
    _file: OwnedFd,
}

impl Reserve {
    fn new(watches: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let file = eventfd(0, EventfdFlags::CLOEXEC)?;
        // A watch is of a file and a number. It stays when the number is closed, for
        // as long as the file is open elsewhere (epoll(7), questions and answers).
        let copies: io::Result<Vec<_>> = (0..watches).map(|_| file.try_clone()).collect();
        for copy in &copies? {
            epoll::add(&epoll, copy, EventData::new_u64(0), EventFlags::empty())?;
        }
        Ok(Self { _epoll: epoll, _file: file })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::config::Config;
    use crate::server::{Peer, Rejection, Settings, ShardPool, Socket};

    /// A system that has so many watches left.
    fn add(watches: &EpollWatches, need: Need, left: &mut usize) -> bool {
        let held = || lock(&watches.state).reserves.iter().flatten().count();
        let before = held();
        let added = watches.add(need, (), |()| {
            *left += (before - held()) * 8;
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return Err(((), Errno::NOSPC.into())),
            }
            Ok(())
        });
        added.is_ok()
    }

    #[test]
    fn the_reserve_is_for_those_who_were_promised_a_place_and_for_answers() {
        let watches = EpollWatches::default();
        assert!(!watches.are_short());
        let mut left = 1;
        assert!(add(&watches, Need::Shard, &mut left));
        assert!(!watches.are_short());
        for _ in 0..8 {
            assert!(add(&watches, Need::Shard, &mut left));
            assert!(watches.are_short());
        }
        assert!(!add(&watches, Need::Shard, &mut left), "the rest is for answers");
        assert!(add(&watches, Need::Answer, &mut left));
        left = 0;
        assert!(!add(&watches, Need::Answer, &mut left));
    }

    #[test]
    fn the_reserve_is_held_again_when_it_can_be() {
        let watches = EpollWatches::default();
        add(&watches, Need::Answer, &mut 0);
        assert!(watches.are_short(), "not at once");
        lock(&watches.state).tried = None;
        assert!(!watches.are_short());
        assert!(lock(&watches.state).reserves.iter().all(Option::is_some));
    }

    #[test]
    fn other_errors_are_none_of_its_business() {
        let watches = EpollWatches::default();
        let failed: Result<(), _> =
            watches.add(Need::Answer, 7, |back| Err((back, Errno::MFILE.into())));
        assert_eq!(failed.unwrap_err().0, 7);
        assert!(!watches.are_short());
    }

    fn hub() -> (ShardPool, Settings) {
        let settings = Settings::new(&Config::default());
        let hub =
            ShardPool::start(1, Arc::new(Settings::new(&Config::default())), Default::default());
        (hub.unwrap(), settings)
    }

    #[test]
    fn nobody_else_comes_in_while_there_are_none() {
        let (hub, settings) = hub();
        drop(hub.seat(Peer::Unix, &settings.limits).unwrap());
        let none: Result<(), _> =
            hub.watches().add(Need::Shard, (), |()| Err(((), Errno::NOSPC.into())));
        assert!(none.is_err());
        let refused = hub.seat(Peer::Unix, &settings.limits).err();
        assert_eq!((refused, hub.listeners()), (Some(Rejection::System), 0));
    }

    #[test]
    fn a_connection_that_cannot_be_watched_is_counted() {
        let (hub, settings) = hub();
        // No file of a disk can be watched.
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        let seat = hub.seat(Peer::Unix, &settings.limits).unwrap();
        hub.adopt(seat, Socket::Unix(file.into()), Peer::Unix, Bytes::new(), 1024);
        hub.wake_adopters();
        let rejected = || hub.totals().counters.rejected[Rejection::System as usize];
        let start = Instant::now();
        while rejected() == 0 || hub.listeners() > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "it is not counted");
            std::thread::yield_now();
        }
        assert_eq!(rejected(), 1);
    }
}
