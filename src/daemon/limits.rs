//! How many descriptors this process may have.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections: the standard three, listeners, event
/// loops, the notification socket, a file that is being read.
const OTHERS: usize = 64;

/// Raises the soft limit of open files to the hard one, and returns it. The
/// soft one is 1024 for the sake of programs that use select(2).
///
/// # Errors
///
/// The system's; the limit is then what it was.
pub fn raise_descriptors() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// How many connections `descriptors` leave room for; at least one.
///
/// # Examples
///
/// ```
/// assert_eq!(wschat::daemon::limits::connections(20_000), 19_936);
/// ```
pub fn connections(descriptors: usize) -> usize {
    descriptors.saturating_sub(OTHERS).max(1)
}
