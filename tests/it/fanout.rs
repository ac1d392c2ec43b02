//! The room's bounds over real sockets: many listeners, floods, and listeners that do not
//! read.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Client, DEADLINE, Daemon, Setup, UNLIMITED, until};

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: room\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Opens a WebSocket without a library between the socket and the test.
async fn open(daemon: &Daemon) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // A client with large buffers of its own would read rarely, and much at once.
    socket.set_recv_buffer_size(65_536).unwrap();
    let mut stream = socket.connect(daemon.addr).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Resident memory in bytes.
fn memory(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_flood_slows_the_senders_and_closes_no_listener() {
    const SENDERS: usize = 100;
    const LISTENERS: usize = 20;
    const FLOOD: Duration = Duration::from_secs(2);
    // The test ends when everything is received, however slow the machine is.
    let config = "room.presence = false\n\
        [limits]\nmessages_per_sec = 0\nping_interval_secs = 3600\nidle_timeout_secs = 7200\n\
        [server]\nthreads = 2\nshutdown_timeout_secs = 120\n";
    let daemon = Daemon::start(config);
    let text = br#"{"usr":"flood","msg":"a message of some sixty bytes, as people send them"}"#;
    let mut burst = Vec::new();
    for _ in 0..100 {
        burst.extend_from_slice(&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
        burst.extend_from_slice(text);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (streams, most, blocked) = runtime.block_on(async {
        let mut tasks = Vec::new();
        let mut sockets = Vec::new();
        for _ in 0..SENDERS + LISTENERS {
            sockets.push(open(&daemon).await);
        }
        let begin = Instant::now();
        let mut halves = Vec::new();
        for (number, socket) in sockets.into_iter().enumerate() {
            // Comparing what senders receive would only slow them down.
            let listens = number >= SENDERS;
            let (mut from, to) = socket.into_split();
            halves.push(to);
            tasks.push(tokio::spawn(async move {
                let mut hasher = DefaultHasher::new();
                let (mut total, mut end) = (0, String::new());
                let mut buffer = vec![0; 65_536];
                // The end may be a reset for a sender whose messages were not all read.
                while let Ok(read @ 1..) = from.read(&mut buffer).await {
                    if listens {
                        hasher.write(&buffer[..read]);
                    }
                    total += read;
                    end = String::from_utf8_lossy(&buffer[read.saturating_sub(60)..read]).into();
                }
                (total, hasher.finish(), end)
            }));
        }
        // The senders have their own thread, and never wait.
        let flood = thread::spawn(move || {
            let (mut sent, mut blocked) = ([0; SENDERS], 0);
            // Until TCP blocks, at least.
            while begin.elapsed() < FLOOD || (blocked == 0 && begin.elapsed() < DEADLINE) {
                for (half, sent) in halves.iter().zip(&mut sent) {
                    match half.try_write(&burst[*sent % burst.len()..]) {
                        Ok(more) => *sent += more,
                        Err(_) => blocked += 1,
                    }
                }
            }
            // Dropping the write half announces the end.
            (halves, blocked)
        });
        let mut most = 0;
        while begin.elapsed() < FLOOD {
            most = most.max(memory(&daemon));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (_halves, blocked) = flood.join().unwrap();
        daemon.signal(Signal::TERM);
        let mut streams = Vec::new();
        for task in tasks {
            streams.push(task.await.unwrap());
        }
        (streams, most, blocked)
    });
    let listeners = &streams[SENDERS..];
    let (total, hash, _) = listeners[0];
    assert!(total > 100_000, "{total} bytes are no flood");
    for (number, stream) in listeners.iter().enumerate() {
        let (own_total, own_hash, end) = stream;
        assert!(
            (*own_total, *own_hash) == (total, hash),
            "listener {number} ended after {own_total} of {total} bytes: {end}"
        );
    }
    assert!(blocked > 0, "no sender was slowed");
    assert!(most < 64 << 20, "{most} bytes of memory");
}

#[test]
fn a_listener_that_does_not_read_gets_whole_frames_and_a_close() {
    let limits =
        "[limits]\nmessages_per_sec = 0\nfeed_tail_bytes = 65536\nsend_buffer_bytes = 4096\n";
    let daemon = Daemon::start(limits);
    let mut stalled = daemon.connect();
    SockRef::from(stalled.0.get_ref()).set_recv_buffer_size(4096).unwrap();
    let mut speaker = daemon.connect();
    let long = "x".repeat(4000);
    let mut said = 0;
    // More than the kernel's buffers and the tail hold.
    while said < 60 {
        speaker.say("ann", &format!("{said} {long}"));
        speaker.hear();
        said += 1;
    }
    let (texts, code, reason) = stalled.closed();
    assert_eq!(code, 1013, "{reason}");
    let line = daemon.wait_for_log("closed a connection from 127.0.0.1, id ");
    assert!(line.ends_with(": too-slow"), "{line}");
    for (number, text) in texts.iter().enumerate() {
        assert!(text.contains(&format!(r#""msg":"{number} "#)), "{number}");
    }
    let behind = reason.strip_prefix("too slow: ").and_then(|r| r.strip_suffix(" messages behind"));
    let behind: usize = behind.unwrap_or_else(|| panic!("{reason}")).parse().unwrap();
    assert!(behind > 0 && texts.len() + behind <= said, "{} and {behind}", texts.len());
}

#[test]
fn listeners_that_do_not_read_need_only_the_tail() {
    let daemon = Daemon::start(UNLIMITED);
    let mut speaker = daemon.connect();
    let stalled: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    for socket in stalled.iter().map(|client| SockRef::from(client.0.get_ref())) {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    let long = "x".repeat(16_000);
    let mut say = |times| {
        for _ in 0..times {
            speaker.say("ann", &long);
            speaker.hear();
        }
    };
    say(20);
    let before = memory(&daemon);
    // More than twice the tail: a queue for each listener would exceed the bound below.
    say(500);
    let added = memory(&daemon).saturating_sub(before);
    assert!(added < 8 << 20, "{added} bytes for {} listeners that do not read", stalled.len());
}

/// The number of sockets of the daemon. Other descriptors do not count: it may have a file open
/// for a moment, e.g. /etc/localtime.
fn sockets(daemon: &Daemon) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
    let target = |fd: fs::DirEntry| fs::read_link(fd.path()).unwrap_or_default();
    descriptors.map(target).filter(|to| to.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_client_that_cannot_take_the_close_frame_is_dropped() {
    let limits =
        "[limits]\nmessages_per_sec = 0\nfeed_tail_bytes = 65536\nsend_buffer_bytes = 4096\n";
    let daemon = Daemon::start(limits);
    let mut speaker = daemon.connect();
    let before = sockets(&daemon);
    let stalled: Vec<Client> = (0..3).map(|_| daemon.connect()).collect();
    until("the sockets", || (sockets(&daemon) == before + 3).then_some(()));
    let long = "x".repeat(16_000);
    for _ in 0..700 {
        speaker.say("ann", &long);
        speaker.hear();
    }
    until("their end", || (sockets(&daemon) == before).then_some(()));
    drop(stalled);
}

#[test]
fn every_shard_has_a_named_thread() {
    let daemon = Setup::new(UNLIMITED).arg("--threads=3").start();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap();
    until("their names", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let mut names: Vec<_> = tasks.map(name).filter(|name| name.starts_with("shard-")).collect();
        names.sort_unstable();
        (names == ["shard-0\n", "shard-1\n", "shard-2\n"]).then_some(())
    });
}

#[test]
fn memory_is_freed_after_storms_of_connections() {
    let daemon = Daemon::start(UNLIMITED);
    let calm = sockets(&daemon);
    let storm = |connections: usize| {
        drop((0..connections).map(|_| daemon.connect()).collect::<Vec<_>>());
        until("the end of the storm", || (sockets(&daemon) == calm).then_some(()));
    };
    // Every daemon's memory grows with its first clients.
    storm(200);
    let before = memory(&daemon);
    for _ in 0..3 {
        storm(2000);
    }
    // The allocator reuses the memory of earlier storms.
    until("the memory", || (memory(&daemon) < before + (1 << 20)).then_some(()));
}
