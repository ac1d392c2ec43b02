//! Who may use the control socket: root, the daemon's own user, and whoever is
//! in its group.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};
use tokio::net::UnixStream;

/// What is known of whoever connected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    uid: u32,
    gid: u32,
    groups: Groups,
}

/// The supplementary groups of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Groups {
    Known(Vec<u32>),
    /// A sandbox hides other users' processes. `closed` says whether the file's
    /// mode lets in nobody but user and group: then the kernel has checked.
    Hidden {
        closed: bool,
    },
}

/// The user who is the peer of `stream`, which came through the socket at `path`,
/// if it may ask.
///
/// # Errors
///
/// The system's, if it does not know who that is.
pub fn asking(stream: &UnixStream, path: &Path) -> io::Result<Option<u32>> {
    let credentials = stream.peer_cred()?;
    let known = credentials.pid().and_then(groups_of);
    let peer = Peer {
        uid: credentials.uid(),
        gid: credentials.gid(),
        groups: match known {
            Some(groups) => Groups::Known(groups),
            None => Groups::Hidden { closed: is_closed(path, getegid().as_raw()) },
        },
    };
    Ok(peer.may_ask(geteuid().as_raw(), getegid().as_raw()).then_some(peer.uid))
}

impl Peer {
    /// Whether it may ask a daemon of this user and group.
    fn may_ask(&self, uid: u32, gid: u32) -> bool {
        self.uid == 0
            || self.uid == uid
            || self.gid == gid
            || match &self.groups {
                Groups::Known(groups) => groups.contains(&gid),
                Groups::Hidden { closed } => *closed,
            }
    }
}

/// The supplementary groups of a process, if we may see it.
fn groups_of(pid: i32) -> Option<Vec<u32>> {
    groups_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The groups in the text of a `/proc/PID/status` (proc(5)).
fn groups_in(status: &str) -> Option<Vec<u32>> {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    groups.split_ascii_whitespace().map(|group| group.parse().ok()).collect()
}

/// Whether only the owner and the group `gid` can connect to the socket there:
/// connect(2) takes the permission to write to its file.
fn is_closed(path: &Path, gid: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.mode() & 0o007 == 0 && file.gid() == gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask_a_daemon_of_user_990_and_group_980() {
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
            let peer = Peer { uid, gid, groups };
            assert_eq!(peer.may_ask(990, 980), want, "{peer:?}");
        }
    }

    #[test]
    fn groups_of_a_process() {
        let check = |status, want: Option<&[u32]>| {
            assert_eq!(groups_in(status).as_deref(), want, "{status:?}");
        };
        check("Name:\tx\nGroups:\t4 27 1000 \nNStgid:\t1\n", Some(&[4, 27, 1000]));
        check("Groups:\t \n", Some(&[]));
        check("Groups:\t4 x\n", None);
        check("Name:\tGroups: 4\n", None);
        check("", None);
        assert!(groups_of(std::process::id() as i32).is_some());
    }
}
