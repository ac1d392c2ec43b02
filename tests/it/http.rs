//! HTTP over real sockets. `src/server/http/tests.rs` has the table of requests and responses.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use wschat::ws::frame::client_frame;

use crate::harness::{Client, DEADLINE, Daemon, Setup, UPGRADE, until};

/// Reads until what has come ends with `end`.
fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
        });
        bytes.extend(byte);
    }
    bytes
}

fn raw(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn requests_and_their_first_line() {
    let daemon = Daemon::start("");
    for (request, want) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("GET /wschat.js HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (&UPGRADE.replace("Version: 13", "Version: 8"), "HTTP/1.1 426 Upgrade Required"),
        (&UPGRADE.replace("Key: d", "Key: "), "HTTP/1.1 400 Bad Request"),
        (&UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), "HTTP/1.0 200 OK"),
        (&UPGRADE.replace("Host: h", "Host: h/"), "HTTP/1.1 400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "HTTP/1.1 200 OK"),
        // The default check of HAProxy.
        ("OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK"),
        // Later versions are served as the one that is spoken.
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK"),
        ("\r\nGET /nowhere HTTP/1.9\r\nHost: h\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("GET / HTTP/1.2\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET / HTTP/1.12\r\nHost: h\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        let answer = daemon.http(request);
        assert_eq!(answer.lines().next(), Some(want), "{request}\n{answer}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let daemon = Daemon::start("");
    let get = daemon.http("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = daemon.http("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let split = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter(|line| !line.starts_with("date: "));
        (lines.map(str::to_owned).collect::<Vec<_>>(), body.to_owned())
    };
    let ((get_head, page), (head_head, nothing)) = (split(&get), split(&head));
    assert_eq!(get_head, head_head);
    assert!(get_head.contains(&format!("content-length: {}", page.len())));
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(nothing, "");
}

#[test]
fn a_body_that_nobody_reads_does_not_cost_the_answer() {
    let daemon = Daemon::start("");
    let body = "x".repeat(60_000);
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    let answer = daemon.http(&(head + &body));
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.ends_with(" here.\n"), "{answer}");
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let daemon = Daemon::start("");
    let cookie = "x".repeat(20_000);
    let answer = daemon.http(&format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn a_client_that_does_not_finish_its_request_is_cut() {
    let daemon = Daemon::start("[limits]\nhandshake_timeout_secs = 1\n");
    for half in ["", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        let mut stream = raw(&daemon);
        stream.write_all(half.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // A reset is as good as an end; the deadline would be another error.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(rest, b"");
    }
    // One that did is not.
    let mut client = daemon.connect();
    client.say("ann", "still here");
    assert_eq!(client.hear(), "still here");
}

/// More of them than the door has places, and each has a lot of time.
#[test]
fn who_takes_long_gives_way_to_who_comes() {
    const PLACES: usize = 1024;
    let daemon = Daemon::start("limits.handshake_timeout_secs = 120");
    let mut slow: Vec<TcpStream> = (0..PLACES + 100).map(|_| raw(&daemon)).collect();
    for guest in &mut slow[PLACES / 2..] {
        guest.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ").unwrap();
    }
    let mut client = daemon.connect();
    client.say("ann", "at once");
    assert_eq!(client.hear(), "at once");
    // Those who came first are gone, the others may go on.
    for guest in &mut slow[..100] {
        assert_eq!(guest.read(&mut [0]).unwrap_or(0), 0);
    }
    let last = slow.last_mut().unwrap();
    last.write_all(b"no longer\r\n\r\n").unwrap();
    assert!(read_until(last, b"\r\n").starts_with(b"HTTP/1.1 200 OK"));
    let out = daemon.command(&["status"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    // Whoever has asked when it is let in needs no place.
    assert!(text.contains("crowded 100\n") || text.contains("crowded 101\n"), "{text}");
}

#[test]
fn what_comes_with_the_request_is_not_lost() {
    let daemon = Daemon::start("");
    let text = r#"{"usr":"ann","msg":"early"}"#;
    let whole = [UPGRADE.as_bytes(), &client_frame(0x81, text.as_bytes())].concat();
    // Also cut inside of the frame, where a part of it is with the shard later.
    for cut in [whole.len(), UPGRADE.len(), UPGRADE.len() + 1, UPGRADE.len() + 9, 20] {
        let mut stream = raw(&daemon);
        stream.write_all(&whole[..cut]).unwrap();
        if cut >= UPGRADE.len() {
            read_until(&mut stream, b"\r\n\r\n");
        }
        stream.write_all(&whole[cut..]).unwrap();
        let answer = read_until(&mut stream, b"\"early\"");
        assert!(answer.ends_with(br#"{"usr":"ann","msg":"early""#), "cut at {cut}");
    }
}

#[test]
fn a_request_in_pieces_gets_the_answer_of_a_whole_one() {
    let daemon = Daemon::start("");
    let answer = |pieces: &[&str]| {
        let mut stream = raw(&daemon);
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            // Nothing tells a client that its bytes were read, but another who came later is in.
            daemon.connect();
        }
        let answer = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap();
        let mut lines: Vec<_> = answer.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date: "));
        lines[1..].sort();
        lines
    };
    let (begin, end) = UPGRADE.split_at(40);
    assert_eq!(answer(&[begin, end]), answer(&[UPGRADE]));
}

#[test]
fn a_full_room_refuses_until_somebody_leaves() {
    let daemon = Daemon::start("[limits]\nconnections_max = 2\n");
    let first = daemon.connect();
    let _second = daemon.connect();
    let answer = daemon.http(UPGRADE);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 10\r\n"), "{answer}");
    assert!(daemon.http("GET / HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 200 "));
    drop(first);
    until("a free seat", || {
        let mut stream = raw(&daemon);
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        read_until(&mut stream, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 ").then_some(())
    });
}

/// In pieces as well, and with a message behind it.
#[test]
fn a_websocket_is_opened_by_a_later_version_of_http() {
    let daemon = Daemon::start("");
    let text = client_frame(0x81, br#"{"usr":"ann","msg":"later"}"#);
    let request = UPGRADE.replace("HTTP/1.1", "HTTP/1.7");
    for pieces in [vec![request.as_bytes()], request.as_bytes().chunks(13).collect()] {
        let mut stream = raw(&daemon);
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
        stream.write_all(&text).unwrap();
        assert!(read_until(&mut stream, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 "));
        read_until(&mut stream, b"\"later\"");
    }
}

#[test]
fn half_a_connection_still_gets_its_answer() {
    let daemon = Daemon::start("");
    let mut stream = raw(&daemon);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn a_unix_socket_is_a_way_in_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.sock");
    // One that an earlier run left behind.
    drop(UnixListener::bind(&path).unwrap());
    let listen = format!("[listen]\naddresses = ['127.0.0.1:0', 'unix:{}']\n", path.display());
    let mut daemon = Setup::new(&listen).without_listen().start();
    daemon.wait_for_log(&format!("listening on unix:{}", path.display()));
    let mut local = Client::over(UnixStream::connect(&path).unwrap());
    let mut remote = daemon.connect();
    local.say("ann", "from here");
    assert_eq!((local.hear(), remote.hear()), ("from here".into(), "from here".into()));

    let second = Setup::new(&listen).without_listen().spawn().ends_with();
    assert_eq!(second.0, Some(69));
    let path_text = path.display();
    assert_eq!(
        second.1,
        format!("wschat: unix:{path_text}: Address already in use (os error 98)\n")
    );

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!((local.closed().1, remote.closed().1), (1001, 1001));
    daemon.wait();
    assert!(!fs::exists(&path).unwrap(), "the socket file is gone");
}

/// A daemon that may open so many descriptors, and whose guests have time.
fn limited(descriptors: usize, more: &str) -> Daemon {
    let script = format!("ulimit -n {descriptors}; exec \"$@\"");
    let config = format!("limits.handshake_timeout_secs = 120\n{more}");
    Setup::new(&config).wrapper(&["sh", "-c", &script, "sh"]).start()
}

/// They have more time than this test, but not the places of others.
#[test]
fn silent_guests_keep_nobody_out_where_descriptors_are_few() {
    for descriptors in [128, 512, 1024] {
        let daemon = limited(descriptors, "");
        let _silent: Vec<TcpStream> = (0..descriptors + 100).map(|_| raw(&daemon)).collect();
        let mut client = daemon.connect();
        client.say("ann", "at once");
        assert_eq!(client.hear(), "at once");
        let status = daemon.command(&["status"]).output().unwrap();
        assert_eq!(status.status.code(), Some(0), "{descriptors}");
        assert!(!daemon.log().contains("cannot accept"), "{}", daemon.log());
    }
}

#[test]
fn a_room_that_is_full_to_its_descriptors_says_so_at_once() {
    let daemon = limited(256, "metrics.address = '127.0.0.1:0'\n");
    let enter = || {
        let mut stream = raw(&daemon);
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let head = read_until(&mut stream, b"\r\n\r\n");
        (stream, head)
    };
    let mut members = Vec::new();
    let refused = loop {
        let (stream, head) = enter();
        match head.starts_with(b"HTTP/1.1 101 ") {
            true => members.push(stream),
            false => break head,
        }
    };
    assert!(refused.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&refused));
    assert!(members.len() > 128, "{} are in", members.len());
    let _silent: Vec<TcpStream> = (0..300).map(|_| raw(&daemon)).collect();
    assert!(enter().1.starts_with(b"HTTP/1.1 503 "));
    let line = daemon.wait_for_log("metrics at http://");
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let mut health = TcpStream::connect(address).unwrap();
    health.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_until(&mut health, b"\r\n\r\n").starts_with(b"HTTP/1.1 200 "));
    let mut files: Vec<_> = (0..3).map(|_| daemon.command(&["status"])).collect();
    assert!(files.iter_mut().all(|ask| ask.status().unwrap().success()));
    // Somebody leaves, and another comes in.
    members.pop();
    until("a place", || enter().1.starts_with(b"HTTP/1.1 101 ").then_some(()));
}

/// Somebody else has all descriptors: those who come wait, and get in when there
/// are some.
#[test]
fn running_out_of_descriptors_is_only_a_pause() {
    let daemon = Daemon::start("");
    let mut early = daemon.connect();
    // Up to the first number that is free, so that none is.
    let is_open = |number: &u64| fs::exists(format!("/proc/{}/fd/{number}", daemon.pid()));
    let open = (0..).find(|number| !is_open(number).unwrap()).unwrap();
    let before = limit(&daemon, open);
    let mut late = raw(&daemon);
    late.write_all(UPGRADE.as_bytes()).unwrap();
    daemon.wait_for_log("cannot accept on");

    let ticks = cpu_ticks(&daemon);
    // The room itself does not mind, for as long as the pause lasts.
    for number in 0..10 {
        early.say("ann", &number.to_string());
        assert_eq!(early.hear(), number.to_string());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Half a second of a busy loop would be 50 ticks.
    let spent = cpu_ticks(&daemon) - ticks;
    assert!(spent < 25, "spent {spent} ticks on waiting");

    limit(&daemon, before);
    read_until(&mut late, b"\r\n\r\n");
    daemon.wait_for_log("accepting on");
    assert_eq!(daemon.log().matches("cannot accept on").count(), 1, "{}", daemon.log());
}

/// Bounds the descriptors of a daemon from now on; gives back how many it could
/// open before.
fn limit(daemon: &Daemon, descriptors: u64) -> u64 {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = Pid::from_raw(daemon.pid() as i32);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current: Some(descriptors), maximum });
    old.unwrap().current.unwrap_or(u64::MAX)
}

/// The processor time that a daemon has used, in hundredths of a second.
fn cpu_ticks(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // The name in brackets may hold spaces; utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
