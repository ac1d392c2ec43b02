//! The socket units of the service: what they pass to it, and what is wrong with them.

use rustix::io::Errno;

use super::listening::Listening;
use super::systemctl::{Properties, SERVICE};
use crate::address::ListenAddress;
use crate::daemon::{METRICS, is_room};
use crate::server::ListeningSocket;

/// The properties that are looked at.
pub const PROPERTIES: &[&str] = &[
    "Id",
    "LoadState",
    "ActiveState",
    "Result",
    "Listen",
    "FileDescriptorName",
    "Accept",
    "Triggers",
    "FreeBind",
    "BindIPv6Only",
    "NeedDaemonReload",
    "Backlog",
];

/// What a start of the service gets from its socket units.
#[derive(Debug, Default, PartialEq)]
pub struct Sockets {
    /// Addresses of the room.
    pub room: Vec<String>,
    /// Addresses of the metrics.
    pub metrics: Vec<String>,
    /// The shortest queue of new connections of the room.
    pub backlog: Option<u64>,
    /// What is wrong: the unit, and why.
    pub problems: Vec<(String, String)>,
}

impl Sockets {
    /// Looks at `units`. `started` are those that a start of the service starts, `listening`
    /// what systemd and others listen at.
    pub fn of(units: &[Properties], started: &[&str], listening: &Listening) -> Self {
        let mut sockets = Self::default();
        let is_masked = |unit: &&Properties| unit.get("LoadState") == "masked";
        for unit in units.iter().filter(|unit| !is_masked(unit)) {
            let is_started = started.contains(&unit.get("Id"));
            let is_active = unit.get("ActiveState") == "active";
            if is_active || is_started {
                sockets.add(unit, is_active, listening);
            }
        }
        // Who has a socket unit of his own masks that of the package.
        for unit in units.iter().filter(is_masked).filter(|_| sockets.room.is_empty()) {
            let id = unit.get("Id");
            let text = format!("it is masked; run 'systemctl unmask {id}'");
            sockets.problems.push((id.to_owned(), text));
        }
        sockets
    }

    fn add(&mut self, unit: &Properties, is_active: bool, listening: &Listening) {
        let id = unit.get("Id");
        let mut problem = |text: String| self.problems.push((id.to_owned(), text));
        match unit.get("LoadState") {
            "loaded" => {}
            state => {
                return problem(format!(
                    "systemd cannot load it ({state}); see systemctl status {id}"
                ));
            }
        }
        if unit.get("ActiveState") == "failed" {
            let result = unit.get("Result");
            problem(format!("it has failed ({result}); see 'systemctl status {id}'"));
        }
        let service = unit.get("Triggers");
        if !service.is_empty() && service != SERVICE && unit.get("Accept") != "yes" {
            return problem(format!("its sockets are for {service}; set Service={SERVICE}"));
        }
        if unit.get("Accept") == "yes" {
            problem("Accept=yes starts a service for each connection; remove it".to_owned());
        }
        let name = unit.get("FileDescriptorName");
        if is_room(name)
            && let Ok(queue) = unit.get("Backlog").parse()
        {
            self.backlog = Some(self.backlog.map_or(queue, |shortest| shortest.min(queue)));
        }
        let addresses = match (is_room(name), name == METRICS) {
            (true, _) => &mut self.room,
            (_, true) => &mut self.metrics,
            _ => {
                return problem(format!(
                    "the service ignores its sockets, which are named {name:?}; set \
                     FileDescriptorName=wschat, or metrics"
                ));
            }
        };
        for listen in unit.all("Listen") {
            let (address, kind) = listen.rsplit_once(' ').unwrap_or((listen, ""));
            if kind != "(Stream)" {
                problem(format!("{address} is no stream socket {kind}; use ListenStream="));
                continue;
            }
            let text = match address.starts_with('/') {
                true => format!("unix:{address}"),
                false => address.to_owned(),
            };
            match text.parse::<ListenAddress>() {
                Ok(address) => {
                    let must_exist = unit.get("FreeBind") != "yes";
                    if let Some(why) = not_listening(&address, unit, is_active, listening)
                        .map(|why| no_address(&address).filter(|_| must_exist).unwrap_or(why))
                    {
                        problem(why);
                    }
                }
                // An abstract Unix socket.
                Err(_) if text.starts_with('@') => {}
                Err(_) => {
                    problem(format!(
                        "the service cannot use {address}; use an IP address or a path"
                    ));
                }
            }
            addresses.push(text);
        }
    }
}

/// Why nobody can listen at `address` on this machine, whatever else listens.
fn no_address(address: &ListenAddress) -> Option<String> {
    let ListenAddress::Tcp(_) = address else { return None };
    let error = ListeningSocket::try_bind(address, false).err()?;
    let is_known =
        matches!(Errno::from_io_error(&error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT));
    is_known.then(|| format!("this machine cannot listen at {address}: {error}"))
}

/// Why `unit` does not listen at `address`, or would not. `None` if it does.
fn not_listening(
    address: &ListenAddress,
    unit: &Properties,
    is_active: bool,
    listening: &Listening,
) -> Option<String> {
    if listening.own.contains(address) {
        return None;
    }
    let v6_only = unit.get("BindIPv6Only") == "ipv6-only";
    let is_taken = |other: &ListenAddress| {
        other.excludes(address) || other.includes(address) || address.includes(other) && !v6_only
    };
    if listening.others.iter().any(is_taken) {
        return Some(format!("another program listens at {address}"));
    }
    is_active.then(|| {
        format!(
            "it has changed and does not listen at {address} yet; run 'systemctl restart {}', \
             which keeps all connections",
            unit.get("Id")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "Id=wschat.socket\nLoadState=loaded\nActiveState=active\n\
         Listen=127.0.0.1:8080 (Stream)\nFileDescriptorName=wschat\nAccept=no\nResult=success\n";

    /// The sockets of a unit like the shipped one, in which `from` is replaced with `to`. systemd
    /// listens at 127.0.0.1:8080, another program at port 81.
    fn sockets(from: &str, to: &str) -> Sockets {
        assert!(SOCKET.contains(from), "{from}");
        let parsed = |text: &str| text.parse().unwrap();
        let listening = Listening {
            own: vec![parsed("127.0.0.1:8080"), parsed("unix:/run/a.sock")],
            others: vec![parsed("0.0.0.0:81"), parsed("127.0.0.1:82")],
        };
        let unit = Properties::parse(&SOCKET.replace(from, to));
        Sockets::of(&[unit], &["wschat.socket"], &listening)
    }

    #[track_caller]
    fn check(from: &str, to: &str, problem: &str) {
        let sockets = sockets(from, to);
        let problems: Vec<_> = sockets.problems.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(problems, [problem], "{to}");
    }

    #[test]
    fn passed_sockets() {
        let shipped = sockets("", "");
        assert_eq!((shipped.room, shipped.problems), (vec!["127.0.0.1:8080".to_owned()], vec![]));
        let metrics = sockets("Name=wschat", "Name=metrics");
        assert_eq!((metrics.room, metrics.metrics), (vec![], vec!["127.0.0.1:8080".to_owned()]));
        let unix = sockets("127.0.0.1:8080", "/run/a.sock");
        assert_eq!((unix.room, unix.problems), (vec!["unix:/run/a.sock".to_owned()], vec![]));
        // A start starts it.
        assert_eq!(sockets("=active", "=inactive").room, ["127.0.0.1:8080"]);
        let other = sockets("Id=wschat.socket", "Id=other.socket");
        assert_eq!(other.room, ["127.0.0.1:8080"]);
        let unit = SOCKET.replace("Id=wschat", "Id=other").replace("=active", "=inactive");
        let unit = Properties::parse(&unit);
        assert_eq!(Sockets::of(&[unit], &[], &Listening::default()), Sockets::default());
    }

    #[test]
    fn problems() {
        check("=loaded", "=masked", "it is masked; run 'systemctl unmask wschat.socket'");
        check(
            "=loaded",
            "=bad-setting",
            "systemd cannot load it (bad-setting); see systemctl status wschat.socket",
        );
        check(
            "ActiveState=active",
            "ActiveState=failed",
            "it has failed (success); see 'systemctl status wschat.socket'",
        );
        check(
            "Accept=no",
            "Accept=yes",
            "Accept=yes starts a service for each connection; remove it",
        );
        check(
            "Name=wschat",
            "Name=wschat-metrics.socket",
            "the service ignores its sockets, which are named \"wschat-metrics.socket\"; set \
             FileDescriptorName=wschat, or metrics",
        );
        check(
            "Accept=no",
            "Accept=no\nTriggers=a.service",
            "its sockets are for a.service; set Service=wschat.service",
        );
        check(
            "(Stream)",
            "(Datagram)",
            "127.0.0.1:8080 is no stream socket (Datagram); use ListenStream=",
        );
        check(
            "127.0.0.1:8080",
            "[::]:80",
            "it has changed and does not listen at [::]:80 yet; run 'systemctl restart \
             wschat.socket', which keeps all connections",
        );
        check("127.0.0.1:8080", "127.0.0.1:81", "another program listens at 127.0.0.1:81");
        check(
            "127.0.0.1:8080",
            "192.0.2.7:8080",
            "this machine cannot listen at 192.0.2.7:8080: Cannot assign requested address (os \
             error 99)",
        );
        check("127.0.0.1:8080", "[::]:81", "another program listens at [::]:81");
        let v6 = sockets("127.0.0.1:8080", "[::]:82 (Stream)\nBindIPv6Only=ipv6-only\nX=");
        assert!(v6.problems[0].1.starts_with("it has changed"), "{:?}", v6.problems);
        let free = sockets("127.0.0.1:8080", "192.0.2.7:8080 (Stream)\nFreeBind=yes\nX=");
        assert!(free.problems[0].1.starts_with("it has changed"), "{:?}", free.problems);
        check(
            "127.0.0.1:8080",
            "vsock:2:1234",
            "the service cannot use vsock:2:1234; use an IP address or a path",
        );
        assert_eq!(sockets("127.0.0.1:8080", "@wschat").problems, []);
        // Another unit passes sockets in place of it.
        let units = [
            SOCKET.replace("Id=wschat", "Id=other"),
            SOCKET.replace("=loaded", "=masked").replace("=active", "=inactive"),
        ]
        .map(|unit| Properties::parse(&unit));
        let own = Listening { own: vec!["127.0.0.1:8080".parse().unwrap()], others: vec![] };
        let passed = Sockets::of(&units, &["wschat.socket"], &own);
        assert_eq!((passed.room.len(), passed.problems), (1, vec![]));
    }
}
