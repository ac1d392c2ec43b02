//! Inherited sockets, the notification socket and the journal's socket. `tests/system/`
//! has tests with the real systemd.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, DEADLINE, Daemon, Setup, until};

/// The socket of a service manager or of the journal, as seen from its end.
pub struct Mailbox {
    /// The socket itself.
    pub socket: UnixDatagram,
    folder: TempDir,
    /// All datagrams so far.
    read: Vec<String>,
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, folder, read: Vec::new() }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The next datagram for which `wanted` returns true.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 65536];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{error} after {:#?}", self.read);
            });
            let datagram = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.read.push(datagram.clone());
            if wanted(&datagram) {
                return datagram;
            }
        }
    }

    /// Puts this socket in the place of the journal's, in a `/run` of the daemon's own.
    pub fn set_journal_of(&self, setup: Setup) -> Setup {
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal \
            && mount --bind \"$0\" /run/systemd/journal \
            && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";
        let folder = self.folder.path().display().to_string();
        setup.wrapper(&["unshare", "--mount", "--map-root-user", "sh", "-c", script, &folder])
    }

    fn wait_for_status(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for(|datagram| datagram.strip_prefix("STATUS=").is_some_and(&wanted))
    }
}

/// Starts a daemon with a service manager, and waits until it is ready.
fn notifying(config: &str) -> (Daemon, Mailbox) {
    let mut manager = Mailbox::new();
    let setup = Setup::new(config).env("NOTIFY_SOCKET", &manager.path().display().to_string());
    let daemon = setup.start();
    manager.wait_for(|datagram| datagram == "READY=1\n");
    (daemon, manager)
}

#[test]
fn ready_and_stopping_are_notified_once() {
    let (mut daemon, mut manager) = notifying("");
    let mut client = daemon.connect();
    client.say("ann", "hi");
    assert_eq!(client.hear(), "hi");
    daemon.signal(Signal::TERM);
    manager.wait_for(|datagram| datagram.starts_with("STOPPING=1\n"));
    assert_eq!(client.closed().1, 1001);
    assert_eq!(daemon.wait().code(), Some(0));
    let ready = manager.read.iter().filter(|datagram| datagram.contains("READY")).count();
    assert_eq!(ready, 1, "{:#?}", manager.read);
}

#[test]
fn every_reload_is_notified_with_its_time() {
    let (daemon, mut manager) = notifying("");
    for config in ["[page]\nenabled = false\n", "nonsense"] {
        daemon.configure(config);
        daemon.signal(Signal::HUP);
        let reloading = manager.wait_for(|datagram| datagram.starts_with("RELOADING=1\n"));
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
        manager.wait_for(|datagram| datagram == "READY=1\n");
    }
}

#[test]
fn the_status_line_shows_the_room() {
    let (daemon, mut manager) = notifying("");
    let status = manager.wait_for_status(|line| line.starts_with("0 listeners, 0 messages/s, "));
    assert!(status.contains(", configuration loaded "), "{status}");
    let clients: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    manager.wait_for_status(|line| line.starts_with("3 listeners, "));
    drop(clients);
    manager.wait_for_status(|line| line.starts_with("0 listeners, "));

    daemon.configure("[auth]\nleeway_secs = 900\n");
    daemon.signal(Signal::HUP);
    let bad = manager.wait_for_status(|line| line.contains("rejected"));
    assert!(bad.starts_with("STATUS=configuration rejected "), "{bad}");
    assert!(
        bad.contains("auth.leeway_secs: 900 is out of range, 0 to 300; 0 listeners, "),
        "{bad}"
    );
    daemon.reload("");
    manager.wait_for_status(|line| !line.contains("rejected"));

    let lines = manager.read.iter().filter(|datagram| datagram.starts_with("STATUS="));
    let lines: Vec<_> = lines.collect();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "only when changed: {lines:#?}");
}

#[test]
fn the_watchdog_is_notified_if_it_is_enabled() {
    let mut manager = Mailbox::new();
    let _daemon = Setup::new("")
        .env("NOTIFY_SOCKET", &manager.path().display().to_string())
        .env("WATCHDOG_USEC", "200000")
        .start();
    for _ in 0..5 {
        manager.wait_for(|datagram| datagram == "WATCHDOG=1\n");
    }
}

#[test]
fn inherited_sockets_replace_the_configured_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    for names in ["wschat:wschat", "wschat.socket:wschat", "unknown:", ""] {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        let daemon = Setup::new("[listen]\naddresses = ['unix:/nonexistent/room.sock']\n")
            .without_listen()
            .inherit([tcp.into(), unix.into()], names)
            .start();
        assert_eq!(daemon.addr, address);
        let mut local = Client::over(UnixStream::connect(&path).unwrap());
        let mut remote = daemon.connect();
        remote.say("ann", "hi");
        assert_eq!((local.hear(), remote.hear()), ("hi".into(), "hi".into()));
        drop(daemon);
        assert!(path.exists(), "an inherited socket's file is not ours");
    }
}

#[test]
fn a_socket_with_an_unknown_name_is_ignored() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap();
    let room = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Setup::new("")
        .without_listen()
        .inherit([foreign.into(), room.into()], "elsewhere:wschat")
        .start();
    daemon.wait_for_log("ignored a socket named \"elsewhere\"");
    assert_ne!(daemon.addr, address);
    daemon.connect();
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let script = "export LISTEN_PID=1; exec \"$@\" 3<&0 </dev/null";
    let setup = Setup::new("").inherit([other.into()], "wschat");
    let daemon = setup.wrapper(&["sh", "-c", script, "sh"]).start();
    assert_ne!(daemon.addr, address);
}

#[test]
fn unusable_sockets_fail_the_start() {
    let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let check = |setup: Setup, code: i32, why: &str| {
        assert_eq!(setup.spawn().ends_with(), (Some(code), format!("wschat: {why}\n")));
    };
    check(
        Setup::new("").inherit([listener()], "wschat"),
        64,
        "--listen: systemd passed sockets, so there is nothing to bind",
    );
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(busy.local_addr().unwrap()).unwrap();
    check(
        Setup::new("").without_listen().inherit([connection.into()], "wschat"),
        71,
        "inherited sockets: socket 0 (\"wschat\"): it does not listen",
    );
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    check(
        Setup::new("").without_listen().inherit([datagrams.into()], "wschat"),
        71,
        "inherited sockets: socket 0 (\"wschat\"): it is not a stream socket",
    );
    let address = busy.local_addr().unwrap();
    check(
        Setup::new("").without_listen().arg("--listen").arg(&address.to_string()),
        69,
        &format!("{address}: Address already in use (os error 98)"),
    );
}

#[test]
fn systemd_socket_activate_starts_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    let listen = format!("--listen={}", path.display());
    for name in [&["--fdname=wschat"][..], &[]] {
        let _ = std::fs::remove_file(&path);
        let words = [&["systemd-socket-activate", &listen], name].concat();
        let daemon = Setup::new("").without_listen().wrapper(&words).spawn();
        let stream = until("the socket", || UnixStream::connect(&path).ok());
        let mut client = Client::over(stream);
        client.say("ann", "woken");
        assert_eq!(client.hear(), "woken");
        daemon.wait_for_log(&format!("listening on unix:{}", path.display()));
    }
}

#[test]
fn the_journal_gets_fields_with_their_priorities() {
    let mut journal = Mailbox::new();
    let daemon = journal.set_journal_of(Setup::new("")).spawn();
    let line = journal.wait_for(|entry| entry.contains("no secret or key is configured"));
    assert!(has(&line, "PRIORITY", "4"), "{line:?}");
    let line = journal.wait_for(|entry| entry.contains("listening on 127.0.0.1:"));
    for (name, value) in [("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "wschat")] {
        assert!(has(&line, name, value), "{line:?}");
    }
    assert!(line.contains("\nWSCHAT_LISTENER\n"), "{line:?}");
    assert_eq!(daemon.log(), "", "nothing goes to stderr");
}

/// Whether an entry in the journal's native format has this field: its name, a newline,
/// its length in eight bytes, its value.
fn has(entry: &str, name: &str, value: &str) -> bool {
    let length = char::from(u8::try_from(value.len()).unwrap());
    entry.contains(&format!("{name}\n{length}\0\0\0\0\0\0\0{value}\n"))
}

#[test]
fn an_inherited_journal_variable_does_not_disable_stderr() {
    let daemon = Setup::new("").env("JOURNAL_STREAM", "1:1").start();
    assert!(!daemon.log().contains('\u{1b}'), "no colours where there is no terminal");
}

/// A process that cannot be traced is not dumped either. Its files in /proc belong to
/// root, but the daemon must find what it needs there.
#[test]
fn a_daemon_without_privileges_can_be_neither_dumped_nor_traced() {
    let script = "[ $(id -u) = 0 ] || exec \"$@\"
        folder=$(dirname \"$3\"); cp \"$1\" \"$folder/wschat\"; shift
        chown -R 65534:65534 \"$folder\"
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$folder/wschat\" \"$@\"";
    let daemon = Setup::new("").wrapper(&["sh", "-c", script, "sh"]).start();
    let owner =
        |file: &str| std::fs::metadata(format!("/proc/{}/{file}", daemon.pid())).unwrap().uid();
    assert_ne!(owner("."), 0, "the process is not root's");
    assert_eq!([owner("environ"), owner("mem"), owner("maps")], [0; 3]);
    let mut client = daemon.connect();
    client.say("ann", "still here");
    assert_eq!(client.hear(), "still here");
    daemon.reload("limits.messages_burst = 7\n");
    let out = daemon.command(&["status"]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn the_unit_allows_no_core_dump() {
    let unit = include_str!("../../packaging/systemd/wschat.service");
    assert!(unit.lines().any(|line| line == "LimitCORE=0"), "{unit}");
}
