//! The list of clients while clients join and leave.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn a_client_that_stays_is_listed() {
    let mut world = World::new(1, |_| {});
    let mut staying: BTreeMap<_, _> =
        (0..3_000).map(|_| world.join(0, Peer::Unix, usize::MAX)).collect();
    let (speaker, speaker_pipe) = world.join(0, Peer::Unix, usize::MAX);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut listed, mut before) = (BTreeSet::new(), usize::MAX);
    while before > 0 {
        let chunk = world.tables[0].list(before, world.room.end());
        assert!(chunk.clients.len() <= 256, "a chunk is bounded");
        listed.extend(chunk.clients.iter().map(|client| client.id));
        before = chunk.before;
        for _ in 0..100 {
            let id = random.u64(1..=3_000);
            if let Some(pipe) = staying.remove(&id) {
                pipe.borrow_mut().ended = true;
                world.tables[0].readable(id);
            }
        }
        world.join(0, Peer::Unix, usize::MAX);
        // A sweep moves connections to other rows.
        world.send(0, speaker, &speaker_pipe, &says("ann", "hi"));
        world.turn(0);
    }
    assert!(staying.keys().all(|id| listed.contains(id)));
    assert!(staying.len() < 2_500, "{} stayed", staying.len());
}
