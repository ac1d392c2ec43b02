//! A listener that comes back gets what it has missed, or is told that something is missing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wschat::chat::Tim;

use crate::events::EventStream;
use crate::harness::{Client, DEADLINE, Daemon, UNLIMITED};

/// Opens a WebSocket with this query.
fn resume(daemon: &Daemon, query: &str) -> Client {
    let stream = TcpStream::connect(daemon.addr).unwrap();
    Client::open(stream, &format!("ws://{}/?{query}", daemon.addr))
}

/// Sends a message, and returns its `tim`.
fn say(client: &mut Client, msg: &str) -> String {
    client.say("ann", msg);
    client.json()["tim"].as_str().unwrap().to_owned()
}

/// The `tim` so many milliseconds from now.
fn from_now(ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    Tim::from_nanos((now + ms * 1_000_000) as u64).to_string()
}

/// Returns the next message or notice.
type Next = Box<dyn FnMut() -> Value>;

/// Opens a listener of either kind with this query.
const OPEN: [fn(&Daemon, &str) -> Next; 2] = [
    |daemon, query| {
        let mut client = resume(daemon, query);
        Box::new(move || client.json())
    },
    |daemon, query| {
        let mut events = EventStream::open(daemon, &format!("/events?{query}"));
        Box::new(move || events.json())
    },
];

#[test]
fn the_tail_and_the_live_stream_have_no_seam() {
    let daemon = Daemon::start(UNLIMITED);
    let mut speaker = daemon.connect();
    let mut tims: Vec<String> = (0..50).map(|_| say(&mut speaker, "hi")).collect();
    for open in OPEN {
        for from in [0, 1, 25, 48, 49] {
            let mut next = open(&daemon, &format!("since={}", tims[from]));
            for tim in &tims[from + 1..] {
                assert_eq!(next(), json!({ "usr": "ann", "msg": "hi", "tim": tim }));
            }
            tims.push(say(&mut speaker, "hi"));
            assert_eq!(next()["tim"], tims[tims.len() - 1]);
        }
    }
}

#[test]
fn a_gap_comes_first_with_both_of_its_ends() {
    let daemon = Daemon::start(UNLIMITED);
    let long_ago = "2020-08-11T22:26:58.100000000Z";
    for open in OPEN {
        let gap = open(&daemon, "since=2020-08-11t22:26:58.1%2B00:00")();
        assert_eq!(
            gap,
            json!({
                "usr": "wschat", "msg": "some messages are missing", "err": "gap",
                "after": long_ago, "tim": gap["tim"],
            })
        );
    }
    let first = say(&mut daemon.connect(), "first");
    for open in OPEN {
        let mut next = open(&daemon, &format!("since={long_ago}"));
        let gap = next();
        assert_eq!(
            gap,
            json!({
                "usr": "wschat", "msg": "some messages are missing", "err": "gap",
                "after": long_ago, "before": first, "tim": gap["tim"],
            })
        );
        assert_eq!(next()["msg"], "first");
    }
}

#[test]
fn without_a_replay_only_a_gap_is_reported() {
    let daemon = Daemon::start("limits.messages_per_sec = 0\nlimits.resume_secs = 0\n");
    let mut speaker = daemon.connect();
    for open in OPEN {
        let [first, last] = ["one", "two"].map(|msg| say(&mut speaker, msg));
        let mut late = open(&daemon, &format!("since={first}"));
        let gap = late();
        assert_eq!((&gap["err"], &gap["after"]), (&json!("gap"), &json!(first)));
        assert_eq!(gap.get("before"), None);
        let mut complete = open(&daemon, &format!("since={last}"));
        say(&mut speaker, "live");
        assert_eq!((&late()["msg"], &complete()["msg"]), (&json!("live"), &json!("live")));
    }
    let first = say(&mut speaker, "one");
    say(&mut speaker, "two");
    daemon.reload(UNLIMITED);
    for open in OPEN {
        assert_eq!(open(&daemon, &format!("since={first}"))()["msg"], "two");
    }
}

#[test]
fn a_time_ahead_of_the_clock() {
    let daemon = Daemon::start(UNLIMITED);
    let mut speaker = daemon.connect();
    for open in OPEN {
        say(&mut speaker, "before");
        let since = from_now(900);
        let mut next = open(&daemon, &format!("since={since}"));
        // What is sent until then is not for this listener, and no gap.
        let first = std::iter::repeat_with(|| say(&mut speaker, "early")).find(|tim| *tim > since);
        assert_eq!(next()["tim"], first.unwrap());
        let tim = say(&mut speaker, "next");
        assert_eq!(next()["tim"], tim);
    }
    for open in OPEN {
        for since in [&from_now(60_000), "9999-12-31T23:59:59Z"] {
            let mut next = open(&daemon, &format!("since={since}"));
            let tim = say(&mut speaker, "at once");
            assert_eq!(next()["tim"], tim);
        }
    }
}

#[test]
fn a_time_that_cannot_be_read_is_refused_before_the_upgrade() {
    let daemon = Daemon::start("");
    for query in ["since=now", "since=2020-08-11T22:26:58%2B02:00", "since=a&since=b", "since=%"] {
        let mut stream = TcpStream::connect(daemon.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = crate::harness::UPGRADE.replace("GET / ", &format!("GET /?{query} "));
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 "), "{query}: {response}");
        assert!(response.contains("The parameter since"), "{query}: {response}");
    }
    for query in ["since=", "since", "sinc=now", "x=since=now&&"] {
        resume(&daemon, query);
    }
}

#[test]
fn last_event_id_is_stronger_than_since() {
    let daemon = Daemon::start(UNLIMITED);
    let mut speaker = daemon.connect();
    let tims: Vec<String> = (0..4).map(|number| say(&mut speaker, &number.to_string())).collect();
    let [id, since] = [&tims[1], &tims[2]];
    for (request, want) in [
        (format!("/events?since=x|Last-Event-ID: {id}"), "2"),
        (format!("/events?since={since}|Last-Event-ID:"), "3"),
        (format!("/events?since={since}&lastEventId={id}"), "3"),
        (format!("/events?lastEventId={id}"), "2"),
        (format!("/events?since=&last_event_id={id}"), "2"),
    ] {
        assert_eq!(EventStream::open(&daemon, &request).hear(), want, "{request}");
    }
    for request in ["/events|Last-Event-ID: 7", "/events?lastEventId=7"] {
        let mut events = EventStream::open(&daemon, request);
        let gap = events.json();
        assert_eq!((&gap["err"], gap.get("after"), gap.get("before")), (&json!("gap"), None, None));
        say(&mut speaker, "live");
        assert_eq!(events.hear(), "live", "{request}");
    }
}

#[test]
fn a_listener_that_was_too_slow_resumes() {
    let config =
        "[limits]\nmessages_per_sec = 0\nfeed_tail_bytes = 131072\nsend_buffer_bytes = 4096\n";
    let daemon = Daemon::start(config);
    let mut slow = daemon.connect();
    let mut speaker = daemon.connect();
    let mut tims = Vec::new();
    for number in 0..600 {
        tims.push(say(&mut speaker, &format!("{number} {}", "x".repeat(5_000))));
    }
    let (texts, code, _) = slow.closed();
    assert_eq!(code, 1013);
    assert!(texts.len() < tims.len());
    let last: Value = serde_json::from_str(texts.last().unwrap()).unwrap();
    let mut again = resume(&daemon, &format!("since={}", last["tim"].as_str().unwrap()));
    let gap = again.json();
    assert_eq!((&gap["err"], &gap["after"]), (&json!("gap"), &last["tim"]));
    let first = tims.iter().position(|tim| gap["before"] == **tim).expect("a message");
    assert!(first > texts.len(), "a message is missing");
    for tim in &tims[first..] {
        assert_eq!(again.json()["tim"], **tim);
    }
}

#[test]
fn the_limit_in_seconds_counts() {
    let daemon = Daemon::start("limits.messages_per_sec = 0\nlimits.resume_secs = 5\n");
    let mut speaker = daemon.connect();
    let [first, second] = ["old", "too"].map(|msg| say(&mut speaker, msg));
    let after = Tim::from_nanos(second.parse::<Tim>().unwrap().nanos() + 5_050_000_000);
    crate::harness::until("the limit", || (from_now(0) > after.to_string()).then_some(()));
    let third = say(&mut speaker, "new");
    for open in OPEN {
        let mut next = open(&daemon, &format!("since={first}"));
        let gap = next();
        assert_eq!((&gap["err"], &gap["before"]), (&json!("gap"), &json!(third)));
        assert_eq!(next()["msg"], "new");
        // Nothing was said between the second message and the limit.
        assert_eq!(open(&daemon, &format!("since={second}"))()["msg"], "new");
    }
}

#[test]
fn many_listeners_resume_while_others_speak() {
    let daemon = Daemon::start(UNLIMITED);
    let mut speaker = daemon.connect();
    let first = say(&mut speaker, "0");
    std::thread::scope(|scope| {
        let speaker = scope.spawn(move || {
            for number in 1..5_000 {
                say(&mut speaker, &number.to_string());
            }
        });
        for _ in 0..8 {
            scope.spawn(|| {
                let (mut since, mut next) = (first.clone(), 1);
                while next < 5_000 {
                    let mut listener = resume(&daemon, &format!("since={since}"));
                    for _ in 0..(next % 97 + 1).min(5_000 - next) {
                        let message = listener.json();
                        assert_eq!(message["msg"], next.to_string(), "{message}");
                        since = message["tim"].as_str().unwrap().to_owned();
                        next += 1;
                    }
                }
            });
        }
        speaker.join().unwrap();
    });
}
