//! Restarts that keep all connections: one process hands over to the next, through a
//! store like that of systemd. `tests/system/` does it under load with the real systemd.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;
use tungstenite::Message;
use wschat::ws::frame::client_frame;

use crate::harness::{Client, Daemon, Setup};

const CONFIG: &str = "limits.messages_per_sec = 0\n[server]\nthreads = 2\n";

/// A service manager with a store for descriptors.
pub struct Manager {
    config: String,
    folder: TempDir,
    /// The stored descriptors with their names.
    stored: Receiver<(String, OwnedFd)>,
    listener: TcpListener,
}

impl Manager {
    fn new() -> Self {
        Self::with_places(usize::MAX)
    }

    /// Its daemons get this configuration.
    pub fn with_config(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::new() }
    }

    /// Keeps this many descriptors, and drops later ones as systemd does.
    fn with_places(places: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        fs::create_dir(folder.path().join("record")).unwrap();
        let (store, stored) = channel();
        thread::spawn(move || {
            let mut kept = 0;
            loop {
                let mut bytes = [0; 4096];
                let mut space = [MaybeUninit::uninit(); 512];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut parts = [IoSliceMut::new(&mut bytes)];
                let Ok(message) = recvmsg(&socket, &mut parts, &mut control, RecvFlags::empty())
                else {
                    return;
                };
                let text = String::from_utf8_lossy(&bytes[..message.bytes]).into_owned();
                let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
                for message in control.drain() {
                    let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
                    for descriptor in descriptors {
                        // Descriptors of other datagrams are closed at once.
                        if let (Some(name), true) = (name, text.contains("FDSTORE=1")) {
                            assert!(text.contains("FDPOLL=0"), "{text}");
                            if kept < places {
                                kept += 1;
                                let _ = store.send((name.to_owned(), descriptor));
                            }
                        }
                    }
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { config: CONFIG.to_owned(), folder, stored, listener }
    }

    /// Starts a daemon with the room's listener and the stored descriptors.
    pub fn start(&self, stored: Option<(String, OwnedFd)>) -> Daemon {
        let listener = OwnedFd::from(self.listener.try_clone().unwrap());
        let (mut sockets, mut names) = (vec![listener], "wschat".to_owned());
        if let Some((name, descriptor)) = stored {
            names = format!("{names}:{name}");
            sockets.push(descriptor);
        }
        Setup::new(&self.config)
            .without_listen()
            .inherit(sockets, &names)
            .env("NOTIFY_SOCKET", &self.folder.path().join("notify").display().to_string())
            .env("FDSTORE", "16")
            .env("LOG_DIR", &self.record().display().to_string())
            .start()
    }

    /// Where the daemon records messages.
    fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// Restarts the daemon as `systemctl restart` does.
    pub fn restart(&self, mut daemon: Daemon) -> Daemon {
        daemon.signal(Signal::USR2);
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
        let stored = self.stored.try_recv().expect("everything is stored before the end");
        let next = self.start(Some(stored));
        next.wait_for_log("took over the room");
        next
    }
}

#[test]
fn every_message_is_recorded_once_over_restarts() {
    let manager = Manager::new();
    let mut daemon = manager.start(None);
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
    let mut daemon = manager.start(None);
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
    let daemon = manager.start(None);
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
    let mut daemon = manager.start(None);
    let mut member = daemon.connect();
    daemon.signal(Signal::USR2);
    assert_eq!(daemon.wait().code(), Some(0));
    let stream = TcpStream::connect(manager.listener.local_addr().unwrap()).unwrap();
    let waiting =
        thread::spawn(move || Client(tungstenite::client("ws://room/", stream).unwrap().0));
    let _next = manager.start(Some(manager.stored.recv().unwrap()));
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
    closes_for_a_restart(manager.start(None));
}

#[test]
fn a_store_without_space_loses_no_message() {
    let manager = Manager::with_places(0);
    let manager = Manager { config: format!("{CONFIG}shutdown_timeout_secs = 60\n"), ..manager };
    let mut daemon = manager.start(None);
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
    let mut daemon = manager.start(None);
    let mut client = daemon.connect();
    daemon.signal(Signal::USR2);
    assert_eq!(daemon.wait().code(), Some(0));
    let (name, parked) = manager.stored.recv().unwrap();
    // The state was taken out, and only the sockets are left.
    let end = std::os::unix::net::UnixStream::from(parked);
    let sockets = receive_without_the_state(&end);
    let (sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
    park_again(&sender, &sockets);
    drop(sockets);
    drop(sender);
    let next = manager.start(Some((name, receiver.into())));
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
    let daemon = manager.start(None);
    let mut client = daemon.connect();
    // Over the limit: the server sends 1009 and waits for the end.
    client.0.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(matches!(client.0.read().unwrap(), Message::Close(Some(_))));
    let _next = manager.restart(daemon);
    let mut rest = Vec::new();
    client.0.get_mut().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "nothing follows a close frame: {rest:?}");
}
