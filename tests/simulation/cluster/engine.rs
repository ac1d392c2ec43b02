//! The engine: a stream, and the way of each node to it and back.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use wschat::chat::Tim;
use wschat::cluster::engine::{AwayReason, Connection, Delivery, EngineEvent, Publish};
use wschat::feed::Position;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    pub created: u64,
    pub first: u64,
    pub last: u64,
    pub records: BTreeMap<u64, Delivery>,
    /// How far the clock of its leader is ahead, in nanoseconds.
    pub ahead_nanos: i64,
    /// Until then it stores nothing.
    pub stopped_until_ms: u64,
}

/// The system clock at the start.
const START_NANOS: i64 = 1_700_000_000_000_000_000;

impl Stream {
    pub fn new() -> Self {
        let records = BTreeMap::new();
        Self { created: 1, first: 1, last: 0, records, ahead_nanos: 0, stopped_until_ms: 0 }
    }

    pub fn time(&self, now_ms: u64, rng: &mut Rng) -> Tim {
        let nanos = now_ms as i64 * 1_000_000 + rng.i64(0..1_000_000);
        Tim::from_nanos((START_NANOS + nanos + self.ahead_nanos) as u64)
    }

    pub fn newest(&self) -> Position {
        Position { created: self.created, sequence: self.last }
    }

    /// Stores a record.
    pub fn store(
        &mut self,
        headers: Vec<(String, String)>,
        payload: Vec<u8>,
        time: Tim,
    ) -> Delivery {
        self.last += 1;
        let position = self.newest();
        let delivery = Delivery { position, time, headers, payload: payload.into() };
        self.records.insert(self.last, delivery.clone());
        delivery
    }

    /// Loses all records behind this one.
    pub fn lose_newest(&mut self, last: u64) {
        self.last = last;
        self.records.split_off(&(last + 1));
        self.first = self.first.min(last + 1);
    }

    /// Discards all records before this one.
    pub fn discard(&mut self, first: u64) {
        self.first = first;
        self.records = self.records.split_off(&first);
    }
}

/// The way of one node to the stream and back.
#[derive(Debug, Default)]
pub struct Link {
    pub is_up: bool,
    /// Counts connections: what is on its way on an older one never arrives.
    pub number: u64,
    /// The last record that was sent to the node.
    pub last: Option<Position>,
    /// The last record that the node has received.
    pub received: Option<Position>,
    /// What is on its way to the node, and when it arrives.
    inbound: VecDeque<(u64, EngineEvent)>,
    /// When the newest publish arrives.
    pub publish_ms: u64,
    /// Until then nothing is delivered,
    pub delivers_from_ms: u64,
    /// and acknowledgements are lost.
    pub acknowledges_from_ms: u64,
}

impl Link {
    pub fn connect(&mut self, stream: &Stream, now_ms: u64, rng: &mut Rng) {
        self.is_up = true;
        self.number += 1;
        let newest = stream.newest();
        let from_sequence = match self.received {
            // The stream was made anew.
            Some(last) if last.created != newest.created => stream.first,
            Some(last) => last.sequence + 1,
            None => stream.first.max((newest.sequence + 1).saturating_sub(rng.u64(..60))),
        };
        // Some records are read twice.
        let sequence = from_sequence - 1;
        self.last = Some(Position { sequence, ..newest });
        let connection = Connection {
            server: "n1".into(),
            max_payload: 2_000,
            newest,
            first_sequence: stream.first,
            from_sequence,
            time: stream.time(now_ms, rng),
        };
        self.inbound.clear();
        self.inbound.push_back((now_ms + rng.u64(..5), EngineEvent::Connected(connection)));
        if rng.u8(..4) == 0 && sequence >= stream.first {
            self.last = Some(Position { sequence: sequence - 1, ..newest });
        }
    }

    /// The stream has lost what was received behind this record.
    pub fn lose_newest(&mut self, last: Position) {
        self.received = self.received.map(|received| match received.created == last.created {
            true => received.min(last),
            false => received,
        });
    }

    pub fn disconnect(&mut self, now_ms: u64) {
        self.is_up = false;
        self.number += 1;
        self.inbound.clear();
        let reason = AwayReason::Unreachable("the connection was lost".into());
        self.inbound.push_back((now_ms, EngineEvent::Away(reason)));
    }

    /// Sends what the stream has to the node.
    pub fn deliver(&mut self, stream: &Stream, now_ms: u64, rng: &mut Rng) {
        let Some(last) = self.last.filter(|_| self.is_up && now_ms >= self.delivers_from_ms) else {
            return;
        };
        if last.created != stream.created {
            return;
        }
        if stream.records.range(last.sequence + 1..).next().is_none() && rng.u8(..30) == 0 {
            self.push(EngineEvent::Heartbeat, now_ms, rng);
        }
        for (sequence, delivery) in stream.records.range(last.sequence + 1..) {
            self.last = Some(Position { sequence: *sequence, ..last });
            self.push(EngineEvent::Delivered(delivery.clone()), now_ms, rng);
        }
    }

    pub fn acknowledge(
        &mut self,
        number: u64,
        stored: Result<u64, String>,
        now_ms: u64,
        rng: &mut Rng,
    ) {
        if self.is_up && now_ms >= self.acknowledges_from_ms {
            self.push(EngineEvent::Acknowledged { number, stored }, now_ms, rng);
        }
    }

    fn push(&mut self, event: EngineEvent, now_ms: u64, rng: &mut Rng) {
        let newest_ms = self.inbound.back().map_or(0, |event| event.0);
        self.inbound.push_back((newest_ms.max(now_ms + rng.u64(..4)), event));
    }

    /// The next event that has arrived.
    pub fn pop(&mut self, now_ms: u64) -> Option<EngineEvent> {
        self.inbound.front().filter(|event| event.0 <= now_ms)?;
        let (_, event) = self.inbound.pop_front()?;
        match &event {
            EngineEvent::Connected(Connection { newest, from_sequence, .. }) => {
                self.received = Some(Position { sequence: from_sequence - 1, ..*newest });
            }
            EngineEvent::Delivered(delivery) => {
                self.received = self.received.max(Some(delivery.position));
            }
            _ => {}
        }
        Some(event)
    }
}

/// A record on its way to the stream.
#[derive(Debug)]
pub struct OnItsWay {
    pub arrives_ms: u64,
    pub member: usize,
    /// The connection and the process that wait for the answer.
    pub link: u64,
    pub incarnation: u64,
    pub publish: Publish,
}
