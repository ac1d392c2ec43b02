//! Who may use the control socket: root, the daemon's user, and members of its group. Who may
//! use the socket for monitoring: whom the mode of its file admits.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};
use tokio::net::UnixStream;

/// The credentials of a peer (unix(7), `SO_PEERCRED`).
#[derive(Debug)]
struct Credentials {
    uid: u32,
    gid: u32,
    groups: Groups,
}

/// The supplementary groups of a peer.
#[derive(Debug)]
enum Groups {
    Known(Vec<u32>),
    /// A sandbox hides the processes of other users. `closed` says whether the mode of
    /// the socket's file admits only user and group: then the kernel has checked.
    Hidden {
        closed: bool,
    },
}

/// The user id of the peer of `stream`, which connected to the socket at `path`; `None`
/// if the peer may not use it.
///
/// # Errors
///
/// The system's, if the peer is unknown.
pub fn permitted_uid(stream: &UnixStream, path: &Path) -> io::Result<Option<u32>> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let groups = match peer.pid().and_then(groups_of) {
        Some(groups) => Groups::Known(groups),
        None => Groups::Hidden { closed: is_closed(path, gid) },
    };
    let peer = Credentials { uid: peer.uid(), gid: peer.gid(), groups };
    Ok(peer.is_permitted(uid, gid).then_some(peer.uid))
}

/// The user id of the peer of `stream`, which connected to the socket for monitoring at `path`;
/// `None` if others than the owner and the group of its file can connect.
///
/// # Errors
///
/// The system's, if the peer is unknown.
pub fn monitoring_uid(stream: &UnixStream, path: &Path) -> io::Result<Option<u32>> {
    let is_closed = fs::symlink_metadata(path).is_ok_and(|file| file.mode() & 0o007 == 0);
    Ok(is_closed.then_some(stream.peer_cred()?.uid()))
}

impl Credentials {
    /// Whether this peer may use the socket of a daemon with this user and group.
    fn is_permitted(&self, uid: u32, gid: u32) -> bool {
        self.uid == 0
            || self.uid == uid
            || self.gid == gid
            || match &self.groups {
                Groups::Known(groups) => groups.contains(&gid),
                Groups::Hidden { closed } => *closed,
            }
    }
}

/// The supplementary groups of a process, if `/proc` shows it.
fn groups_of(pid: i32) -> Option<Vec<u32>> {
    groups_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The groups in the text of a `/proc/PID/status` (proc(5)).
fn groups_in(status: &str) -> Option<Vec<u32>> {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    groups.split_ascii_whitespace().map(|group| group.parse().ok()).collect()
}

/// Whether only the owner and the group `gid` can connect to the socket at `path`:
/// connect(2) requires write permission on its file.
fn is_closed(path: &Path, gid: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.mode() & 0o007 == 0 && file.gid() == gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_a_daemon_with_user_990_and_group_980() {
        let known = |groups: &[u32]| Groups::Known(groups.to_vec());
        for (uid, gid, groups, want) in [
            (0, 0, known(&[]), true),
            (990, 100, known(&[]), true),
            (1000, 980, known(&[]), true),
            (1000, 1000, known(&[27, 980]), true),
            (1000, 1000, known(&[27, 981]), false),
            (1000, 990, known(&[990]), false),
            (980, 1000, known(&[]), false),
            (65534, 65534, Groups::Hidden { closed: true }, true),
            (65534, 65534, Groups::Hidden { closed: false }, false),
        ] {
            let peer = Credentials { uid, gid, groups };
            assert_eq!(peer.is_permitted(990, 980), want, "{peer:?}");
        }
    }

    #[test]
    fn groups_of_a_process() {
        for (status, want) in [
            ("Name:\tx\nGroups:\t4 27 1000 \nNStgid:\t1\n", Some(vec![4, 27, 1000])),
            ("Groups:\t \n", Some(vec![])),
            ("Groups:\t4 x\n", None),
            ("Name:\tGroups: 4\n", None),
            ("", None),
        ] {
            assert_eq!(groups_in(status), want, "{status:?}");
        }
        assert!(groups_of(std::process::id() as i32).is_some());
    }
}
