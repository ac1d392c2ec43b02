//! Listeners of both transports that come back.

use std::time::Duration;

use wschat::ws::close;

use super::*;

const BOTH: [Encoding; 2] = [Encoding::Frames, Encoding::Events];

/// What a listener got, without pings: the `msg` of each message, `gap`, and `closed: ` with
/// the reason.
fn got(encoding: Encoding, pipe: &RefCell<Pipe>) -> Vec<String> {
    if encoding == Encoding::Frames {
        let shown = |(first, payload): (u8, Vec<u8>)| match first {
            0x88 => format!("closed: {}", String::from_utf8_lossy(&payload[2..])),
            _ => msg(&String::from_utf8(payload).unwrap()),
        };
        let is_ping = |frame: &(u8, Vec<u8>)| frame.0 == 0x89;
        return frames(pipe).into_iter().filter(|frame| !is_ping(frame)).map(shown).collect();
    }
    let stream = String::from_utf8(pipe.borrow().written.clone()).unwrap();
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "a client gets whole events: {stream}");
    let shown = |event: &str| match event.strip_prefix(": ") {
        Some(comment) => comment.to_owned(),
        None => msg(event.split_once("data: ").unwrap().1),
    };
    stream.split_terminator("\n\n").map(shown).collect()
}

/// The text of a message without what fills it.
fn msg(text: &str) -> String {
    if text.contains(r#""err":"gap""#) {
        return "gap".to_owned();
    }
    let (_, msg) = text.split_once(r#""msg":""#).unwrap();
    msg.split(['"', ' ']).next().unwrap().to_owned()
}

fn say(bench: &mut Bench, shard: usize, ann: &Client, text: &str) {
    bench.send(shard, ann.0, &ann.1, &message("ann", text));
    bench.settle(shard);
}

/// The `tim` of the newest message.
fn last(bench: &Bench) -> Start {
    Start::After(bench.room.last_tim().into())
}

/// After a time so far ahead of the clock.
fn ahead(bench: &Bench, ms: u64) -> Start {
    Start::After(Tim::from_nanos(bench.tim().nanos() + ms * 1_000_000).into())
}

fn resume(bench: &mut Bench, encoding: Encoding, start: Start, capacity: usize) -> Client {
    let (new, client) = bench.admit(Peer::Unix, encoding, start, capacity);
    bench.adopt(0, new, &client, Vec::new());
    client
}

#[test]
fn an_early_listener_gets_only_what_is_later() {
    for encoding in BOTH {
        for hands_over in [false, true] {
            let mut bench = Bench::new(1, |_| {});
            let ann = bench.join(0, Peer::Unix, usize::MAX);
            say(&mut bench, 0, &ann, "first");
            let start = ahead(&bench, 500);
            let (_, pipe) = resume(&mut bench, encoding, start, usize::MAX);
            say(&mut bench, 0, &ann, "before");
            if hands_over {
                bench.restart(0);
            }
            bench.ms += 499;
            say(&mut bench, 0, &ann, "still-before");
            bench.ms += 2;
            say(&mut bench, 0, &ann, "later");
            say(&mut bench, 0, &ann, "last");
            assert_eq!(got(encoding, &pipe), ["later", "last"], "handover: {hands_over}");
        }
    }
}

#[test]
fn an_early_listener_is_told_if_the_tail_passes_its_first_message() {
    for encoding in BOTH {
        let mut bench = Bench::new(2, |config| config.limits.feed_tail_bytes = 65_536);
        let ann = bench.join(1, Peer::Unix, usize::MAX);
        let start = ahead(&bench, 500);
        let (new, client) = bench.admit(Peer::Unix, encoding, start, usize::MAX);
        bench.ms += 600;
        // It is on its way to its shard all the time.
        for number in 0..40 {
            say(&mut bench, 1, &ann, &format!("{number} {}", "x".repeat(10_000)));
            bench.settle(0);
        }
        bench.adopt(0, new, &client, Vec::new());
        bench.settle(0);
        let got = got(encoding, &client.1);
        assert!(matches!(&got[..], [end] if end.starts_with("closed: too slow: ")), "{got:?}");
        assert_eq!(bench.tables[0].counters().too_slow, 1);
    }
}

#[test]
fn many_early_listeners_get_what_is_due_at_a_stop() {
    const LISTENERS: u64 = 600;
    let mut bench = Bench::new(2, |_| {});
    let ann = bench.join(1, Peer::Unix, usize::MAX);
    // The first row starts last.
    let early: Vec<_> = (0..LISTENERS)
        .map(|number| {
            let encoding = BOTH[number as usize % 2];
            let start = ahead(&bench, LISTENERS - number);
            (encoding, resume(&mut bench, encoding, start, usize::MAX))
        })
        .collect();
    let start = ahead(&bench, 990);
    let (_, waiting) = resume(&mut bench, Encoding::Events, start, usize::MAX);
    bench.settle(0);
    bench.ms += LISTENERS + 1;
    say(&mut bench, 1, &ann, "due");
    bench.tables[0].stop_reading();
    bench.tables[0].close_all(close::GOING_AWAY);
    bench.settle(0);
    let end = "closed: server stopped";
    for (number, (encoding, (_, pipe))) in early.iter().enumerate() {
        assert_eq!(got(*encoding, pipe), ["due", end], "listener {number}");
    }
    assert_eq!(got(Encoding::Events, &waiting), [end]);
}

#[test]
fn a_handover_anywhere_in_a_stream_leaves_it_whole() {
    // The notice, an event, and what follows.
    let run = |encoding, cut: Option<usize>, is_kicked: bool| {
        let mut bench = Bench::new(1, |config| config.limits.resume = Duration::ZERO);
        let ann = bench.join(0, Peer::Unix, usize::MAX);
        say(&mut bench, 0, &ann, "missed");
        let start = Start::After(Tim::default().into());
        let (id, pipe) = resume(&mut bench, encoding, start, cut.unwrap_or(usize::MAX));
        say(&mut bench, 0, &ann, "one");
        say(&mut bench, 0, &ann, "two");
        if cut.is_some() {
            bench.restart(0);
            bench.restart(0);
        }
        if is_kicked {
            bench.kick(0, id);
        }
        bench.drain(0, id, &pipe, usize::MAX);
        bench.settle(0);
        let written = pipe.borrow().written.clone();
        (got(encoding, &pipe), written)
    };
    for encoding in BOTH {
        let (all, stream) = run(encoding, None, false);
        assert_eq!(all, ["gap", "one", "two"]);
        for cut in 1..stream.len() {
            assert!(run(encoding, Some(cut), false).1 == stream, "{encoding} cut at {cut}");
            let (kicked, written) = run(encoding, Some(cut), true);
            assert!(written.starts_with(&stream[..cut]), "{encoding} cut at {cut}");
            let (end, before) = kicked.split_last().unwrap();
            assert_eq!(end, "closed: kicked", "{encoding} cut at {cut}");
            assert!(all.starts_with(before), "{encoding} cut at {cut}: {kicked:?}");
        }
    }
}

#[test]
fn a_listener_that_the_tail_passes_on_its_way_comes_back_with_a_gap() {
    for encoding in BOTH {
        let mut bench = Bench::new(2, |config| config.limits.feed_tail_bytes = 65_536);
        let ann = bench.join(1, Peer::Unix, usize::MAX);
        say(&mut bench, 1, &ann, "seen");
        bench.settle(0);
        let start = last(&bench);
        let (new, client) = bench.admit(Peer::Unix, encoding, start, usize::MAX);
        assert!(new.notice.is_none(), "nothing is missing yet");
        for number in 0..40 {
            say(&mut bench, 1, &ann, &format!("{number} {}", "x".repeat(10_000)));
            bench.settle(0);
        }
        bench.adopt(0, new, &client, Vec::new());
        bench.settle(0);
        let all = got(encoding, &client.1);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("closed: too slow: "), "{all:?}");
        let (_, pipe) = resume(&mut bench, encoding, start, usize::MAX);
        let again = got(encoding, &pipe);
        let first: u32 = again[1].parse().unwrap();
        let rest: Vec<String> = (first..40).map(|number| number.to_string()).collect();
        assert_eq!((&*again[0], &again[1..]), ("gap", &rest[..]));
        assert!((34..=36).contains(&first), "the tail has the last six: from {first} on");
    }
}

#[test]
fn events_that_are_forgotten_are_made_again() {
    let run = |cut: usize, forgets: bool| {
        let mut bench = Bench::new(1, |_| {});
        let ann = bench.join(0, Peer::Unix, usize::MAX);
        let (_, whole) = resume(&mut bench, Encoding::Events, Start::Live, usize::MAX);
        let (id, pipe) = resume(&mut bench, Encoding::Events, Start::Live, cut);
        for text in ["one", "two", "three"] {
            say(&mut bench, 0, &ann, text);
            if forgets {
                bench.room.forget_events();
            }
        }
        bench.drain(0, id, &pipe, usize::MAX);
        assert_eq!(got(Encoding::Events, &whole), ["one", "two", "three"]);
        assert!(pipe.borrow().written == whole.borrow().written, "cut at {cut}");
        whole.borrow().written.len()
    };
    let bytes = run(0, false);
    (0..bytes).for_each(|cut| assert_eq!(run(cut, true), bytes));
}

#[test]
fn a_listener_that_resumes_from_far_back_cannot_shut_the_gate() {
    for encoding in BOTH {
        let mut bench = Bench::new(1, |config| config.limits.feed_tail_bytes = 1 << 20);
        let ann = bench.join(0, Peer::Unix, usize::MAX);
        say(&mut bench, 0, &ann, "first");
        let start = last(&bench);
        let text = "x".repeat(10_000);
        (0..90).for_each(|_| say(&mut bench, 0, &ann, &text));
        let mut clients = Vec::new();
        bench.run(20_000, 100, |bench, at| {
            // It reads a little, and comes back again and again.
            if at % 1_000 == 0 {
                clients.push(resume(bench, encoding, start, 5_000));
            }
            for (id, pipe) in &clients {
                bench.drain(0, *id, pipe, 5_000);
            }
            assert!(bench.room.gate().is_open(), "{encoding} at {at} ms");
            say(bench, 0, &ann, &text);
        });
    }
}
