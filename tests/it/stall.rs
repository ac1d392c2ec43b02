//! The service manager, the journal, the reader of stderr or a disk blocks, fails or
//! vanishes. The room must work as before, and the daemon must obey signals.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::ioctl_fionbio;
use rustix::pipe::pipe;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, DEADLINE, Daemon, Setup, until};
use crate::systemd::Mailbox;

/// Makes the daemon listen on `room.sock` in `folder`, because its log cannot be read.
fn config_in(folder: &TempDir) -> String {
    format!("listen.addresses = ['unix:{}']\n", folder.path().join("room.sock").display())
}

/// Joins the room on `room.sock` in `folder` as soon as it exists.
fn join(folder: &TempDir) -> Client<UnixStream> {
    let path = folder.path().join("room.sock");
    Client::over(until("the room", || UnixStream::connect(&path).ok()))
}

/// Sends `msg` and receives it.
#[track_caller]
fn check_message(client: &mut Client<impl std::io::Read + Write>, msg: &str) {
    client.say("ann", msg);
    assert_eq!(client.hear(), msg);
}

#[track_caller]
fn check_stop(mut daemon: Daemon) {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// Makes the daemon log `lines` long lines, of messages of an operator.
fn fill_log(daemon: &Daemon, lines: usize) {
    let mut control = until("the control socket", || UnixStream::connect(daemon.control()).ok());
    let mut answers = BufReader::new(control.try_clone().unwrap());
    for number in 0..lines {
        let msg = format!("{number} {}", "x".repeat(60_000));
        let request = serde_json::json!({ "do": "moderate", "act": { "say": { "msg": msg } } });
        writeln!(control, "{request}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.starts_with(r#"{"ok":"#), "{answer}");
    }
}

/// A pipe that takes no more bytes.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let mut file = File::from(writer.try_clone().unwrap());
    for size in [4096, 1] {
        while file.write(&vec![b'\n'; size]).is_ok() {}
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn an_unread_stderr_delays_no_client() {
    let folder = TempDir::new().unwrap();
    let (_reader, writer) = full_pipe();
    let daemon = Setup::new(&config_in(&folder)).without_listen().stderr(writer).spawn();
    check_message(&mut join(&folder), "one");
    fill_log(&daemon, 40);
    check_message(&mut join(&folder), "two");
    check_stop(daemon);
}

#[test]
fn a_failed_start_does_not_wait_for_stderr() {
    let (_reader, writer) = full_pipe();
    let mut daemon = Setup::new("nonsense").stderr(writer).spawn();
    assert_eq!(daemon.wait().code(), Some(78));
}

#[test]
fn stderr_counts_the_lines_that_were_dropped() {
    let folder = TempDir::new().unwrap();
    let (reader, writer) = full_pipe();
    let mut daemon = Setup::new(&config_in(&folder)).without_listen().stderr(writer).spawn();
    join(&folder);
    fill_log(&daemon, 40);
    let mut log = BufReader::new(File::from(reader)).lines().map(Result::unwrap);
    // The queue holds about 1 MiB of 2.4 MiB.
    let dropped = log.find(|line| line.contains("log lines were dropped")).unwrap();
    let count = dropped.split("WARN ").nth(1).unwrap().split(' ').next().unwrap();
    let count: usize = count.parse().unwrap();
    assert!((20..30).contains(&count), "{dropped}");
    daemon.signal(Signal::TERM);
    assert!(log.any(|line| line.contains("stopping, listeners: ")), "the last line comes out");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_closed_stderr_is_ignored() {
    let folder = TempDir::new().unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let daemon = Setup::new(&config_in(&folder)).without_listen().stderr(writer).spawn();
    check_message(&mut join(&folder), "hi");
    fill_log(&daemon, 3);
    check_stop(daemon);
}

/// Fills the queue of a datagram socket.
fn fill(path: &Path) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.send_to(b"", path).is_ok() {}
}

#[test]
fn a_blocked_journal_delays_no_client() {
    let (mut journal, folder) = (Mailbox::new(), TempDir::new().unwrap());
    fill(&journal.path());
    let setup = Setup::new(&config_in(&folder)).without_listen();
    let mut daemon = journal.set_journal_of(setup).spawn();
    check_message(&mut join(&folder), "hi");
    fill_log(&daemon, 100);
    check_message(&mut join(&folder), "hi");
    daemon.signal(Signal::HUP);
    journal.wait_for(|entry| entry.contains("listening on unix:"));
    journal.wait_for(|entry| entry.contains("log lines were dropped"));
    fill(&journal.path());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_restarted_journal_gets_the_entries_from_before() {
    let mut journal = Mailbox::new();
    let daemon = journal.set_journal_of(Setup::new("")).spawn();
    journal.wait_for(|entry| entry.contains("listening on"));
    fs::remove_file(journal.path()).unwrap();
    fill_log(&daemon, 3);
    journal.socket = UnixDatagram::bind(journal.path()).unwrap();
    journal.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for number in 0..3 {
        journal.wait_for(|entry| entry.contains(&format!("said \"{number} ")));
    }
    check_stop(daemon);
}

#[test]
fn a_blocked_service_manager_delays_no_client_and_is_notified_later() {
    let (mut manager, folder) = (Mailbox::new(), TempDir::new().unwrap());
    fill(&manager.path());
    let daemon = Setup::new(&config_in(&folder))
        .env("NOTIFY_SOCKET", &manager.path().display().to_string())
        .env("WATCHDOG_USEC", "20000")
        .without_listen()
        .spawn();
    check_message(&mut join(&folder), "hi");
    daemon.wait_for_log("cannot notify the service manager");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("configuration loaded");
    manager.wait_for(|datagram| datagram.starts_with("RELOADING=1\n"));
    manager.wait_for(|datagram| datagram == "READY=1\n");
    manager.wait_for(|datagram| datagram == "WATCHDOG=1\n");
    fill(&manager.path());
    check_stop(daemon);
}

#[test]
fn a_missing_service_manager_is_logged_once() {
    let manager = Mailbox::new();
    let daemon = Setup::new("")
        .env("NOTIFY_SOCKET", &manager.path().display().to_string())
        .env("WATCHDOG_USEC", "4000")
        .start();
    fs::remove_file(manager.path()).unwrap();
    daemon.wait_for_log("cannot notify the service manager: No such file");
    let _again = UnixDatagram::bind(manager.path()).unwrap();
    daemon.wait_for_log("the service manager takes notifications again");
    // The daemon has tried every millisecond.
    assert_eq!(daemon.log().matches("cannot notify the service manager: No such").count(), 1);
    check_stop(daemon);
}

#[test]
fn the_notification_socket_may_be_abstract() {
    let name = format!("wschat-it-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let daemon = Setup::new("").env("NOTIFY_SOCKET", &format!("@{name}")).start();
    let mut buffer = [0; 4096];
    let mut told = || {
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    while told() != "READY=1\n" {}
    drop(daemon);
}

#[test]
fn a_handover_to_a_blocked_manager_ends() {
    let manager = Mailbox::new();
    let mut daemon = Setup::new("")
        .env("NOTIFY_SOCKET", &manager.path().display().to_string())
        .env("FDSTORE", "16")
        .start();
    let mut client = daemon.connect();
    fill(&manager.path());
    daemon.signal(Signal::USR2);
    assert_eq!(client.closed().1, 1012);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// One configuration for each way in which a file can be named.
fn configurations_with(path: &str) -> [String; 4] {
    [
        format!("auth.jwt_secret_file = '{path}'\n"),
        format!("auth.revoked_file = '{path}'\n"),
        format!("[[auth.keys]]\nalg = 'ES256'\nfile = '{path}'\n"),
        format!("[[auth.keys]]\nalg = 'HS256'\nsecret_file = '{path}'\n"),
    ]
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_fifo_is_rejected_in_place_of_any_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fifo");
    fifo(&path);
    let daemon = Daemon::start("");
    let mut client = daemon.connect();
    for config in configurations_with(&path.display().to_string()) {
        daemon.configure(&config);
        let output = daemon.command(&["reload"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains("not a regular file"), "{text}");
        check_message(&mut client, "still here");
        let (code, text) = Setup::new(&config).spawn().ends_with();
        assert_eq!(code, Some(78), "{text}");
    }
    fs::remove_file(daemon.config_file()).unwrap();
    fifo(&daemon.config_file());
    let output = daemon.command(&["reload"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("not a regular file"), "{text}");
    check_message(&mut client, "still here");
    check_stop(daemon);

    let credentials = folder.path().display().to_string();
    fifo(&folder.path().join("wschat.jwt_secret"));
    let (code, text) =
        Setup::new("").env("CREDENTIALS_DIRECTORY", &credentials).spawn().ends_with();
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("not a regular file"), "{text}");
}

#[test]
fn a_fifo_in_place_of_the_moderation_file_locks_the_room() {
    let folder = TempDir::new().unwrap();
    fifo(&folder.path().join("c.moderation.json"));
    let control = folder.path().join("c").display().to_string();
    let daemon = Setup::new("").without_control().arg("--control").arg(&control).start();
    daemon.wait_for_log("c.moderation.json cannot be read: not a regular file");
    let mut client = daemon.connect();
    client.say("ann", "hi");
    assert_eq!(client.json()["err"], "locked");
    check_stop(daemon);
}

/// Runs the daemon so that `folder` is like a network disk that never responds: a FUSE
/// file system whose requests no process serves.
fn with_blocked_folder(setup: Setup, folder: &Path) -> Setup {
    let script = "exec 9<>/dev/fuse \
        && mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 hung \"$0\" \
        && exec \"$@\"";
    let folder = folder.display().to_string();
    setup.wrapper(&["unshare", "--mount", "--map-root-user", "sh", "-c", script, &folder])
}

#[test]
fn signals_are_obeyed_while_a_reload_blocks() {
    for (signal, close) in [(Signal::TERM, 1001), (Signal::USR2, 1012)] {
        let (mut manager, hung) = (Mailbox::new(), TempDir::new().unwrap());
        let setup = Setup::new("")
            .env("NOTIFY_SOCKET", &manager.path().display().to_string())
            .env("FDSTORE", "0");
        let mut daemon = with_blocked_folder(setup, hung.path()).start();
        let mut client = daemon.connect();
        let file = hung.path().join("file").display().to_string();
        daemon.configure(&configurations_with(&file)[0]);
        daemon.signal(Signal::HUP);
        manager.wait_for(|datagram| datagram.starts_with("RELOADING=1\n"));
        let mut newcomer = daemon.connect();
        check_message(&mut newcomer, "hi");
        assert_eq!(client.hear(), "hi");
        assert!(!daemon.log().contains("configuration rejected"), "it hangs");
        daemon.signal(signal);
        assert_eq!((client.closed().1, newcomer.closed().1), (close, close));
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(!daemon.log().contains("configuration rejected"), "{}", daemon.log());
    }
}

#[test]
fn a_stop_is_obeyed_while_the_start_blocks() {
    let hung = TempDir::new().unwrap();
    let config = &configurations_with(&hung.path().join("file").display().to_string())[0];
    let control = hung.path().join("control.sock").display().to_string();
    let file = with_blocked_folder(Setup::new(config), hung.path());
    let socket = with_blocked_folder(Setup::new(""), hung.path());
    let socket = socket.without_control().arg("--control").arg(&control);
    for setup in [file, socket] {
        let mut daemon = setup.spawn();
        let thread = |name: &str| {
            let comm = format!("/proc/{}/task", daemon.pid());
            let tasks = fs::read_dir(comm).into_iter().flatten().flatten();
            let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
            names.map(|name| name.trim_end().to_owned()).any(|found| found == name)
        };
        until("a thread that hangs", || (thread("config") || thread("start")).then_some(()));
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    }
}

#[test]
fn a_blocked_record_delays_neither_reload_nor_stop() {
    let hung = TempDir::new().unwrap();
    let config = format!("record.dir = '{}'\n", hung.path().join("record").display());
    let mut daemon = with_blocked_folder(Setup::new(&config), hung.path()).start();
    let mut client = daemon.connect();
    check_message(&mut client, "one");
    daemon.reload("");
    daemon.reload(&config);
    check_message(&mut client, "two");
    daemon.signal(Signal::TERM);
    assert_eq!(client.closed().1, 1001);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// Runs a command as an ordinary user: root has no limit of threads.
fn as_user(id: u32) -> String {
    format!(
        r#"test "$(id -u)" = 0 || exec "$@"
        exec setpriv --reuid={id} --regid={id} --clear-groups "$@""#
    )
}

/// Runs a daemon as such a user with `command`, with its own folder and program.
fn run_as_user(setup: Setup, id: u32, command: &str) -> Setup {
    let script = format!(
        r#"folder=$(dirname "$3") program=$1 user=$0; shift
        cp "$program" "$folder/wschat" || exit 1
        test "$(id -u)" != 0 || chown -R {id} "$folder" || exit 1
        exec sh -c "$user" sh {command} "$folder/wschat" "$@""#
    );
    setup.wrapper(&["sh", "-c", &script, &as_user(id)])
}

#[test]
fn a_reload_without_a_thread_fails_and_changes_nothing() {
    let daemon = run_as_user(Setup::new(""), 54_321, "").start();
    let mut client = daemon.connect();
    check_message(&mut client, "one");
    let pid = daemon.pid().to_string();
    let limit = ["-c", &as_user(54_321), "sh", "prlimit", "--nproc=1", "--pid", &pid];
    assert!(Command::new("sh").args(limit).status().unwrap().success());
    for words in [&["reload"][..], &["clients"]] {
        let output = daemon.command(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(text.contains("no thread for "), "{text}");
    }
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("configuration rejected");
    check_message(&mut client, "two");
    check_message(&mut daemon.connect(), "three");
    check_stop(daemon);
}

/// Starts the daemon under rising limits until it succeeds. Every failed start must name
/// its reason.
fn check_starts(limits: impl Iterator<Item = u32>, setup: impl Fn(u32) -> Setup) {
    for limit in limits {
        let mut daemon = setup(limit).spawn();
        let listens = until("its start or end", || {
            let listens = daemon.log().contains("listening on ");
            (listens || daemon.has_ended()).then_some(listens)
        });
        if listens {
            return check_stop(daemon);
        }
        let (code, log) = daemon.ends_with();
        assert!([Some(66), Some(71)].contains(&code), "{limit}: {code:?} {log}");
        assert!(log.lines().any(|line| line.starts_with("wschat: ")), "{limit}: {log}");
        assert!(!log.contains("panicked"), "{limit}: {log}");
    }
    panic!("it never came up");
}

#[test]
fn a_start_without_threads_names_the_reason() {
    let threads = |limit| run_as_user(Setup::new(""), 54_322, &format!("prlimit --nproc={limit}"));
    check_starts(1..20, threads);
}

#[test]
fn a_start_without_descriptors_names_the_reason() {
    let limit = |limit| Setup::new("").wrapper(&["prlimit", &format!("--nofile={limit}")]);
    // The dynamic linker needs some, too.
    check_starts(5..40, limit);
}

#[test]
fn moderation_is_saved_after_a_full_disk() {
    // A limit of file sizes acts like a full disk.
    let daemon = Setup::new("").wrapper(&["prlimit", "--fsize=0:"]).start();
    assert!(daemon.command(&["mute", "bob"]).status().unwrap().success());
    daemon.wait_for_log("moderation decisions are not saved: File too large");
    let is_unsaved = || {
        let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
        String::from_utf8(status).unwrap().contains("\"moderation_unsaved\":\"File too large")
    };
    assert!(is_unsaved());
    daemon.reload("");
    assert!(is_unsaved(), "a reload saves nothing");
    let limit = ["--fsize=unlimited", "--pid", &daemon.pid().to_string()];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    daemon.wait_for_log("moderation decisions are saved again");
    assert!(!is_unsaved());
    let file = daemon.control().with_file_name("control.sock.moderation.json");
    assert!(fs::read_to_string(file).unwrap().contains("bob"));
    check_stop(daemon);
}

#[test]
fn each_control_socket_has_its_own_moderation_file() {
    let folder = TempDir::new().unwrap();
    let start = |name: &str| {
        let control = folder.path().join(name).display().to_string();
        Setup::new("").without_control().arg("--control").arg(&control).start()
    };
    let ask = |name: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
        let output =
            command.args(words).arg("--control").arg(folder.path().join(name)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let names = ["a.sock", "b.sock"];
    let daemons = names.map(start);
    for name in names {
        ask(name, &["mute", &format!("user of {name}")]);
        let file = folder.path().join(format!("{name}.moderation.json"));
        until("the file", || fs::read_to_string(&file).ok().filter(|text| text.contains(name)));
    }
    for mut daemon in daemons {
        daemon.signal(Signal::KILL);
        daemon.wait();
    }
    let _daemons = names.map(start);
    for (name, other) in [("a.sock", "b.sock"), ("b.sock", "a.sock")] {
        let mutes = ask(name, &["mutes"]);
        assert!(mutes.contains(name) && !mutes.contains(other), "{mutes}");
    }
}

#[test]
fn blocked_signals_are_unblocked() {
    let blocked = ["env", "--block-signal=HUP,TERM,INT,USR2"];
    let daemon = Setup::new("").wrapper(&blocked).start();
    daemon.reload("[page]\nenabled = false\n");
    check_stop(daemon);
}

#[test]
fn a_full_control_socket_does_not_block_the_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("c.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let next =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        next.set_nonblocking(true).unwrap();
        match next.connect(&socket2::SockAddr::unix(&path).unwrap()) {
            Ok(()) => waiting.push(next),
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let control = path.display().to_string();
    let (code, log) =
        Setup::new("").without_control().arg("--control").arg(&control).spawn().ends_with();
    assert_eq!(code, Some(69), "{log}");
}
