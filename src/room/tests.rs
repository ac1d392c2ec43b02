use super::*;
use std::sync::Mutex;

use crate::chat::{AuthSettings, Rules, SpeakerId, Target, TokenKey};
use jsonwebtoken::Algorithm;

fn batch(messages: usize) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..messages {
        batch.push_own(|out| {
            out.extend_from_slice(
                br#"{"usr":"a","msg":"b","tim":"000000000000000000000000000000"}"#,
            );
        });
    }
    batch
}

#[test]
fn a_sweep_is_over_when_every_shard_has_sent_everything() {
    let room = Room::new(2, 1 << 20);
    assert!(!room.gate().is_sweeping());
    room.publish(&mut batch(1), Tim::default());
    for shard in 0..2 {
        assert!(room.gate().is_sweeping());
        room.gate().report_progress(shard, room.end(), u64::MAX);
    }
    assert!(!room.gate().is_sweeping());
}

#[test]
fn the_bytes_of_a_message_are_the_same_for_all_shards() {
    let room = Room::new(2, 1 << 20);
    room.publish(&mut batch(1), Tim::default());
    let mut views = [Pieces::default(), Pieces::default()];
    for (shard, view) in views.iter_mut().enumerate() {
        room.fetch(shard, view);
    }
    let address = |pieces: &Pieces| pieces.iter().next().map(|piece| piece.bytes.as_ptr());
    assert_eq!(address(&views[0]), address(&views[1]));
    assert_eq!(address(&views[0]), address(&room.read_from(0, 1)), "also for a lagging listener");
    assert!(address(&views[0]).is_some());
}

#[test]
fn the_gate_closes_on_the_slowest_sweep_and_reports_when_it_opens() {
    let room = Room::new(2, 4_000);
    while room.end() < 1_000 {
        assert!(room.gate().is_due_or_wait(0, 0));
        room.publish(&mut batch(1), Tim::default());
    }
    assert!(!room.gate().is_due_or_wait(0, 0));
    let end = room.end();
    assert!(
        !room.gate().report_progress(0, end, u64::MAX),
        "the other shard is as far behind as before"
    );
    assert!(room.gate().report_progress(1, end, u64::MAX), "a shard waits for this");
    assert!(room.gate().is_due_or_wait(0, 0));
    assert!(!room.gate().report_progress(1, end, u64::MAX), "no shard waits");
}

#[test]
fn the_lock_the_mutes_and_the_limits_are_checked() {
    let (room, rules) = (Room::new(1, 4_000), Rules::open());
    let limit = RateLimit { per_sec: 1, burst: 2, ..RateLimit::default() };
    let mut participant = Participant::default();
    let mut check_now = |usr: &str, secs: u64| {
        let text = format!(r#"{{"usr":"{usr}","msg":"hi"}}"#);
        let now = Now { ms: secs * 1000, tim: Tim::from_nanos(secs * 1_000_000_000) };
        let request = rules.admit(&text, None, participant.speaker_mut(), now.tim).request.unwrap();
        room.check_now(&request, &mut participant, AddressBlock::UNIX, &limit, now)
    };
    let decide = |act: ModAction| room.decide(&act, &Actor::operator(0), Tim::default());
    let waits = |refusal, secs| Err(Refused { refusal, wait_secs: Some(secs) });

    decide(ModAction::Lock).unwrap();
    decide(ModAction::Mute { target: Target::name("bob"), secs: Some(10) }).unwrap();
    assert_eq!(check_now("bob", 0), Err(Refusal::Locked.into()));
    decide(ModAction::Unlock).unwrap();
    assert_eq!(check_now("bob", 0), waits(Refusal::Muted, 10));
    assert_eq!(check_now("ann", 0), Ok(()));
    assert_eq!(check_now("ann", 0), Ok(()));
    assert_eq!(
        check_now("ann", 0),
        waits(Refusal::RateLimited, 1),
        "a refused message does not count"
    );
    assert_eq!(check_now("bob", 10), Ok(()));
    decide(ModAction::Slow { secs: Some(60) }).unwrap();
    assert_eq!(check_now("ann", 11), waits(Refusal::RateLimited, 59));
    decide(ModAction::Slow { secs: None }).unwrap();
    assert_eq!(check_now("ann", 11), Ok(()));

    let never = ModAction::Retract(Retracted::Tim(Tim::from_nanos(1)));
    assert_eq!(decide(never.clone()), Err(ModActionError::NoMessage));
    room.publish(&mut batch(1), Tim::from_nanos(1));
    assert_eq!(decide(never), Ok(true));
    room.publish(&mut batch(1), Tim::from_nanos(3));
    let between = ModAction::Retract(Retracted::Tim(Tim::from_nanos(2)));
    assert_eq!(decide(between), Err(ModActionError::NoMessage), "no message has this time");
}

/// Sends `hi` as `usr`, from an address of its own.
fn send(room: &Room, usr: &str, limit: &RateLimit, secs: u64) -> Result<(), Refused> {
    let mut participant = Participant::default();
    let text = format!(r#"{{"usr":"{usr}","msg":"hi"}}"#);
    let now = Now { ms: secs * 1000, tim: Tim::from_nanos(secs * 1_000_000_000) };
    let mut address = [0; 16];
    address.iter_mut().zip(usr.bytes()).for_each(|(to, byte)| *to = byte);
    let rules = Rules::open();
    let request = rules.admit(&text, None, participant.speaker_mut(), now.tim).request.unwrap();
    room.check_now(&request, &mut participant, AddressBlock(address), limit, now)
}

#[test]
fn slow_mode_is_the_same_in_the_next_process() {
    let limit = RateLimit { repeat_ms: 7_000_000, ..RateLimit::default() };
    for (slow_secs, before, after) in [(30, 20, 9), (20_000, 10_000, 9_999)] {
        let room = Room::new(1, 4_000);
        let by = Actor::operator(0);
        // Slow mode also counts messages from before it.
        assert_eq!(send(&room, "ann", &limit, 100), Ok(()));
        room.decide(&ModAction::Slow { secs: Some(slow_secs) }, &by, Tim::default()).unwrap();
        let account_snapshots = room.account_snapshots(&limit, (100 + before) * 1000);
        let next = 40_000_000;
        let state = RoomState {
            moderation: room.moderation().clone(),
            accounts: Accounts::resume(&account_snapshots, next * 1000),
            ..RoomState::new(4_000)
        };
        let room = Room::resume(1, 4_000, state);
        let refused = send(&room, "ann", &RateLimit::default(), next + 1).unwrap_err();
        assert_eq!(refused.wait_secs, Some(after));
        assert_eq!(send(&room, "bob", &limit, next), Ok(()));
    }
}

#[test]
fn an_account_in_slow_mode_is_not_removed_for_others() {
    let (room, limit) = (Room::new(1, 4_000), RateLimit::default());
    let by = Actor::operator(0);
    room.decide(&ModAction::Slow { secs: Some(30) }, &by, Tim::default()).unwrap();
    assert_eq!(send(&room, "ann", &limit, 100), Ok(()));
    for number in 0..3_000u128 {
        room.account(
            &mut Participant::default(),
            AddressBlock(number.to_be_bytes()),
            &limit,
            101_000,
        );
    }
    assert_eq!(send(&room, "ann", &limit, 102).unwrap_err().wait_secs, Some(28));
}

#[test]
fn messages_of_moderators_remove_no_account_that_is_needed() {
    let key = TokenKey::secret(None, Algorithm::HS256, b"a secret").unwrap();
    let settings = AuthSettings {
        keys: vec![key.clone()],
        moderator_claim: Some("mod".into()),
        ..AuthSettings::default()
    };
    let limit = RateLimit { slow_ms: 60_000, repeat_ms: 60_000, ..RateLimit::default() };
    let (room, rules) = (Room::new(1, 4_000), Rules::new(settings, limit));
    let now = Now { ms: 1_000, tim: Tim::default() };
    let send = |sub: &str, is_moderator: bool, rest: &str, ms| {
        let token = key.sign(&serde_json::json!({ "sub": sub, "mod": is_moderator })).unwrap();
        let text = format!(r#"{{"usr":"a","jwt":"{token}",{rest}}}"#);
        let (mut participant, now) = (Participant::default(), Now { ms, ..now });
        let request = rules.admit(&text, None, participant.speaker_mut(), now.tim).request.unwrap();
        room.check_now(&request, &mut participant, AddressBlock::UNIX, &limit, now)
    };
    let msg = r#""msg":"hi""#;
    // As many accounts as there are before the first cleanup.
    for n in 0..1_023 {
        assert_eq!(send(&n.to_string(), false, msg, 1_000), Ok(()));
    }
    assert_eq!(send("chief", true, msg, 1_000), Ok(()));
    for n in 0..1_100 {
        let rest = if n % 2 == 0 { msg } else { r#""cmd":{"lock":true}"# };
        assert_eq!(send(&format!("chief {n}"), true, rest, 2_000), Ok(()));
    }
    for n in 0..1_023 {
        let refused = send(&n.to_string(), false, msg, 3_000).unwrap_err();
        assert_eq!(refused.wait_secs, Some(58), "{n}");
    }
    // A command does not remove what the moderator has sent.
    assert_eq!(send("chief", true, r#""cmd":{"lock":true}"#, 2_000), Ok(()));
    assert_eq!(send("chief", true, msg, 3_000).unwrap_err().wait_secs, Some(58));
}

#[test]
fn the_feed_retains_what_a_shard_needs_and_no_more() {
    let room = Room::new(2, 10_000);
    let mut view = Pieces::default();
    for _ in 0..1_000 {
        room.publish(&mut batch(1), Tim::default());
    }
    room.fetch(0, &mut view);
    assert_eq!(room.feed_bytes(), room.end(), "neither shard has reported its progress");
    for shard in 0..2 {
        room.gate().report_progress(shard, room.end(), u64::MAX);
    }
    room.gate().retain_from(0, u64::MAX);
    room.gate().retain_from(1, 20_000);
    room.fetch(0, &mut view);
    assert!(room.feed_bytes() >= room.end() - 20_000);
    assert!(room.read_from(0, 100).is_empty(), "the tail has passed this cursor");
    assert_eq!(room.read_from(20_000, 1).iter().count(), 1);
    assert!(room.read_from_or_later(0, 1).start() > Some(0), "a reader continues behind the gap");
    room.gate().retain_from(1, u64::MAX);
    room.fetch(0, &mut view);
    assert!(room.feed_bytes() < 13_000, "the tail and the rest of its first piece");
}

#[derive(Debug, Default)]
struct Stream(Mutex<Vec<Submission>>);

impl RemoteOrder for Stream {
    fn submit(&self, messages: Vec<Submission>) {
        self.0.lock().unwrap().extend(messages);
    }

    fn submit_act(&self, _: ModAction, _: Actor, reply: ActReply) {
        reply(Err(ModActionError::Unavailable));
    }
}

#[test]
fn on_several_machines_messages_come_back_with_their_order() {
    let stream = Arc::new(Stream::default());
    let remote: Arc<dyn RemoteOrder> = stream.clone();
    let room =
        Room::resume(2, 65_536, RoomState { remote: Some(remote), ..RoomState::new(65_536) });
    let mut batch = room.batch(1);
    // At first they wait.
    assert!(!room.gate().is_open() && !room.reserve(&mut batch, 40, u64::MAX));
    // While the stream cannot be used, messages are handled at once, and refused.
    room.set_order_state(OrderState::Away);
    assert!(room.gate().is_open());
    let (rules, now) = (Rules::open(), Now::default());
    let mut participant = Participant::default();
    let mut say = |room: &Room| {
        let speaker = participant.speaker_mut();
        let request = rules.admit(r#"{"usr":"a","msg":"b"}"#, None, speaker, now.tim).request;
        let (address, limit) = (AddressBlock::UNIX, RateLimit::default());
        room.check_now(&request.unwrap(), &mut participant, address, &limit, now)
    };
    assert_eq!(say(&room), Err(Refused::unavailable()));
    room.set_order_state(OrderState::Full);
    assert!(!room.gate().is_open() && !room.reserve(&mut batch, 40, u64::MAX));
    room.set_order_state(OrderState::Ready);
    assert_eq!(say(&room), Ok(()));

    let speaker =
        SpeakerId { usr: "a", sub: Some("s"), address: AddressBlock::UNIX, is_moderator: true };
    for id in [7, 8] {
        assert!(room.reserve(&mut batch, 40, room.gate().limit()));
        let sender = MessageSender { id, wants_text: id == 8, speaker };
        batch.push(sender, |out| {
            out.extend_from_slice(br#"{"tim":"0000-00-00T00:00:00.000000000Z"}"#)
        });
    }
    room.publish(&mut batch, Tim::from_nanos(1));
    assert!(batch.is_empty() && batch.take_outcomes().is_empty() && room.end() == 0);
    let submitted = std::mem::take(&mut *stream.0.lock().unwrap());
    let tickets: Vec<_> = submitted.iter().map(|it| (it.ticket.shard, it.ticket.id)).collect();
    assert_eq!(tickets, [(1, 7), (1, 8)]);
    assert_eq!(submitted[0].message.speaker, Some(speaker.into()));
    let reserved: u64 = submitted.iter().map(|it| it.ticket.reserved).sum();
    assert!(reserved >= 80);

    let mut messages = EncodedMessages::default();
    submitted.iter().for_each(|it| messages.push(|out| out.extend_from_slice(&it.message.text)));
    let mark = StreamMark { tim: Tim::from_nanos(9), ..StreamMark::default() };
    room.append_ordered(&messages, mark);
    assert_eq!((room.last_tim(), room.stream_mark()), (Tim::from_nanos(9), Some(mark)));
    assert_eq!(room.end(), messages.bytes().len() as u64);
    // What is reserved counts until the outcome is told.
    let limit = room.end() + reserved;
    assert!(!room.reserve(&mut batch, 40, limit));
    room.release(reserved);
    assert!(room.reserve(&mut batch, 40, limit));
}

#[test]
fn messages_of_a_stream_wait_for_the_gate() {
    let room = Room::new(1, 65_536);
    let fill = |bytes: usize| {
        let mut messages = EncodedMessages::default();
        messages.push(|out| out.extend(vec![b'x'; bytes]));
        room.append_ordered(&messages, StreamMark::default());
    };
    assert!(room.gate().may_append_or_wait());
    fill(20_000);
    assert!(!room.gate().may_append_or_wait());
    assert!(!room.gate().report_progress(0, 100, u64::MAX), "it is still closed");
    assert!(room.gate().report_progress(0, room.end(), u64::MAX), "the reader is woken");
    assert!(!room.gate().report_progress(0, room.end(), u64::MAX), "once");
    assert!(room.gate().may_append_or_wait());
}
