use super::*;
use crate::chat::announcement;
use crate::cluster::engine::Delivery;

fn nobody_is_muted(_: &SpeakerId<'_>, _: Tim) -> Result<(), Refused> {
    Ok(())
}

fn actions(node: &mut Node<()>) -> Vec<Action<()>> {
    std::iter::from_fn(|| node.pop(&nobody_is_muted)).collect()
}

const fn at(sequence: u64) -> Position {
    Position { created: 1, sequence }
}

/// The empty record of another node that has read the one before.
fn empty(sequence: u64) -> EngineEvent {
    let mut other = Node::<()>::new("b".parse().unwrap(), 1, None);
    let time = Tim::from_nanos(1000 + sequence);
    let after = StreamMark { position: at(sequence - 1), tim: time, newest: time };
    let headers = other.outgoing.empty(Some(after), 0).headers.into_iter();
    let headers = headers.map(|(name, value)| (name.to_owned(), value)).collect();
    EngineEvent::Delivered(Delivery {
        position: at(sequence),
        time,
        headers,
        payload: Bytes::new(),
    })
}

fn connected() -> EngineEvent {
    EngineEvent::Connected(Connection {
        server: "n".into(),
        max_payload: 1_000_000,
        newest: at(1),
        first_sequence: 1,
        from_sequence: 2,
        time: Tim::from_nanos(1001),
    })
}

/// Records behind a hole are read when it is known which moderation was in force there.
#[test]
fn nothing_behind_a_hole_is_read_before_the_moderation_is_known() {
    let mark = StreamMark { position: at(1), ..StreamMark::default() };
    let mut node = Node::new("a".parse().unwrap(), 7, Some(mark));
    node.event(connected(), 0);
    assert!(matches!(actions(&mut node)[..], [Action::Availability(Ok(_))]));
    node.event(empty(5), 0);
    node.event(empty(6), 0);
    assert_eq!(node.pop(&nobody_is_muted), Some(Action::Report(Report::Hole(at(4)))));
    node.hold(None);
    assert_eq!(actions(&mut node), [], "a moment makes no difference");
    let why = AwayReason::Unusable("there is no bucket".into());
    node.hold(Some(why.clone()));
    assert_eq!(actions(&mut node), [Action::Availability(Err(why))]);
    node.release(None);
    let more = actions(&mut node);
    let marks: Vec<_> = more
        .iter()
        .filter_map(|action| match action {
            Action::Append { mark, .. } => Some(mark.position.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [5, 6], "{more:?}");
    assert!(matches!(more.last(), Some(Action::Availability(Ok(_)))), "{more:?}");
}

#[test]
fn a_node_that_starts_is_away_until_the_moderation_is_known() {
    let mut node = Node::new("a".parse().unwrap(), 7, None);
    node.hold(None);
    node.event(connected(), 0);
    let [Action::Availability(Err(AwayReason::Reading(_)))] = &actions(&mut node)[..] else {
        panic!("it is away");
    };
    // A connection that is lost meanwhile is noticed.
    let lost = AwayReason::Unreachable("lost".into());
    node.event(EngineEvent::Away(lost.clone()), 0);
    assert_eq!(actions(&mut node), [Action::Availability(Err(lost))]);
}

/// Sends a message, and returns its record.
fn submit(node: &mut Node<()>, now_ms: u64) -> Publish {
    let mut text = Vec::new();
    announcement("hello", &mut text);
    node.submit(vec![(LoggedMessage { text, speaker: None }, ())], now_ms);
    let mut actions = actions(node).into_iter();
    let publish = actions.find_map(|action| match action {
        Action::Publish(publish) => Some(publish),
        _ => None,
    });
    publish.expect("a record")
}

/// Others can have read a record before the stream has lost it.
#[test]
fn a_record_that_the_stream_has_stored_and_lost_was_perhaps_sent() {
    let empty_stream = || {
        EngineEvent::Connected(Connection {
            server: "n".into(),
            max_payload: 1_000_000,
            newest: at(0),
            first_sequence: 1,
            from_sequence: 1,
            time: Tim::from_nanos(1_000_000_000),
        })
    };
    for is_stored in [false, true] {
        let mut nodes = ["a", "b"].map(|name| Node::new(name.parse().unwrap(), 7, None));
        for node in &mut nodes {
            node.event(empty_stream(), 0);
            actions(node);
        }
        let [mut node, mut other] = nodes;
        let number = submit(&mut node, 0).number;
        if is_stored {
            node.event(EngineEvent::Acknowledged { number, stored: Ok(1) }, 0);
        }
        node.event(empty_stream(), 1);
        let Publish { headers, payload, .. } = submit(&mut other, 10_000);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let time = Tim::from_nanos(20_000_000_000);
        node.event(
            EngineEvent::Delivered(Delivery { position: at(1), time, headers, payload }),
            10_000,
        );
        let told = actions(&mut node).into_iter().find_map(|action| match action {
            Action::Settle((), outcome) => Some(outcome.unwrap_err().refusal),
            _ => None,
        });
        let want = if is_stored { Refusal::Unknown } else { Refusal::Unavailable };
        assert_eq!(told, Some(want));
    }
}
