//! Listening sockets that the service manager keeps for the next process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::harness::{Client, Setup, until};
use crate::manager::{LISTENER, Manager};
use crate::systemd::Mailbox;

/// A listening socket with a place beside it, as ReusePort=yes makes it.
fn shared_listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn kept(manager: &Manager) -> usize {
    manager.store().iter().filter(|stored| stored.0.starts_with(LISTENER)).count()
}

#[test]
fn a_restart_without_a_socket_continues_with_the_kept_one() {
    let mut manager = Manager::new();
    manager.listener = shared_listener();
    let daemon = manager.start();
    let mut client = daemon.connect();
    until("systemd keeps the listener", || (kept(&manager) == 1).then_some(()));
    manager.passes_listener = false;
    // It is kept for every later process as well.
    let daemon = manager.restart(daemon);
    let daemon = manager.restart(daemon);
    let problem =
        daemon.wait_for_log("systemd passed no socket: the room still listens on 127.0.0.1:");
    assert!(problem.contains("systemctl restart wschat.socket"), "{problem}");
    daemon.connect().say("ann", "here");
    assert_eq!(client.hear(), "here");
    daemon.reload("");
    let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
    let status: Value = serde_json::from_slice(&status).unwrap();
    let told = status["listen_problem"].as_str().unwrap();
    assert!(told.contains("systemctl restart wschat.socket"), "{told}");

    manager.passes_listener = true;
    let daemon = manager.restart(daemon);
    let status = daemon.command(&["status", "--json"]).output().unwrap().stdout;
    assert!(!String::from_utf8(status).unwrap().contains("listen_problem"));
}

#[test]
fn a_socket_that_takes_its_address_alone_is_not_kept() {
    let manager = Manager::new();
    let daemon = manager.restart(manager.start());
    // The descriptors are stored one after the other.
    manager.tail_file(&daemon);
    assert_eq!(kept(&manager), 0);
}

#[test]
fn passed_sockets_replace_kept_ones() {
    let (passed, former) = (shared_listener(), shared_listener());
    let before = former.local_addr().unwrap();
    // It waits when the daemon starts.
    let waiting = TcpStream::connect(before).unwrap();
    let mut manager = Mailbox::new();
    let daemon = Setup::new("")
        .without_listen()
        .inherit([passed.into(), former.into()], "wschat:wschat-listener-0")
        .env("NOTIFY_SOCKET", &manager.path().display().to_string())
        .env("FDSTORE", "16")
        .start();
    let mut waiting = Client::open(waiting, &format!("ws://{before}/"));
    daemon.connect().say("ann", "to all");
    assert_eq!(waiting.hear(), "to all");
    until("the former socket is closed", || TcpStream::connect(before).err());
    manager.wait_for(|told| told == "FDSTOREREMOVE=1\nFDNAME=wschat-listener-0\n");
    manager.wait_for(|told| told == "FDSTORE=1\nFDNAME=wschat-listener-0\nFDPOLL=0\n");
}

#[test]
fn what_is_no_listener_is_not_used() {
    let (one, _other) = UnixStream::pair().unwrap();
    let daemon = Setup::new("")
        .without_listen()
        .inherit([shared_listener().into(), one.into()], "wschat:wschat-listener-0")
        .start();
    daemon.connect();
}
