//! How many listeners each limit allows, and how to raise it. Pure.

use super::system::{System, UnitLimits};
use crate::descriptors::{clients_max, descriptors_for, websockets_max};

/// Bytes of memory of the daemon for each listener that only listens (docs/performance.md).
const OWN_BYTES: u64 = 256;
/// Bytes of memory of the kernel for each connection: its socket, its file and its epoll watch.
const KERNEL_BYTES: u64 = 4_096;
/// Bytes of memory for all else: the process, the tail of the feed, the system.
const BASE_BYTES: u64 = 256 << 20;
/// The queue of new connections that is long enough for a crowd that comes back at once: who
/// finds it full tries again a second later.
const QUEUE_ENOUGH: u64 = 4_096;
/// Ports that a proxy needs for other things.
const PORTS_RESERVED: u64 = 1_000;

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The listeners that it allows; `u64::MAX` is any number.
    pub allows: u64,
    /// How to raise it to what the plan needs.
    pub remedy: String,
}

/// What a daemon would be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Listeners at the same time.
    pub listeners: u64,
    /// `limits.connections_max`, if it is known.
    pub connections_max: Option<u64>,
    /// `server.threads`.
    pub shards: usize,
    /// Whether all listeners come by TCP from a proxy on this machine.
    pub is_proxied: bool,
}

/// The limits of `system` that exist there, with remedies for `plan`.
pub fn limits(system: &System, plan: Plan) -> Vec<Limit> {
    let Plan { listeners, connections_max, shards, is_proxied } = plan;
    let needed = descriptors_for(listeners, shards);
    let memory_mib = memory_for(listeners).div_ceil(1 << 20);
    let queue = QUEUE_ENOUGH.min(listeners);
    let websockets = |max: Option<u64>| match max {
        None => u64::MAX,
        Some(_) => websockets_max(clients_max(max, shards)) as u64,
    };
    let queued = |max: Option<u64>| max.filter(|max| *max < queue).unwrap_or(u64::MAX);
    let held = |bytes: Option<u64>| {
        bytes.unwrap_or(0).saturating_sub(BASE_BYTES) / (OWN_BYTES + KERNEL_BYTES)
    };
    let service = |setting: String| format!("systemctl edit wschat.service: {setting}");
    let sysctl = |key: &str, value: u64| format!("sysctl -w {key}={value}");
    let unit = system.unit.clone().unwrap_or_default();
    let ((soft, hard), names, more_files) = match system.unit {
        Some(_) => {
            let names = ["LimitNOFILESoft= of wschat.service", "LimitNOFILE= of wschat.service"];
            (unit.open_files, names, service(format!("LimitNOFILE={needed}")))
        }
        None => {
            let remedy = format!("ulimit -Hn {needed}, as root");
            (system.open_files, ["ulimit -Sn", "ulimit -Hn"], remedy)
        }
    };
    let files_left = system.file_max.map(|max| max.saturating_sub(system.files_used));
    // A message on its way to a listener takes a page.
    let pages = format!("{} {} {listeners}", listeners / 2, listeners / 4 * 3);
    let ports = system.local_ports.filter(|_| is_proxied);
    let rows = [
        (
            "limits.connections_max",
            connections_max,
            connections_max.unwrap_or(0),
            format!("set it to {listeners}"),
        ),
        // The daemon raises the soft limit to the hard one.
        (names[0], soft, websockets(hard), more_files.clone()),
        (names[1], hard, websockets(hard), more_files),
        ("fs.nr_open", system.nr_open, websockets(system.nr_open), sysctl("fs.nr_open", needed)),
        (
            "fs.file-max",
            system.file_max,
            websockets(files_left),
            sysctl("fs.file-max", needed.saturating_add(system.files_used)),
        ),
        (
            "fs.epoll.max_user_watches",
            system.epoll_watches,
            websockets(system.epoll_watches),
            sysctl("fs.epoll.max_user_watches", needed),
        ),
        (
            "net.ipv4.tcp_mem",
            system.tcp_mem_pages,
            system.tcp_mem_pages.unwrap_or(0),
            format!("sysctl -w net.ipv4.tcp_mem='{pages}'"),
        ),
        (
            "net.netfilter.nf_conntrack_max",
            system.conntrack,
            websockets(system.conntrack),
            sysctl("net.netfilter.nf_conntrack_max", needed) + ", or do not track this port",
        ),
        (
            "net.ipv4.ip_local_port_range",
            ports,
            ports.unwrap_or(0).saturating_sub(PORTS_RESERVED),
            "let the proxy connect to a Unix socket, or to several addresses".to_owned(),
        ),
        (
            "net.core.somaxconn",
            system.somaxconn,
            queued(system.somaxconn),
            sysctl("net.core.somaxconn", queue),
        ),
        (
            "Backlog= of wschat.socket",
            unit.backlog,
            queued(unit.backlog),
            format!("systemctl edit wschat.socket: Backlog={queue}"),
        ),
        (
            "MemoryMax= of wschat.service, MiB",
            unit.memory_max.map(|bytes| bytes >> 20),
            held(unit.memory_max),
            service(format!("MemoryMax={memory_mib}M")),
        ),
        (
            "memory, MiB",
            system.memory.map(|bytes| bytes >> 20),
            held(system.memory),
            format!("{memory_mib} are needed"),
        ),
    ];
    let limit = |(name, value, allows, remedy)| {
        Option::map(value, |value| Limit { name, value, allows, remedy })
    };
    rows.into_iter().filter_map(limit).collect()
}

/// The listeners that `system` carries, and the limit that decides. The descriptors of the process
/// do not count here, because a check of the configuration counts them.
pub fn carried(system: &System) -> Option<(u64, &'static str)> {
    let none = (None, None);
    let unit = system.unit.clone().map(|unit| UnitLimits { open_files: none, ..unit });
    let system = System { unit, open_files: none, ..system.clone() };
    let plan = Plan { listeners: 0, connections_max: None, shards: 1, is_proxied: false };
    let lowest = limits(&system, plan).into_iter().min_by_key(|limit| limit.allows);
    lowest.map(|limit| (limit.allows, limit.name))
}

/// Bytes of memory that so many listeners take, those of the kernel included.
fn memory_for(listeners: u64) -> u64 {
    listeners.saturating_mul(OWN_BYTES + KERNEL_BYTES).saturating_add(BASE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        listeners: 1_000_000,
        connections_max: Some(1_000_000),
        shards: 2,
        is_proxied: false,
    };

    /// One limit of an otherwise unlimited system: what it allows, and the remedy.
    #[track_caller]
    fn check(system: System, name: &str, allows: u64, remedy: &str) {
        let found = limits(&system, PLAN);
        let limit = found.iter().find(|limit| limit.name == name).expect("it is listed");
        assert_eq!((limit.allows, limit.remedy.as_str()), (allows, remedy));
    }

    #[test]
    fn what_each_limit_allows() {
        let none = System::default;
        check(
            System { nr_open: Some(20_000), ..none() },
            "fs.nr_open",
            19_621,
            "sysctl -w fs.nr_open=1015941",
        );
        check(
            System { file_max: Some(25_000), files_used: 5_000, ..none() },
            "fs.file-max",
            19_621,
            "sysctl -w fs.file-max=1020941",
        );
        check(
            System { tcp_mem_pages: Some(90_000), ..none() },
            "net.ipv4.tcp_mem",
            90_000,
            "sysctl -w net.ipv4.tcp_mem='500000 750000 1000000'",
        );
        check(
            System { somaxconn: Some(128), ..none() },
            "net.core.somaxconn",
            128,
            "sysctl -w net.core.somaxconn=4096",
        );
        check(
            System { somaxconn: Some(4_096), ..none() },
            "net.core.somaxconn",
            u64::MAX,
            "sysctl -w net.core.somaxconn=4096",
        );
        check(
            System { memory: Some(1 << 30), ..none() },
            "memory, MiB",
            185_042,
            "4407 are needed",
        );
    }

    #[test]
    fn limits_of_the_unit_replace_those_of_this_process() {
        let unit = UnitLimits {
            open_files: (Some(1_024), Some(20_000)),
            memory_max: Some(1 << 30),
            backlog: Some(100),
        };
        let of_process = (Some(50), Some(60));
        let system = System { unit: Some(unit), open_files: of_process, ..System::default() };
        let lines = |system: &System| -> Vec<_> {
            limits(system, PLAN).iter().map(|limit| (limit.name, limit.value)).collect()
        };
        assert_eq!(
            lines(&system),
            [
                ("limits.connections_max", 1_000_000),
                ("LimitNOFILESoft= of wschat.service", 1_024),
                ("LimitNOFILE= of wschat.service", 20_000),
                ("Backlog= of wschat.socket", 100),
                ("MemoryMax= of wschat.service, MiB", 1 << 10),
            ]
        );
        let alone = System { unit: None, ..system };
        let want = [("limits.connections_max", 1_000_000), ("ulimit -Sn", 50), ("ulimit -Hn", 60)];
        assert_eq!(lines(&alone), want);
    }

    #[test]
    fn a_remedy_is_enough() {
        for listeners in [1, 100, 1_000, 28_000, 1_000_000, 10_000_000] {
            for shards in [1, 64] {
                let needed = descriptors_for(listeners, shards);
                let allows = |max| websockets_max(clients_max(Some(max), shards)) as u64;
                assert!(allows(needed) >= listeners, "{listeners}");
                assert!(allows(needed - 1) < listeners || listeners == 1, "{listeners}");
            }
        }
    }
}
