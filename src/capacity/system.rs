//! The limits of the system, from proc(5).

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::proc_file::size_bytes;

/// The limits of the unit of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitLimits {
    /// `LimitNOFILESoft=` and `LimitNOFILE=`; `None` is no limit.
    pub open_files: (Option<u64>, Option<u64>),
    /// `MemoryMax=`, in bytes.
    pub memory_max: Option<u64>,
    /// `Backlog=` of the socket unit with the shortest queue.
    pub backlog: Option<u64>,
}

/// What the kernel allows. `None` is a value that this kernel does not have, or does not show
/// here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The limits of the unit, or `None` if the daemon is no unit.
    pub unit: Option<UnitLimits>,
    /// The soft and the hard limit of open files of this process, for a daemon that is started by
    /// hand; `None` is no limit.
    pub open_files: (Option<u64>, Option<u64>),
    /// The largest hard limit of open files that can be set.
    pub nr_open: Option<u64>,
    /// The open files of all processes, at most.
    pub file_max: Option<u64>,
    /// The open files of all processes but the daemon.
    pub files_used: u64,
    /// The epoll watches of one user, at most.
    pub epoll_watches: Option<u64>,
    /// The pages of memory for the data of all TCP sockets, at most.
    pub tcp_mem_pages: Option<u64>,
    /// The connections that the firewall tracks, at most.
    pub conntrack: Option<u64>,
    /// The length of the queue of a listening socket, at most.
    pub somaxconn: Option<u64>,
    /// The number of local ports for outgoing connections.
    pub local_ports: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
}

impl System {
    /// Reads them. `main_pid` is the running daemon.
    pub fn read(unit: Option<UnitLimits>, main_pid: Option<u32>) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let system = Self { unit, open_files: (limit.current, limit.maximum), ..Self::default() };
        let own = main_pid.map_or(0, open_files_of);
        system.with_values(Path::new("/proc"), own)
    }

    /// The values below `proc`; `own` files of those that are open are the daemon's.
    fn with_values(self, proc: &Path, own: u64) -> Self {
        let read = |name: &str| fs::read_to_string(proc.join(name)).ok();
        let numbers = |name: &str| -> Vec<u64> {
            let text = read(&format!("sys/{name}")).unwrap_or_default();
            // One that is too large for the type is no limit.
            text.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX)).collect()
        };
        let number = |name: &str| numbers(name).first().copied();
        let ports = numbers("net/ipv4/ip_local_port_range");
        let used = number("fs/file-nr").unwrap_or_default();
        Self {
            nr_open: number("fs/nr_open"),
            file_max: number("fs/file-max"),
            files_used: used.saturating_sub(own),
            epoll_watches: number("fs/epoll/max_user_watches"),
            tcp_mem_pages: numbers("net/ipv4/tcp_mem").get(2).copied(),
            conntrack: number("net/netfilter/nf_conntrack_max").filter(|max| *max > 0),
            somaxconn: number("net/core/somaxconn"),
            local_ports: match ports.as_slice() {
                [first, last] => Some(last.saturating_sub(*first).saturating_add(1)),
                _ => None,
            },
            memory: read("meminfo").and_then(|text| size_bytes(&text, "MemTotal:")),
            ..self
        }
    }
}

/// The number of open files of a process.
fn open_files_of(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_proc() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("sys/fs/nr_open", "1048576\n"),
            ("sys/fs/file-max", "9223372036854775807\n"),
            ("sys/fs/file-nr", "5000\t0\t9223372036854775807\n"),
            ("sys/fs/epoll/max_user_watches", "3600000\n"),
            ("sys/net/ipv4/tcp_mem", "100\t200\t300\n"),
            ("sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("sys/net/netfilter/nf_conntrack_max", "0\n"),
            ("meminfo", "MemTotal:       16 kB\nMemFree: 1 kB\n"),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let want = System {
            nr_open: Some(1_048_576),
            file_max: Some(i64::MAX as u64),
            files_used: 4_000,
            epoll_watches: Some(3_600_000),
            tcp_mem_pages: Some(300),
            local_ports: Some(28_232),
            memory: Some(16_384),
            ..System::default()
        };
        assert_eq!(System::default().with_values(folder.path(), 1_000), want);
    }

    #[test]
    fn values_of_this_system() {
        let system = System::read(None, Some(std::process::id()));
        assert!(system.nr_open.is_some_and(|max| max >= 1024), "{system:?}");
        assert!(system.memory.is_some_and(|bytes| bytes > 1 << 20), "{system:?}");
        assert!(open_files_of(std::process::id()) >= 3);
    }
}
