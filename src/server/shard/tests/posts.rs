//! Messages that were sent by POST: each is answered once, and sent only if the answer says so.

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

use crate::chat::{Now, Refusal, Rules, Tim};
use crate::config::{Config, Limits};
use crate::room::{Batch, Room};
use crate::server::client_log::ClientLog;
use crate::server::shard::post::{Post, PostAnswer, PostClaim};
use crate::server::shard::table::{PendingAction, Table, Turn};
use crate::server::socket::{Peer, Socket};

const TEXT: &str = r#"{"usr":"ci","msg":"green"}"#;

/// A shard without connections.
struct Shard {
    room: Room,
    rules: Rules,
    limits: Limits,
    table: Table<Socket>,
    batch: Batch,
    pending: Vec<PendingAction>,
    ids: u64,
    ms: u64,
}

impl Shard {
    fn new(shards: usize) -> Self {
        let room = Room::new(shards, 65_536);
        Self {
            table: Table::new(0, &room),
            room,
            rules: Rules::open(),
            limits: Config::default().limits,
            batch: Batch::default(),
            pending: Vec::new(),
            ids: 0,
            ms: 0,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Table<Socket>, &mut Turn<'_>) -> T) -> T {
        let now = Now { ms: self.ms, tim: Tim::from_nanos(self.ms * 1_000_000) };
        let Self { room, rules, limits, table, batch, pending, .. } = self;
        let (clock_us, time_of_day, client_log) = (&|| 0, &|| now.tim, &ClientLog::default());
        let mut turn =
            Turn { now, clock_us, time_of_day, room, rules, limits, batch, pending, client_log };
        act(table, &mut turn)
    }

    /// Adds a message. Returns its id, its claim and its answer.
    fn add(&mut self, text: &str) -> (u64, PostClaim, Receiver<PostAnswer>) {
        self.ids += 1;
        let (id, claim, (sender, answer)) = (self.ids, PostClaim::default(), oneshot::channel());
        let (text, bearer) = (text.to_owned(), None);
        let claim_of_shard = claim.clone();
        let post =
            Post { id, peer: Peer::Unix, text, bearer, claim: claim_of_shard, answer: sender };
        self.with(|table, turn| table.add_post(post, turn));
        (id, claim, answer)
    }

    fn turn(&mut self) {
        self.ms += 1;
        self.with(|table, turn| table.turn(&mut [0; 64], turn));
    }

    /// The number of messages in the feed.
    fn messages(&self) -> u64 {
        self.room.inspect(|log, _| log.messages())
    }
}

/// The answer: its refusal and its text.
fn answered(answer: &mut Receiver<PostAnswer>) -> (Option<Refusal>, String) {
    let PostAnswer { refused, text } = answer.try_recv().unwrap();
    (refused.map(|refused| refused.refusal), String::from_utf8(text).unwrap())
}

fn is_pending(answer: &mut Receiver<PostAnswer>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

/// Closes the gate: the other shard of the room has swept nothing.
fn fill(shard: &mut Shard) {
    let long = format!(r#"{{"usr":"ci","msg":"{}"}}"#, "x".repeat(8000));
    while shard.room.gate().is_open() {
        let (_, _, mut answer) = shard.add(&long);
        shard.turn();
        assert_eq!(answered(&mut answer).0, None);
    }
}

#[test]
fn the_answer_is_the_stamped_text() {
    let mut shard = Shard::new(1);
    let texts = [r#"{"usr":"a","msg":"1"}"#, "{", r#"{"usr":"b","msg":"2","jwt":"x"}"#, TEXT];
    let mut answers = texts.map(|text| shard.add(text).2);
    assert!(answers.iter_mut().all(is_pending));
    shard.turn();
    let stamped = |text: &str, tim| format!("{},\"tim\":\"1970-01-01T00:00:00.{tim:09}Z\"}}", text);
    let sent = |text: &str, tim| (None, stamped(text, tim));
    assert_eq!(answered(&mut answers[0]), sent(r#"{"usr":"a","msg":"1""#, 1_000_000));
    assert_eq!(answered(&mut answers[1]).0, Some(Refusal::BadJson));
    assert_eq!(answered(&mut answers[2]), sent(r#"{"usr":"b","msg":"2""#, 1_000_001));
    assert_eq!(answered(&mut answers[3]), sent(r#"{"usr":"ci","msg":"green""#, 1_000_002));
    assert_eq!((shard.messages(), shard.table.counters().messages), (3, 3));
}

#[test]
fn a_message_that_waits_can_be_withdrawn() {
    let mut shard = Shard::new(2);
    fill(&mut shard);
    let before = shard.messages();
    let mut posts = [(); 3].map(|()| shard.add(TEXT));
    shard.turn();
    assert!(posts.iter_mut().all(|(.., answer)| is_pending(answer)));
    // The first is withdrawn, and the shard hears of it before its turn.
    assert!(posts[0].1.take());
    let id = posts[0].0;
    shard.with(|table, turn| table.remove_post(id, turn));
    // The second is withdrawn, and the shard has not heard of it.
    assert!(posts[1].1.take());
    shard.room.gate().report_progress(1, shard.room.end(), u64::MAX);
    shard.turn();
    assert_eq!(shard.messages(), before + 1);
    assert_eq!(answered(&mut posts[2].2).0, None);
    assert!(!posts[2].1.take(), "the shard was first");
    for (.., answer) in &mut posts[..2] {
        assert!(matches!(answer.try_recv(), Err(TryRecvError::Closed)));
    }
    // What was reserved for them is free again.
    shard.room.gate().report_progress(0, shard.room.end(), u64::MAX);
    shard.room.gate().report_progress(1, shard.room.end(), u64::MAX);
    assert!(shard.room.gate().is_open());
}

#[test]
fn messages_that_wait_are_refused_at_the_end() {
    let mut shard = Shard::new(2);
    fill(&mut shard);
    let before = shard.messages();
    let (_, claim, mut withdrawn) = shard.add(TEXT);
    assert!(claim.take());
    let (_, claim, mut waiting) = shard.add(TEXT);
    shard.table.refuse_posts(Tim::default());
    assert_eq!(answered(&mut waiting).0, Some(Refusal::Unavailable));
    assert!(!claim.take());
    assert!(withdrawn.try_recv().is_err());
    shard.table.stop_reading();
    let (.., mut late) = shard.add(TEXT);
    assert_eq!(answered(&mut late).0, Some(Refusal::Unavailable));
    shard.room.gate().report_progress(1, shard.room.end(), u64::MAX);
    shard.turn();
    assert_eq!(shard.messages(), before);
}

#[test]
fn the_messages_of_an_address_are_handled_in_order_and_one_is_held() {
    const POSTS: usize = 1000;
    let mut shard = Shard::new(1);
    let mut posts: Vec<_> = (0..POSTS).map(|_| shard.add(TEXT)).collect();
    let held = |shard: &Shard, id| shard.table.held.bytes(id) > 0;
    let count = posts.iter().filter(|(id, ..)| held(&shard, *id)).count();
    assert_eq!(count, 1, "changing the order of many takes long");
    // Withdrawing one that is not held, and the one that is.
    for withdrawn in [500, 0] {
        let (id, claim, _) = posts.remove(withdrawn);
        assert!(claim.take());
        shard.with(|table, turn| table.remove_post(id, turn));
    }
    assert!(held(&shard, posts[0].0));
    let (mut turns, mut last) = (0, String::new());
    for (.., answer) in &mut posts {
        let text = loop {
            if let Ok(PostAnswer { text, .. }) = answer.try_recv() {
                break String::from_utf8(text).unwrap();
            }
            turns += 1;
            assert!(turns < POSTS, "a turn handles several");
            shard.turn();
        };
        assert!(text > last, "{text} after {last}");
        last = text;
    }
    assert_eq!(shard.messages(), POSTS as u64 - 2);
    assert!(shard.table.held.is_empty());
}
