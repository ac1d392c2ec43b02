//! The room: it hears who may speak now, and is the one place where messages
//! get their order.
//!
//! Every shard composes the messages that its connections sent into a
//! [`Batch`], without a lock; [`Room::publish`] stamps the batch and appends it
//! to the feed, under the one lock, held for no more than that. Then every
//! shard takes its [`Room::fetch`] and sweeps.

#![deny(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod gate;
mod participant;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::Thread;

use crate::chat::{Actor, AddressBlock, ChatRequest, ModAction, ModActionError, Moderation, Now};
use crate::chat::{RateLimit, Refusal, Refused, Stamper, Tim, stamp};
use crate::feed::{Log, Pieces};
use crate::ws::frame::{self, Opcode};
pub use accounts::{Account, AccountKey, AccountSnapshot, Accounts};
pub use gate::Gate;
pub use participant::Participant;

/// Messages that are ready to be sent but for their `tim`.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Vec<u8>,
    /// Where in `frames` each message ends.
    ends: Vec<usize>,
    text: Vec<u8>,
    /// Bytes that are reserved at the gate.
    reserved: u64,
}

impl Batch {
    /// Adds the message that `encode` writes, with a placeholder for its `tim`.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        encode(&mut self.text);
        frame::put(Opcode::Text, &self.text, &mut self.frames);
        self.ends.push(self.frames.len());
    }

    /// How many messages there are.
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        const KEPT_BYTES: usize = 64 * 1024;
        self.frames.clear();
        self.frames.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / size_of::<usize>());
        self.text.shrink_to(KEPT_BYTES);
    }
}

/// The order of messages, the feed, and how far each shard has come with it.
#[derive(Debug)]
pub struct Room {
    order: Mutex<Order>,
    gate: Gate,
    /// The end of the feed and its messages when this process took the room.
    start_position: (u64, u64),
    moderation: RwLock<Moderation>,
    accounts: Accounts,
}

/// What a room goes on with that had a life before.
#[derive(Debug)]
pub struct RoomState {
    /// Its feed.
    pub log: Log,
    /// What gives its messages their time.
    pub stamper: Stamper,
    /// What moderators and operators had decided.
    pub moderation: Moderation,
    /// What its speakers had used up.
    pub accounts: Accounts,
}

#[derive(Debug)]
struct Order {
    stamper: Stamper,
    log: Log,
    /// Readers without a shard that wait for the next append.
    readers: Vec<Thread>,
}

impl Room {
    /// An empty room for that many shards; the feed keeps the newest
    /// `feed_tail_bytes` bytes.
    pub fn new(shards: usize, feed_tail_bytes: usize) -> Self {
        Self::resume(shards, feed_tail_bytes, RoomState::none(feed_tail_bytes))
    }

    /// A room that goes on with this past.
    pub fn resume(shards: usize, feed_tail_bytes: usize, past: RoomState) -> Self {
        let RoomState { log, stamper, moderation, accounts } = past;
        let (end, start) = (log.end(), log.pieces().start().unwrap_or(log.end()));
        let start_position = (end, log.messages());
        Self {
            order: Mutex::new(Order { stamper, log, readers: Vec::new() }),
            gate: Gate::new(shards, start, end, feed_tail_bytes),
            start_position,
            moderation: RwLock::new(moderation),
            accounts,
        }
    }

    /// Checks what depends on the state of the room: whether it is locked, and whether
    /// the speaker is muted or too fast. Counts the request if it may be carried out.
    ///
    /// # Errors
    ///
    /// The first of [`Refusal::Locked`], [`Refusal::Muted`] and
    /// [`Refusal::RateLimited`] that applies.
    pub fn check_now(
        &self,
        request: &ChatRequest<'_>,
        participant: &mut Participant,
        address: AddressBlock,
        limit: &RateLimit,
        now: Now,
    ) -> Result<(), Refused> {
        let moderation = self.moderation();
        let limit = moderation.rate_limit(limit);
        let find = |key: &AccountKey| self.accounts.account(key, now.ms, &limit);
        let counted = match request {
            ChatRequest::Say(message) => {
                let speaker = participant.speaker().id(message.usr(), address);
                moderation.check(&speaker, now.tim)?;
                let slow_ms = if speaker.is_moderator { 0 } else { limit.slow_ms };
                let own_limit = RateLimit { slow_ms, ..limit };
                let account = participant.account(address, find);
                account.usage().count_message(&own_limit, message.msg(), now.ms)
            }
            // Moderators can act even if the room is locked or they are muted.
            ChatRequest::Moderate(_) => {
                participant.account(address, find).usage().count_command(&limit, now.ms)
            }
        };
        counted.map_err(|wait_ms| Refused {
            refusal: Refusal::RateLimited,
            wait_secs: Some(wait_ms.div_ceil(1000)),
        })?;
        if let ChatRequest::Say(message) = request {
            participant.speaker_mut().name_sent(message.usr());
        }
        Ok(())
    }

    /// Decides what of `act` lasts: who is muted, whether the room is locked, how
    /// slow it is.
    ///
    /// # Errors
    ///
    /// Why it is not done; then nothing has changed.
    pub fn decide(&self, act: &ModAction, by: &Actor, now: Tim) -> Result<(), ModActionError> {
        if let ModAction::Retract { tim } = act
            && *tim > self.lock().stamper.last()
        {
            return Err(ModActionError::NoMessage);
        }
        let mut moderation = self.moderation.write().unwrap_or_else(PoisonError::into_inner);
        moderation.apply(act, by, now)
    }

    /// What moderators and operators have decided.
    pub fn moderation(&self) -> RwLockReadGuard<'_, Moderation> {
        // Every decision is made as a whole: no panic leaves half of one.
        self.moderation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The speakers whose budgets are known.
    pub fn speakers(&self) -> usize {
        self.accounts.count()
    }

    /// What the speakers have used up, for a handover.
    pub fn account_snapshots(&self, limit: &RateLimit, now_ms: u64) -> Vec<AccountSnapshot> {
        self.accounts.snapshots(now_ms, &self.moderation().rate_limit(limit))
    }

    /// Where the feed ended when this room was made, and how many messages it
    /// had: after a handover, what came before is the other process's.
    pub fn start_position(&self) -> (u64, u64) {
        self.start_position
    }

    /// The end of the feed: whoever joins now gets every byte behind it.
    pub fn end(&self) -> u64 {
        self.gate.end()
    }

    /// When messages may be sent, and whose come first.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Reserves room for a message of that length behind the feed, which may grow
    /// up to about `limit`. Says whether there is some; if not, the message waits.
    pub fn reserve(&self, batch: &mut Batch, text_bytes: usize, limit: u64) -> bool {
        let reserved = self.gate.reserve(text_bytes, limit);
        batch.reserved += reserved.unwrap_or(0);
        reserved.is_some()
    }

    /// The account of a connection, as far as it is known before its next message is
    /// read.
    pub fn account<'a>(
        &self,
        participant: &'a mut Participant,
        address: AddressBlock,
        limit: &RateLimit,
        now_ms: u64,
    ) -> &'a Account {
        participant.account(address, |key| {
            self.accounts.account(key, now_ms, &self.moderation().rate_limit(limit))
        })
    }

    /// Gives the messages their order and their `tim`, and sends them.
    ///
    /// With several machines in one room, an engine between them would order
    /// and stamp; what it gives back would go straight to `Order::append`.
    pub fn publish(&self, batch: &mut Batch, now: Tim) {
        let reserved = std::mem::take(&mut batch.reserved);
        if batch.is_empty() {
            return self.gate.release(reserved);
        }
        let mut order = self.lock();
        for &end in &batch.ends {
            let tim = order.stamper.next(now);
            stamp(&mut batch.frames[..end], tim);
        }
        let end = order.append(&batch.frames, batch.ends.len());
        self.gate.advance(end);
        self.gate.release(reserved);
        let readers = std::mem::take(&mut order.readers);
        drop(order);
        readers.iter().for_each(Thread::unpark);
        batch.clear();
    }

    /// Takes what shard number `shard` does not have yet into its view. Gives
    /// back the position at which the tail begins: a cursor before it has lost
    /// its place, and must be looked after before [`Gate::needs`] moves on.
    pub fn fetch(&self, shard: usize, view: &mut Pieces) -> u64 {
        let mut order = self.lock();
        view.follow(order.log.pieces(), self.gate.swept(shard));
        order.log.forget(self.gate.keeps_from());
        order.log.floor()
    }

    /// What a lagging listener at `cursor` lacks, up to about `bytes_max`.
    /// Nothing if the tail has passed it.
    pub fn read_from(&self, cursor: u64, bytes_max: usize) -> Pieces {
        let read_from = self.since(cursor, bytes_max);
        let passed = read_from.start().is_some_and(|start| start > cursor);
        if passed { Pieces::default() } else { read_from }
    }

    /// What is behind `cursor`, up to about `bytes_max`. If the tail has passed
    /// it, that begins with the oldest piece: for a reader that can live with a
    /// gap, and holds back nothing.
    pub fn since(&self, cursor: u64, bytes_max: usize) -> Pieces {
        let order = self.lock();
        let mut pieces = Pieces::default();
        for piece in order.log.pieces().since(cursor) {
            pieces.push(piece.clone());
            if piece.end() - cursor >= bytes_max as u64 {
                break;
            }
        }
        pieces
    }

    /// Whether there is something behind `cursor`. If not, `reader` is unparked
    /// by the next append, once.
    pub fn has_news(&self, cursor: u64, reader: &Thread) -> bool {
        let mut order = self.lock();
        let news = order.log.end() > cursor;
        if !news && order.readers.iter().all(|waiting| waiting.id() != reader.id()) {
            order.readers.push(reader.clone());
        }
        news
    }

    /// Shows the feed and the newest `tim`, for a handover.
    pub fn inspect<T>(&self, look: impl FnOnce(&Log, Tim) -> T) -> T {
        let order = self.lock();
        look(&order.log, order.stamper.last())
    }

    /// How many messages were sent since the room is there.
    pub fn messages(&self) -> u64 {
        self.lock().log.messages()
    }

    /// How many bytes of the feed are in memory.
    pub fn feed_bytes(&self) -> u64 {
        self.lock().log.held_bytes()
    }

    /// How many messages follow `cursor`; of those that are forgotten, none counts.
    pub fn messages_behind(&self, cursor: u64) -> u64 {
        let order = self.lock();
        let pieces = order.log.pieces();
        messages_before(pieces, u64::MAX) - messages_before(pieces, cursor)
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        // No panic leaves an order half made: a log is consistent after each call.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many messages of the feed end at or before the cursor; for a cursor before
/// `pieces`, how many there were before the oldest of them.
pub fn messages_before(pieces: &Pieces, cursor: u64) -> u64 {
    match pieces.since(cursor).next() {
        Some(piece) => {
            let offset = cursor.saturating_sub(piece.start) as usize;
            piece.messages_before + frame::place(&piece.bytes, offset).frames_before
        }
        // The cursor is behind the last piece, or nobody asks.
        None => pieces.iter().next_back().map_or(0, |p| p.messages_before + u64::from(p.messages)),
    }
}

impl RoomState {
    /// Nothing yet.
    pub fn none(feed_tail_bytes: usize) -> Self {
        Self {
            log: Log::new(feed_tail_bytes),
            stamper: Stamper::default(),
            moderation: Moderation::default(),
            accounts: Accounts::default(),
        }
    }
}

impl Order {
    /// Sends frames that have their order and their `tim`.
    fn append(&mut self, frames: &[u8], messages: usize) -> u64 {
        self.log.append(frames, messages as u32);
        self.log.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::AuthSettings;
    use crate::chat::Rules;
    use crate::chat::Target;
    use crate::chat::TokenKey;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    fn batch(messages: usize) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..messages {
            batch.push(|out| {
                out.extend_from_slice(
                    br#"{"usr":"a","msg":"b","tim":"000000000000000000000000000000"}"#,
                );
            });
        }
        batch
    }

    fn tims(pieces: &Pieces) -> Vec<Tim> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split(r#""tim":""#).skip(1).filter_map(|rest| rest.get(..30)?.parse().ok()).collect()
    }

    #[test]
    fn a_sweep_is_over_when_every_shard_has_handed_out_all() {
        let room = Room::new(2, 1 << 20);
        assert!(!room.gate().is_sweeping());
        room.publish(&mut batch(1), Tim::default());
        for shard in 0..2 {
            assert!(room.gate().is_sweeping());
            room.gate().progress(shard, room.end(), u64::MAX);
        }
        assert!(!room.gate().is_sweeping());
    }

    #[test]
    fn tim_increases_whatever_the_clock_does() {
        let room = Room::new(1, 1 << 20);
        for clock in [100, 100, 50, 0, 101, 500, 400] {
            room.publish(&mut batch(3), Tim::from_nanos(clock));
        }
        let mut view = Pieces::default();
        room.fetch(0, &mut view);
        let tims = tims(&view);
        assert_eq!(tims.len(), 21);
        assert!(tims.is_sorted_by(|a, b| a < b), "{tims:?}");
    }

    #[test]
    fn the_bytes_of_a_message_are_the_same_for_all_shards() {
        let room = Room::new(2, 1 << 20);
        room.publish(&mut batch(1), Tim::default());
        let mut views = [Pieces::default(), Pieces::default()];
        for (shard, view) in views.iter_mut().enumerate() {
            room.fetch(shard, view);
        }
        let place = |pieces: &Pieces| pieces.iter().next().map(|piece| piece.bytes.as_ptr());
        assert_eq!(place(&views[0]), place(&views[1]));
        assert_eq!(place(&views[0]), place(&room.read_from(0, 1)), "also for who is lagging");
        assert!(place(&views[0]).is_some());
    }

    #[test]
    fn the_gate_closes_on_the_slowest_sweep_and_tells_when_it_opens() {
        let room = Room::new(2, 4_000);
        while room.end() < 1_000 {
            assert!(room.gate().is_due_or_wait(0, 0));
            room.publish(&mut batch(1), Tim::default());
        }
        assert!(!room.gate().is_due_or_wait(0, 0));
        let end = room.end();
        assert!(
            !room.gate().progress(0, end, u64::MAX),
            "the other shard is as far behind as before"
        );
        assert!(room.gate().progress(1, end, u64::MAX), "somebody waits for this");
        assert!(room.gate().is_due_or_wait(0, 0));
        assert!(!room.gate().progress(1, end, u64::MAX), "nobody waits");
    }

    #[test]
    fn the_gate_closes_on_a_listener_that_reads_and_cannot_keep_up() {
        let room = Room::new(1, 4_000);
        while room.end() < 2_000 {
            room.publish(&mut batch(1), Tim::default());
            room.gate().progress(0, room.end(), 0);
        }
        assert!(!room.gate().is_due_or_wait(0, 0));
        assert!(room.gate().progress(0, room.end(), 1_500));
    }

    #[test]
    fn who_is_heard_now() {
        let (room, rules) = (Room::new(1, 4_000), Rules::open());
        let limit = RateLimit { per_sec: 1, burst: 2, ..RateLimit::default() };
        let mut participant = Participant::default();
        let mut check_now = |usr: &str, secs: u64| {
            let text = format!(r#"{{"usr":"{usr}","msg":"hi"}}"#);
            let now = Now { ms: secs * 1000, tim: Tim::from_nanos(secs * 1_000_000_000) };
            let request = rules.admit(&text, participant.speaker_mut(), now.tim).request.unwrap();
            room.check_now(&request, &mut participant, AddressBlock::UNIX, &limit, now)
        };
        let decide =
            |act: ModAction| room.decide(&act, &Actor::Operator { uid: 0 }, Tim::default());
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
            "what was refused cost nothing"
        );
        assert_eq!(check_now("bob", 10), Ok(()));
        decide(ModAction::Slow { secs: Some(60) }).unwrap();
        assert_eq!(check_now("ann", 11), waits(Refusal::RateLimited, 59));
        decide(ModAction::Slow { secs: None }).unwrap();
        assert_eq!(check_now("ann", 11), Ok(()));

        let never = ModAction::Retract { tim: Tim::from_nanos(1) };
        assert_eq!(decide(never.clone()), Err(ModActionError::NoMessage));
        room.publish(&mut batch(1), Tim::from_nanos(1));
        assert_eq!(decide(never), Ok(()));
    }

    /// Says `hi` as `usr`, from a place of its own.
    fn says(room: &Room, usr: &str, limit: &RateLimit, secs: u64) -> Result<(), Refused> {
        let mut participant = Participant::default();
        let text = format!(r#"{{"usr":"{usr}","msg":"hi"}}"#);
        let now = Now { ms: secs * 1000, tim: Tim::from_nanos(secs * 1_000_000_000) };
        let mut place = [0; 16];
        place.iter_mut().zip(usr.bytes()).for_each(|(to, byte)| *to = byte);
        let rules = Rules::open();
        let request = rules.admit(&text, participant.speaker_mut(), now.tim).request.unwrap();
        room.check_now(&request, &mut participant, AddressBlock(place), limit, now)
    }

    #[test]
    fn the_next_room_knows_who_has_to_wait_for_slow_mode() {
        let limit = RateLimit { repeat_ms: 7_000_000, ..RateLimit::default() };
        for (slow_secs, before, after) in [(30, 20, 9), (20_000, 10_000, 9_999)] {
            let room = Room::new(1, 4_000);
            let by = Actor::Operator { uid: 0 };
            // Slow mode may come after what was said.
            assert_eq!(says(&room, "ann", &limit, 100), Ok(()));
            room.decide(&ModAction::Slow { secs: Some(slow_secs) }, &by, Tim::default()).unwrap();
            let account_snapshots = room.account_snapshots(&limit, (100 + before) * 1000);
            let next = 40_000_000;
            let past = RoomState {
                moderation: room.moderation().clone(),
                accounts: Accounts::resume(&account_snapshots, next * 1000),
                ..RoomState::none(4_000)
            };
            let room = Room::resume(1, 4_000, past);
            let refused = says(&room, "ann", &RateLimit::default(), next + 1).unwrap_err();
            assert_eq!(refused.wait_secs, Some(after));
            assert_eq!(says(&room, "bob", &limit, next), Ok(()));
        }
    }

    #[test]
    fn whoever_waits_for_slow_mode_is_not_forgotten_for_others() {
        let (room, limit) = (Room::new(1, 4_000), RateLimit::default());
        let by = Actor::Operator { uid: 0 };
        room.decide(&ModAction::Slow { secs: Some(30) }, &by, Tim::default()).unwrap();
        assert_eq!(says(&room, "ann", &limit, 100), Ok(()));
        for number in 0..3_000u128 {
            room.account(
                &mut Participant::default(),
                AddressBlock(number.to_be_bytes()),
                &limit,
                101_000,
            );
        }
        assert_eq!(says(&room, "ann", &limit, 102).unwrap_err().wait_secs, Some(28));
    }

    #[test]
    fn what_a_moderator_does_lets_nobody_be_forgotten() {
        let secret = b"a secret of more than thirty-two bytes";
        let settings = AuthSettings {
            keys: vec![TokenKey::secret(None, Algorithm::HS256, secret).unwrap()],
            moderator_claim: Some("mod".into()),
            ..AuthSettings::default()
        };
        let limit = RateLimit { slow_ms: 60_000, repeat_ms: 60_000, ..RateLimit::default() };
        let (room, rules) = (Room::new(1, 4_000), Rules::new(settings, limit));
        let now = Now { ms: 1_000, tim: Tim::default() };
        let says = |sub: &str, is_moderator: bool, rest: &str, ms| {
            let claims = serde_json::json!({ "sub": sub, "mod": is_moderator });
            let key = EncodingKey::from_secret(secret);
            let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
            let text = format!(r#"{{"usr":"a","jwt":"{token}",{rest}}}"#);
            let (mut participant, now) = (Participant::default(), Now { ms, ..now });
            let request = rules.admit(&text, participant.speaker_mut(), now.tim).request.unwrap();
            room.check_now(&request, &mut participant, AddressBlock::UNIX, &limit, now)
        };
        let msg = r#""msg":"hi""#;
        // More than are kept without being looked through.
        for n in 0..1_023 {
            assert_eq!(says(&n.to_string(), false, msg, 1_000), Ok(()));
        }
        assert_eq!(says("chief", true, msg, 1_000), Ok(()));
        for n in 0..1_100 {
            let rest = if n % 2 == 0 { msg } else { r#""cmd":{"lock":true}"# };
            assert_eq!(says(&format!("chief {n}"), true, rest, 2_000), Ok(()));
        }
        for n in 0..1_023 {
            let refused = says(&n.to_string(), false, msg, 3_000).unwrap_err();
            assert_eq!(refused.wait_secs, Some(58), "{n}");
        }
        // Nor is what it said itself, by a command.
        assert_eq!(says("chief", true, r#""cmd":{"lock":true}"#, 2_000), Ok(()));
        assert_eq!(says("chief", true, msg, 3_000).unwrap_err().wait_secs, Some(58));
    }

    #[test]
    fn what_a_shard_needs_is_kept_and_no_more() {
        let room = Room::new(2, 10_000);
        let mut view = Pieces::default();
        for _ in 0..1_000 {
            room.publish(&mut batch(1), Tim::default());
        }
        room.fetch(0, &mut view);
        assert_eq!(room.feed_bytes(), room.end(), "neither shard has said what it needs");
        for shard in 0..2 {
            room.gate().progress(shard, room.end(), u64::MAX);
        }
        room.gate().needs(0, u64::MAX);
        room.gate().needs(1, 20_000);
        room.fetch(0, &mut view);
        assert!(room.feed_bytes() >= room.end() - 20_000);
        assert!(room.read_from(0, 100).is_empty(), "the tail has passed this cursor");
        assert_eq!(room.read_from(20_000, 1).iter().count(), 1);
        assert!(room.since(0, 1).start() > Some(0), "a reader goes on behind the gap");
        room.gate().needs(1, u64::MAX);
        room.fetch(0, &mut view);
        assert!(room.feed_bytes() < 13_000, "the tail, and what of its first piece is older");
    }
}
