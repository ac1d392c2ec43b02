//! systemd's file descriptor store (sd_pid_notify_with_fds(3), `FileDescriptorStoreMax=` in
//! systemd.service(5)).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::daemon::notify::ServiceManager;

/// The prefix of the names of the descriptors of a handover, which a number follows.
pub const NAME: &str = "wschat-handover-";
/// The prefix of the name of the tail file, which a number follows.
pub const TAIL_NAME: &str = "wschat-tail-";
/// The prefix of the names of the room's listening sockets, which a number follows.
pub const LISTENER_NAME: &str = "wschat-listener-";

/// How long systemd may take to store all descriptors.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether systemd keeps stored descriptors until the next process starts.
pub fn exists(manager: &ServiceManager) -> bool {
    if !manager.exists() {
        return false;
    }
    // systemd sets FDSTORE since version 254. Before that, our unit file is trusted.
    env::var("FDSTORE").is_ok_and(|max| max != "0") || systemd_version().is_some_and(|v| v < 254)
}

/// Stores descriptors under the numbers from 0 on, and waits until systemd has received
/// them. A full store, or an old systemd without one, drops them without an error.
pub fn store<'fd>(
    manager: &ServiceManager,
    descriptors: impl Iterator<Item = BorrowedFd<'fd>>,
) -> io::Result<()> {
    let deadline = Instant::now() + STORE_TIMEOUT;
    for (number, descriptor) in descriptors.enumerate() {
        send(manager, deadline, &format!("{NAME}{number}"), descriptor)?;
    }
    barrier(manager, deadline)
}

/// Stores a descriptor under this prefix and number. Does not wait: systemd handles it before
/// it learns that the process has ended.
pub fn store_one(
    manager: &ServiceManager,
    prefix: &str,
    number: u32,
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    send(manager, Instant::now() + STORE_TIMEOUT, &format!("{prefix}{number}"), descriptor)
}

/// Removes the descriptors with this prefix and these numbers.
pub fn remove(manager: &ServiceManager, prefix: &str, numbers: impl Iterator<Item = u32>) {
    numbers.for_each(|number| manager.remove_stored(format!("{prefix}{number}")));
}

fn send(
    manager: &ServiceManager,
    deadline: Instant,
    name: &str,
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    // Without FDPOLL=0 systemd drops a socket when the other end of its pair is closed.
    let text = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n");
    manager.send_by(deadline, &text, &[descriptor])
}

/// Waits until systemd has handled all previous notifications (`BARRIER=1`).
fn barrier(manager: &ServiceManager, deadline: Instant) -> io::Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    manager.send_by(deadline, "BARRIER=1\n", &[theirs.as_fd()])?;
    drop(theirs);
    let left = deadline.saturating_duration_since(Instant::now());
    // A timeout of zero is invalid.
    ours.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    // It ends when systemd closes the other end.
    ours.read_to_end(&mut Vec::new()).map(drop).map_err(|_| io::ErrorKind::TimedOut.into())
}

/// The version of systemd, from the name of the library that its parts share: to ask
/// systemd would require a program or a bus, which the sandbox excludes.
fn systemd_version() -> Option<u32> {
    let multiarch = format!("/usr/lib/{}-linux-gnu/systemd", env::consts::ARCH);
    [&multiarch, "/usr/lib/systemd", "/usr/lib64/systemd"]
        .into_iter()
        .flat_map(fs::read_dir)
        .flatten()
        .flatten()
        .filter_map(|entry| version_in(&entry.file_name().to_string_lossy()))
        .max()
}

/// The version in a name like `libsystemd-shared-252.so`.
fn version_in(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("libsystemd-shared-")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_names() {
        assert_eq!(version_in("libsystemd-shared-252.so"), Some(252));
        assert_eq!(version_in("libsystemd-shared-257.9-1.fc42.so"), Some(257));
        assert_eq!(version_in("libsystemd-core-257.so"), None);
    }
}
