//! How many descriptors this process may have.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::DESCRIPTORS_RESERVED;

/// Raises the soft limit of open files to the hard one, and returns it; none
/// is no limit. The soft one is 1024 for programs that use select(2).
///
/// # Errors
///
/// The system's; the limit is then what it was.
pub fn raise_descriptors() -> io::Result<Option<u64>> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    Ok(hard)
}

/// How many connections of `wanted` the limit of `descriptors` has room for.
///
/// # Examples
///
/// ```
/// use wschat::daemon::limits::connections;
/// assert_eq!(connections(100_000, Some(20_000)), 19_936);
/// assert_eq!(connections(100, Some(20_000)), 100);
/// assert_eq!(connections(100_000, None), 100_000);
/// ```
pub fn connections(wanted: usize, descriptors: Option<u64>) -> usize {
    let possible = descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(DESCRIPTORS_RESERVED));
    wanted.min(usize::try_from(possible).unwrap_or(usize::MAX)).max(1)
}
