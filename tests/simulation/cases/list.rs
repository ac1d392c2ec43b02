//! The list of clients while clients join and leave.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn a_client_that_stays_is_listed() {
    let mut bench = Bench::new(1, |_| {});
    let mut staying: BTreeMap<_, _> =
        (0..3_000).map(|_| bench.join(0, Peer::Unix, usize::MAX)).collect();
    let (speaker, speaker_pipe) = bench.join(0, Peer::Unix, usize::MAX);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut listed, mut before) = (BTreeSet::new(), usize::MAX);
    while before > 0 {
        let chunk = bench.tables[0].list(before, bench.room.end(), 0);
        assert!(chunk.clients.len() <= 256, "a chunk is bounded");
        listed.extend(chunk.clients.iter().map(|client| client.id));
        before = chunk.before;
        for _ in 0..100 {
            let id = random.u64(1..=3_000);
            if let Some(pipe) = staying.remove(&id) {
                bench.end(0, id, &pipe);
            }
        }
        bench.join(0, Peer::Unix, usize::MAX);
        // A sweep moves connections to other rows.
        bench.send(0, speaker, &speaker_pipe, &message("ann", "hi"));
        bench.turn(0);
    }
    assert!(staying.keys().all(|id| listed.contains(id)));
    assert!(staying.len() < 2_500, "{} stayed", staying.len());
}
