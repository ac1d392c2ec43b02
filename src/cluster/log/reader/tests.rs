use proptest::prelude::*;

use super::*;
use crate::chat::{LoggedMessage, announcement};
use crate::cluster::log::codec::encode;
use crate::cluster::log::record::Body;

/// How the record of another node comes into being.
#[derive(Clone, Debug)]
struct Step {
    /// By how much the clock of the stream moves on, also backwards.
    nanos: i64,
    messages: usize,
    /// How many records its publisher has not read; `None` if it has read nothing.
    lag: Option<usize>,
    /// By how much its publisher says that `tim` is later than it is.
    lie_nanos: u64,
    /// The time from its storing to its deadline.
    by_nanos: i64,
    is_valid: bool,
}

fn any_step() -> impl Strategy<Value = Step> {
    let nanos = prop_oneof![8 => 0..2_000_000_i64, 1 => 0..3_i64, 1 => -5_000_000_000..0_i64];
    let messages = prop_oneof![1 => Just(0), 4 => 1..4_usize];
    let lag = prop_oneof![1 => Just(None), 9 => (0..6_usize).prop_map(Some)];
    let lie = prop_oneof![18 => Just(0), 1 => 0..2_000_000_u64, 1 => 0..20_000_000_000_u64];
    let by = prop_oneof![9 => Just(5_000_000_000), 1 => -1_000_000_000..5_000_000_000_i64];
    (nanos, messages, lag, lie, by, prop::bool::weighted(0.97)).prop_map(
        |(nanos, messages, lag, lie_nanos, by_nanos, is_valid)| Step {
            nanos,
            messages,
            lag,
            lie_nanos,
            by_nanos,
            is_valid,
        },
    )
}

/// The records of a stream that was created at `created`, and the clock at each place from 0 on.
fn log(created: u64, steps: &[Step], start: LogClock, time: u64) -> (Vec<Delivery>, Vec<LogClock>) {
    let (mut log, mut clocks, mut time) = (Vec::new(), vec![start], time);
    for (step, sequence) in steps.iter().zip(1..) {
        time = time.saturating_add_signed(step.nanos);
        let after = step.lag.map(|lag| {
            let place = (clocks.len() - 1).saturating_sub(lag);
            let position = Position { created, sequence: place as u64 };
            let StreamMark { tim, .. } = clocks[place].mark(position);
            StreamMark { tim: later(tim, step.lie_nanos), ..clocks[place].mark(position) }
        });
        let mut text = Vec::new();
        announcement("hello", &mut text);
        let message = LoggedMessage { text, speaker: None };
        let body = match step.messages {
            0 => Body::Empty,
            messages => Body::Messages(vec![message; messages]),
        };
        let publisher = Publisher { node: "a".into(), incarnation: 1, number: sequence };
        let by = Tim::from_nanos(time.saturating_add_signed(step.by_nanos));
        let record = Record { publisher, after, by, body };
        let (headers, payload) = encode(&record);
        let headers = headers.into_iter().filter(|_| step.is_valid);
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).collect();
        let (position, time) = (Position { created, sequence }, Tim::from_nanos(time));
        let mut clock = clocks[clocks.len() - 1];
        clock.read(created, time, Some(&record).filter(|_| step.is_valid));
        clocks.push(clock);
        log.push(Delivery { position, time, headers, payload });
    }
    (log, clocks)
}

fn connection(created: u64, newest: u64, from_sequence: u64) -> Connection {
    Connection {
        server: "n".into(),
        max_payload: 1_000_000,
        newest: Position { created, sequence: newest },
        first_sequence: 1,
        from_sequence,
        time: Tim::default(),
    }
}

/// All that a reader gives out, record by record.
fn read(reader: &mut Reader, log: &[Delivery]) -> Vec<Read> {
    let mut out = Vec::new();
    for delivery in log {
        reader.arrived(delivery.clone());
        out.extend(std::iter::from_fn(|| reader.next()));
    }
    out
}

/// The places that were given out, each with the first `tim` and the clock.
fn records(reads: &[Read]) -> Vec<(Option<Tim>, StreamMark)> {
    let record = |read: &Read| match read {
        Read::Record(record) => Some((record.first, record.mark)),
        Read::Bad { mark, .. } => Some((None, *mark)),
        _ => None,
    };
    reads.iter().filter_map(record).collect()
}

const TIME: u64 = 1_600_000_000_000_000_000;

proptest! {
    /// Whether a node has read the log from its beginning, starts anywhere, or lacks records in
    /// the middle: what it gives out it gives out as all others.
    #[test]
    fn nodes_that_start_at_different_places_agree(
        steps in prop::collection::vec(any_step(), 1..60),
        start: prop::sample::Index,
        hole: (prop::sample::Index, prop::sample::Index),
    ) {
        let (log, clocks) = log(1, &steps, LogClock::default(), TIME);
        let mut first = Reader::new(None);
        first.connected(&connection(1, 0, 1));
        let all = records(&read(&mut first, &log));
        prop_assert_eq!(all.len(), log.len());
        for (at, (_, mark)) in all.iter().enumerate() {
            prop_assert_eq!(LogClock::at(mark), clocks[at + 1]);
        }

        let start = start.index(log.len());
        let mut second = Reader::new(None);
        second.connected(&connection(1, log.len() as u64, start as u64 + 1));
        let reads = read(&mut second, &log[start..]);
        let rest = records(&reads);
        prop_assert_eq!(&rest, &all[all.len() - rest.len()..]);
        let since = reads.iter().find_map(|read| match read {
            Read::CompleteSince(tim) => Some(*tim),
            _ => None,
        });
        let begin = all.len() - rest.len();
        if let Some(since) = since.filter(|_| start > 0) {
            prop_assert!(since >= clocks[begin].tim);
        }

        let (from, to) = (hole.0.index(log.len()), hole.1.index(log.len()));
        if from < to {
            let position = Position { created: 1, sequence: from as u64 };
            let mut third = Reader::new(Some(clocks[from].mark(position)));
            let reads = read(&mut third, &log[to..]);
            let rest = records(&reads);
            prop_assert_eq!(&rest, &all[all.len() - rest.len()..]);
            let hole = Read::Hole(Position { created: 1, sequence: to as u64 });
            prop_assert_eq!(reads.first(), Some(&hole));
            let gaps = reads.iter().filter(|read| matches!(read, Read::Gap { .. })).count();
            prop_assert!(gaps <= 1);
        }
    }

    /// In a stream that was made anew `tim` goes on above the last, and nodes that know only the
    /// new stream agree from the first message on that is stored after the last one.
    #[test]
    fn a_stream_made_anew_goes_on(steps in prop::collection::vec(any_step(), 2..40)) {
        let (old, new) = steps.split_at(steps.len() / 2);
        let (old, clocks) = log(1, old, LogClock::default(), TIME);
        let last = clocks[old.len()];
        let start = LogClock { tim: last.tim, newest: Tim::default() };
        let mut new = new.to_vec();
        new[0].nanos = 1;
        let (new, _) = log(2, &new, start, TIME);
        let mut before = Reader::new(Some(last.mark(Position { created: 1, sequence: 9 })));
        prop_assert!(before.connected(&connection(2, new.len() as u64, 1)));
        let before = records(&read(&mut before, &new));
        prop_assert_eq!(before.len(), new.len());
        prop_assert!(before.iter().all(|(first, _)| first.is_none_or(|tim| tim > last.tim)));
        let mut fresh = Reader::new(None);
        fresh.connected(&connection(2, 0, 1));
        let fresh = records(&read(&mut fresh, &new));
        let mut has_met = false;
        for (before, fresh) in before.iter().zip(&fresh) {
            has_met |= before.1.tim == fresh.1.tim;
            prop_assert!(!has_met || before == fresh);
            prop_assert_eq!(before.1.newest, fresh.1.newest);
        }
    }
}

/// A step of an honest publisher that had read all.
const HONEST: Step = Step {
    nanos: 1_000_000,
    messages: 1,
    lag: Some(0),
    lie_nanos: 0,
    by_nanos: 5_000_000_000,
    is_valid: true,
};

#[test]
fn a_gap_lies_between_the_messages_around_it() {
    let (log, clocks) = log(1, &[HONEST, HONEST, HONEST], LogClock::default(), TIME);
    let mut reader = Reader::new(Some(clocks[1].mark(log[0].position)));
    let reads = read(&mut reader, &log[2..]);
    let (after, before) = (clocks[1].tim, Some(clocks[3].tim));
    assert_eq!(reads[..2], [Read::Hole(log[1].position), Read::Gap { after, before }]);
    assert_eq!(reads.len(), 3);
    // A record that is read again is ignored.
    assert_eq!(read(&mut reader, &log), []);
}

#[test]
fn a_gap_is_announced_at_once_if_nothing_follows() {
    let (log, clocks) = log(1, &[HONEST, HONEST], LogClock::default(), TIME);
    let mut reader = Reader::new(Some(clocks[1].mark(log[0].position)));
    reader.connected(&connection(1, 2, 3));
    let gap = Read::Gap { after: clocks[1].tim, before: None };
    assert_eq!(reader.next(), Some(Read::Hole(log[1].position)));
    assert_eq!(reader.next(), Some(gap));
    assert_eq!(reader.next(), None);
}

#[test]
fn a_stream_that_has_lost_its_newest_records_goes_on() {
    let (log, clocks) = log(1, &[HONEST, HONEST, HONEST], LogClock::default(), TIME);
    let mut reader = Reader::new(Some(clocks[3].mark(log[2].position)));
    assert!(reader.connected(&connection(1, 1, 2)), "others have to know its time");
    let reads = read(&mut reader, &log[1..2]);
    assert_eq!(reads[0], Read::Hole(log[0].position));
    let [(Some(first), _)] = records(&reads)[..] else { panic!("{reads:?}") };
    assert!(first > clocks[3].tim);
}

#[test]
fn a_divergence_is_reported() {
    let steps = [HONEST, Step { lie_nanos: 5, ..HONEST }];
    let (log, clocks) = log(1, &steps, LogClock::default(), TIME);
    let mut reader = Reader::new(None);
    reader.connected(&connection(1, 0, 1));
    let reads = read(&mut reader, &log);
    let divergence = Divergence {
        node: "a".into(),
        position: log[0].position,
        theirs: later(clocks[1].tim, 5),
        ours: clocks[1].tim,
    };
    assert!(reads.contains(&Read::Divergence(divergence)), "{reads:?}");
}

#[test]
fn behind_an_honest_publisher_nothing_is_skipped() {
    let (log, clocks) = log(1, &vec![HONEST; 9], LogClock::default(), TIME);
    for start in 1..9 {
        let mut reader = Reader::new(None);
        reader.connected(&connection(1, 9, start as u64 + 1));
        let reads = read(&mut reader, &log[start..]);
        assert_eq!(reads[0], Read::CompleteSince(clocks[start].tim));
        assert_eq!(records(&reads).len(), 9 - start);
    }
}

#[test]
fn a_node_starts_although_the_backlog_was_discarded() {
    let (log, clocks) = log(1, &vec![HONEST; 9], LogClock::default(), TIME);
    let mut reader = Reader::new(None);
    reader.connected(&connection(1, 7, 5));
    assert!(!reader.is_searching());
    reader.at_end();
    assert!(reader.is_searching());
    let reads = read(&mut reader, &log[7..]);
    assert_eq!(reads[0], Read::CompleteSince(clocks[7].tim));
}

/// Nobody knows which moderation was in force up to record 3.
#[test]
fn a_node_that_starts_leaves_out_what_cannot_be_judged() {
    let (log, clocks) = log(1, &vec![HONEST; 6], LogClock::default(), TIME);
    for (newest, place) in [(6, 3), (2, 3), (0, 3)] {
        let mut reader = Reader::new(None);
        reader.connected(&connection(1, newest, 1));
        reader.pass_over(Some(Position { created: 1, sequence: place }));
        let reads = read(&mut reader, &log);
        assert_eq!(reads[0], Read::CompleteSince(clocks[3].tim));
        let marks: Vec<_> = records(&reads).into_iter().map(|(_, mark)| mark).collect();
        assert_eq!(marks, [4, 5, 6].map(|n| clocks[n].mark(log[n - 1].position)));
    }
    // It is of another stream.
    let mut reader = Reader::new(None);
    reader.connected(&connection(1, 6, 1));
    reader.pass_over(Some(Position { created: 2, sequence: 3 }));
    assert_eq!(records(&read(&mut reader, &log)).len(), 6);
}

#[test]
fn what_cannot_be_judged_is_a_gap_of_a_node_that_goes_on() {
    let (log, clocks) = log(1, &vec![HONEST; 4], LogClock::default(), TIME);
    let mut reader = Reader::new(Some(clocks[1].mark(log[0].position)));
    reader.pass_over(Some(log[2].position));
    let reads = read(&mut reader, &log);
    let gap = Read::Gap { after: clocks[1].tim, before: Some(clocks[4].tim) };
    assert!(matches!(reads[..3], [Read::Skipped(_), Read::Skipped(_), _]), "{reads:?}");
    assert_eq!(reads[2], gap);
    let [(_, mark)] = records(&reads)[..] else { panic!("{reads:?}") };
    assert_eq!(mark, clocks[4].mark(log[3].position));
}

/// The clock of the stream was half a minute ahead for some time, so that all `tim` are.
#[test]
fn nodes_agree_although_the_clock_of_the_stream_was_far_ahead() {
    let ahead = Step { nanos: 30_000_000_000, ..HONEST };
    let later = Step { by_nanos: 35_000_000_000, ..HONEST };
    let back = Step { nanos: -30_000_000_000, ..later.clone() };
    let mut steps = vec![HONEST, ahead, HONEST, back];
    steps.extend(vec![later; 9]);
    let (log, clocks) = log(1, &steps, LogClock::default(), TIME);
    for start in 0..3 {
        let mut reader = Reader::new(None);
        reader.connected(&connection(1, log.len() as u64, start as u64 + 1));
        let reads = read(&mut reader, &log[start..]);
        let records = records(&reads);
        let own: Vec<_> = records.iter().map(|(_, mark)| LogClock::at(mark)).collect();
        assert!(own.len() >= 10 && clocks.ends_with(&own), "{start} {own:?}");
        assert!(records.iter().all(|(first, _)| first.is_some()), "nothing comes too late");
    }
}

/// What a single publisher says is ignored if others know better.
#[test]
fn a_node_that_starts_ignores_a_time_that_is_far_ahead() {
    let liar = Step { lie_nanos: 20_000_000_000, ..HONEST };
    let steps = [HONEST, HONEST, liar, HONEST, HONEST];
    let (log, clocks) = log(1, &steps, LogClock::default(), TIME);
    let mut reader = Reader::new(None);
    reader.connected(&connection(1, 5, 2));
    let records = records(&read(&mut reader, &log[1..]));
    assert!(!records.is_empty());
    assert_eq!(records.last().map(|(_, mark)| LogClock::at(mark)), clocks.last().copied());
}
