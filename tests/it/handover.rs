//! Restarts that keep all connections: one process hands over to the next, through a
//! store like that of systemd. `tests/system/` does it under load with the real systemd.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tungstenite::Message;
use wschat::ws::frame::client_frame;

use crate::harness::{Client, Daemon};
use crate::manager::Manager;

#[test]
fn every_message_is_recorded_once_over_restarts() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let mut speaker = daemon.connect();
    let mut heard = Vec::new();
    for round in 0..3 {
        for n in 0..50 {
            speaker.say("ann", &format!("{round} {n}"));
            heard.push(speaker.text());
        }
        // The old or the new process accepts it.
        speaker.say("ann", "across");
        daemon = manager.restart(daemon);
        heard.push(speaker.text());
    }
    daemon.signal(Signal::TERM);
    speaker.closed();
    assert_eq!(daemon.wait().code(), Some(0));
    let mut files: Vec<_> = fs::read_dir(manager.record()).unwrap().map(Result::unwrap).collect();
    files.sort_by_key(fs::DirEntry::path);
    let texts: Vec<_> = files.iter().map(|day| fs::read_to_string(day.path()).unwrap()).collect();
    assert_eq!(texts.concat().lines().collect::<Vec<_>>(), heard);
}

#[test]
fn every_stream_continues_after_a_restart() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let mut listener = daemon.connect();
    let mut speaker = daemon.connect();
    let mut cut = daemon.connect();
    let mut fragmented = daemon.connect();
    let mut heard = Vec::new();
    for round in 0..5 {
        speaker.say("ann", &format!("before {round}"));
        // One frame is sent in part, and one message in fragments.
        let frame =
            client_frame(0x81, format!(r#"{{"usr":"cut","msg":"cut {round}"}}"#).as_bytes());
        let (left, right) = frame.split_at(1 + round * 7);
        cut.0.get_mut().write_all(left).unwrap();
        let text = format!(r#"{{"usr":"parts","msg":"parts {round}"}}"#);
        let (first, last) = text.as_bytes().split_at(9);
        fragmented.0.get_mut().write_all(&client_frame(0x01, first)).unwrap();
        heard.push(listener.json());
        daemon = manager.restart(daemon);
        cut.0.get_mut().write_all(right).unwrap();
        heard.push(listener.json());
        fragmented.0.get_mut().write_all(&client_frame(0x80, last)).unwrap();
        heard.push(listener.json());
    }
    let said: Vec<_> = heard.iter().map(|message| message["msg"].as_str().unwrap()).collect();
    let wanted: Vec<_> = (0..5)
        .flat_map(|n| [format!("before {n}"), format!("cut {n}"), format!("parts {n}")])
        .collect();
    assert_eq!(said, wanted);
    let tims: Vec<_> = heard.iter().map(|message| message["tim"].as_str().unwrap()).collect();
    assert!(tims.is_sorted_by(|a, b| a < b), "{tims:?}");
    // All others received the same.
    for client in [&mut speaker, &mut cut, &mut fragmented] {
        let all: Vec<_> = (0..15).map(|_| client.json()).collect();
        assert_eq!(all, heard);
    }
}

#[test]
fn a_slow_listener_misses_nothing_over_a_restart() {
    let manager = Manager::new();
    let daemon = manager.start();
    let mut stalled = daemon.connect();
    let mut speaker = daemon.connect();
    let long = "x".repeat(10_000);
    for number in 0..150 {
        speaker.say("ann", &format!("{number} {long}"));
        speaker.hear();
    }
    let daemon = manager.restart(daemon);
    speaker.say("ann", "after");
    for number in 0..150 {
        assert_eq!(stalled.hear(), format!("{number} {long}"));
    }
    assert_eq!(stalled.hear(), "after");
    drop(daemon);
}

#[test]
fn a_connection_in_the_backlog_is_served_by_the_next_process() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let mut member = daemon.connect();
    daemon.signal(Signal::USR2);
    assert_eq!(daemon.wait().code(), Some(0));
    let stream = TcpStream::connect(manager.listener.local_addr().unwrap()).unwrap();
    let waiting =
        thread::spawn(move || Client(tungstenite::client("ws://room/", stream).unwrap().0));
    let _next = manager.start();
    let mut newcomer = waiting.join().unwrap();
    newcomer.say("bob", "hello");
    assert_eq!((newcomer.hear(), member.hear()), ("hello".into(), "hello".into()));
}

#[test]
fn without_a_store_a_restart_closes_with_1012() {
    closes_for_a_restart(Daemon::start(""));
}

#[test]
fn a_store_without_space_is_detected() {
    // Like systemd 252 with FileDescriptorStoreMax=0, which does not report it.
    let manager = Manager::with_places(0);
    closes_for_a_restart(manager.start());
}

#[test]
fn a_store_without_space_loses_no_message() {
    let mut manager = Manager::with_places(0);
    manager.config += "shutdown_timeout_secs = 60\n";
    let mut daemon = manager.start();
    let (mut stalled, mut speaker) = (daemon.connect(), daemon.connect());
    // More than the sockets take, so the stalled one is in the middle of a frame.
    let long = "x".repeat(10_000);
    for number in 0..150 {
        speaker.say("ann", &format!("{number} {long}"));
        speaker.hear();
    }
    daemon.signal(Signal::USR2);
    daemon.wait_for_log("descriptor store");
    for number in 0..150 {
        assert_eq!(stalled.hear(), format!("{number} {long}"));
    }
    for mut client in [stalled, speaker] {
        let (texts, code, reason) = client.closed();
        assert_eq!((texts.len(), code, reason.as_str()), (0, 1012, "server restarts"));
    }
    assert_eq!(daemon.wait().code(), Some(0));
}

#[track_caller]
fn closes_for_a_restart(mut daemon: Daemon) {
    let mut client = daemon.connect();
    daemon.signal(Signal::USR2);
    let (_, code, reason) = client.closed();
    assert_eq!((code, reason.as_str()), (1012, "server restarts"));
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.wait_for_log("descriptor store");
}

#[test]
fn sockets_without_a_readable_state_are_closed() {
    let manager = Manager::new();
    let mut daemon = manager.start();
    let mut client = daemon.connect();
    daemon.signal(Signal::USR2);
    assert_eq!(daemon.wait().code(), Some(0));
    let (name, parked) = manager.take_handover();
    // The state was taken out, and only the sockets are left.
    let end = std::os::unix::net::UnixStream::from(parked);
    let sockets = receive_without_the_state(&end);
    let (sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
    park_again(&sender, &sockets);
    drop(sockets);
    drop(sender);
    manager.store().push((name, receiver.into()));
    let next = manager.start();
    next.wait_for_log("no snapshot was stored");
    assert_eq!(client.closed().1, 1012);
    let mut newcomer = next.connect();
    newcomer.say("ann", "still here");
    assert_eq!(newcomer.hear(), "still here");
}

fn receive_without_the_state(end: &std::os::unix::net::UnixStream) -> Vec<OwnedFd> {
    let mut bytes = [0; 300];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    recvmsg(end, &mut parts, &mut control, RecvFlags::empty()).unwrap();
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    rights.flatten().skip(1).collect()
}

fn park_again(to: &std::os::unix::net::UnixStream, sockets: &[OwnedFd]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    let descriptors: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.extend(sockets.iter().map(|_| b'w'));
    sendmsg(to, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn a_closing_handshake_continues_after_a_restart() {
    let manager = Manager::new();
    let daemon = manager.start();
    let mut client = daemon.connect();
    client.presence();
    // Over the limit: the server sends 1009 and waits for the end.
    client.0.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(matches!(client.0.read().unwrap(), Message::Close(Some(_))));
    let _next = manager.restart(daemon);
    let mut rest = Vec::new();
    client.0.get_mut().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "nothing follows a close frame: {rest:?}");
}
