use super::*;
use crate::chat::{Actor, ModAction};

const fn at(created: u64, sequence: u64) -> Position {
    Position { created, sequence }
}

fn slow(secs: u64) -> LoggedAct {
    let action = ModAction::Slow { secs: Some(secs as u32) };
    LoggedAct { action, actor: Actor::operator(0) }
}

/// A value that is recognized by its slow mode.
fn value(created: u64, sequence: u64) -> StoredModeration {
    let (mut moderation, act) = (Moderation::default(), slow(sequence));
    moderation.apply(&act.action, &act.actor, Tim::default()).unwrap();
    StoredModeration { position: at(created, sequence), moderation }
}

fn act(sequence: u64, act: LoggedAct) -> PlacedAct {
    PlacedAct { position: at(7, sequence), act, tim: Tim::default() }
}

fn lock() -> LoggedAct {
    LoggedAct { action: ModAction::Lock, ..slow(0) }
}

/// The slow mode that is adopted at each of `places` of stream 7.
fn adopted(sync: &mut ModerationSync, places: &[u64]) -> Vec<Option<u32>> {
    let read = |place: &u64| Some(sync.read_up_to(at(7, *place))?.slow_secs().unwrap());
    places.iter().map(read).collect()
}

/// A node that starts behind this value, or goes on behind it.
fn begun(start: StoredModeration, later: Vec<StoredModeration>) -> ModerationSync {
    let mut sync = ModerationSync::new(None);
    assert!(!sync.is_known());
    sync.begin(FoundModeration { start, later, ..FoundModeration::default() });
    assert!(sync.is_known());
    sync
}

#[test]
fn what_is_in_force_at_a_place() {
    let check =
        |place: u64, values: &[(u64, u64)], known: Option<(u64, u64)>, start, later: &[u64]| {
            let values =
                values.iter().map(|&(created, sequence)| value(created, sequence)).collect();
            let known = known.map(|(created, sequence)| value(created, sequence));
            let (found, rest) = moderation_at(at(7, place), 1000, values, known);
            let position = found.map(|found| (found.position.created, found.position.sequence));
            let rest: Vec<_> = rest.iter().map(|value| value.position.sequence).collect();
            assert_eq!((position, &rest[..]), (start, later), "{place}");
        };
    check(6, &[], None, None, &[]);
    check(6, &[(7, 2), (7, 5), (7, 9)], None, Some((7, 5)), &[9]);
    check(9, &[(7, 2), (7, 5), (7, 9)], None, Some((7, 9)), &[]);
    // The oldest value has to do for what is before it.
    check(1, &[(7, 2), (7, 5)], None, Some((7, 2)), &[5]);
    // The room was single, or the stream was made anew.
    check(0, &[(0, 0), (7, 5)], None, Some((0, 0)), &[5]);
    check(0, &[(6, 99)], None, Some((6, 99)), &[]);
    check(9, &[(6, 99), (7, 5)], None, Some((7, 5)), &[]);
    // A node knows something by itself.
    check(9, &[(7, 5)], Some((7, 4)), Some((7, 5)), &[]);
    check(9, &[(7, 5)], Some((7, 8)), Some((7, 8)), &[]);
    check(9, &[(7, 5)], Some((7, 10)), Some((7, 5)), &[]);
    check(9, &[(7, 20)], Some((7, 8)), Some((7, 8)), &[20]);
    check(9, &[(6, 99)], Some((6, 100)), Some((6, 100)), &[]);
    check(9, &[(6, 99)], Some((6, 98)), Some((6, 99)), &[]);
    check(9, &[(7, 1)], Some((6, 98)), Some((7, 1)), &[]);
    check(9, &[(0, 0)], Some((6, 98)), Some((6, 98)), &[]);
    check(9, &[], Some((7, 8)), Some((7, 8)), &[]);
    // The stream has lost its newest records.
    check(1200, &[(7, 1100)], None, Some((7, 1000)), &[]);
}

#[test]
fn a_node_that_starts_takes_each_value_at_its_place() {
    let mut sync = begun(value(7, 5), vec![value(7, 9)]);
    assert_eq!(adopted(&mut sync, &[6, 7, 8, 9, 10]), [None, None, None, Some(9), None]);
    assert!(!sync.is_new(at(7, 9)) && sync.is_new(at(7, 10)));
}

#[test]
fn actions_of_the_log_are_not_undone_by_older_values() {
    let mut sync = begun(value(7, 2), vec![value(7, 5)]);
    for place in [4, 5] {
        assert!(sync.is_new(at(7, place)));
        sync.carried_out(act(place, lock()));
        assert_eq!(adopted(&mut sync, &[place]), [None]);
    }
    sync.found(vec![value(7, 1), value(7, 4), value(7, 5)]);
    assert_eq!(adopted(&mut sync, &[6, 100]), [None, None]);
}

#[test]
fn what_is_in_a_later_value_is_not_new() {
    let sync = begun(value(7, 20), Vec::new());
    assert!(!sync.is_new(at(7, 15)) && sync.is_new(at(7, 21)));
}

#[test]
fn a_room_that_was_single_and_a_stream_made_anew() {
    let mut sync = begun(value(0, 0), Vec::new());
    assert!(sync.is_new(at(7, 1)), "all records of the stream come after it");
    sync.carried_out(act(1, lock()));
    sync.found(vec![value(0, 0), value(6, 99)]);
    assert_eq!(adopted(&mut sync, &[2, 100]), [None, None], "of an older stream");

    // The old stream had an action that this node has not seen.
    let mut sync = ModerationSync::new(Some(at(6, 10)));
    sync.found(vec![value(6, 12)]);
    assert_eq!(adopted(&mut sync, &[1]), [Some(12)]);
    assert!(sync.is_new(at(7, 1)));
    // Another node was quicker in the new stream.
    sync.found(vec![value(7, 3)]);
    assert_eq!(adopted(&mut sync, &[2, 3]), [None, Some(3)]);
}

/// Records 11 to 40 are lost, with a mute of another node that is not in the bucket yet.
#[test]
fn what_another_node_knows_is_added_to_what_was_done_since() {
    let mut sync = ModerationSync::new(Some(at(7, 10)));
    let start = StoredModeration { position: at(7, 40), ..value(7, 10) };
    sync.begin(FoundModeration {
        start,
        lacks_behind: Some(at(7, 10)),
        ..FoundModeration::default()
    });
    assert_eq!(sync.certain(), None, "it stores nothing");
    sync.carried_out(act(50, lock()));
    sync.carried_out(act(60, lock()));
    sync.found(vec![value(7, 10)]);
    assert_eq!(sync.read_up_to(at(7, 61)), None, "it has nothing of the hole");
    sync.found(vec![value(7, 38)]);
    let moderation = sync.read_up_to(at(7, 61)).unwrap();
    assert_eq!((moderation.slow_secs(), moderation.is_locked()), (Some(38), true));
    assert!(!sync.is_new(at(7, 60)) && sync.is_new(at(7, 61)));
    // One that counts as far as this node has got.
    sync.found(vec![value(7, 60)]);
    let moderation = sync.read_up_to(at(7, 61)).unwrap();
    assert_eq!((moderation.slow_secs(), moderation.is_locked()), (Some(60), false));
    sync.end_doubt();
    assert_eq!(sync.certain(), Some(at(7, 60)));
    sync.found(vec![value(7, 60)]);
    assert_eq!(sync.read_up_to(at(7, 61)), None);
}

#[test]
fn all_is_bounded() {
    let mut sync = begun(value(7, 1), Vec::new());
    for _ in 0..1000 {
        sync.found(vec![value(7, 1000)]);
    }
    assert_eq!(sync.values.len(), VALUES_MAX);
    let (start, lacks_behind) = (value(7, 1), Some(at(7, 0)));
    sync.begin(FoundModeration { start, lacks_behind, ..FoundModeration::default() });
    (2..5000).for_each(|sequence| sync.carried_out(act(sequence, lock())));
    assert_eq!(sync.doubt.unwrap().acts.len(), ACTS_MAX);
}
