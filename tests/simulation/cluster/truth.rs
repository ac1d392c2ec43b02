//! The log as it is: what every record in it means.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use wschat::chat::{ModAction, Tim, stamp};
use wschat::cluster::engine::Delivery;
use wschat::cluster::log::{Body, LogClock, decode};
use wschat::feed::{Position, StreamMark};

/// What a record means.
#[derive(Debug)]
pub struct Place {
    pub mark: StreamMark,
    /// The `tim` of its first message, or of its act.
    pub first: Option<Tim>,
    /// The messages that all nodes send.
    pub texts: Vec<Bytes>,
    pub is_act: bool,
    /// Whether the stream had a message up to here, so that the `tim` of the mark is certain.
    pub has_tim: bool,
}

#[derive(Debug, Default)]
pub struct Truth {
    clock: LogClock,
    created: u64,
    pub has_tim: bool,
    places: BTreeMap<Position, Place>,
    /// When the room was locked and unlocked.
    locks: BTreeMap<Tim, bool>,
    /// The text of each message that was sent, by its ticket.
    pub sent: HashMap<u64, Bytes>,
    /// The tickets of messages that the stream has lost.
    pub lost: HashSet<u64>,
    /// Up to here no node knew the clock.
    pub uncertain_to: Position,
    pub locked: u64,
    pub late: u64,
    pub bad: u64,
}

impl Truth {
    pub fn read(&mut self, delivery: &Delivery) {
        let position = delivery.position;
        if position.created != self.created {
            (self.created, self.clock.newest, self.has_tim) =
                (position.created, Tim::default(), false);
        }
        let record = decode(&delivery.headers, &delivery.payload);
        let first = self.clock.read(position.created, delivery.time, record.as_ref().ok());
        let (mut texts, mut is_act) = (Vec::new(), false);
        match (&record, first) {
            (Err(_), _) => self.bad += 1,
            (Ok(_), None) => self.late += 1,
            (Ok(record), Some(first)) => match &record.body {
                Body::Messages(messages) => {
                    self.has_tim = true;
                    for (number, message) in (0..).zip(messages) {
                        let tim = Tim::from_nanos(first.nanos() + number);
                        if self.is_locked(tim) && message.speaker.is_some() {
                            self.locked += 1;
                            continue;
                        }
                        let mut text = message.text.clone();
                        let ticket = ticket_of(&text);
                        stamp(&mut text, tim);
                        let text = Bytes::from(text);
                        texts.push(text.clone());
                        let before = self.sent.insert(ticket, text);
                        assert_eq!(before, None, "message {ticket} was sent twice");
                    }
                }
                Body::Act(act) => {
                    (self.has_tim, is_act) = (true, true);
                    self.locks.insert(first, act.action == ModAction::Lock);
                }
                Body::Empty => {}
            },
        }
        let has_messages = record.is_ok_and(|record| !matches!(record.body, Body::Empty));
        let first = first.filter(|_| has_messages);
        let (mark, has_tim) = (self.clock.mark(position), self.has_tim);
        self.places.insert(position, Place { mark, first, texts, is_act, has_tim });
    }

    /// The stream has lost all records behind this place. Not all nodes have read them, so the
    /// `tim` there is certain only behind the next message.
    pub fn lose_newest(&mut self, last: Position) {
        self.has_tim = false;
        self.uncertain_to = self.uncertain_to.min(last);
        // Who has published them does not know that some nodes have read them.
        for (_, place) in self.places.range(Position { sequence: last.sequence + 1, ..last }..) {
            self.lost.extend(place.texts.iter().map(|text| ticket_of(text)));
        }
    }

    pub fn place(&self, position: Position) -> &Place {
        &self.places[&position]
    }

    /// Whether the room is locked at this time.
    pub fn is_locked(&self, tim: Tim) -> bool {
        self.locks.range(..tim).next_back().is_some_and(|lock| *lock.1)
    }

    /// The greatest time up to here.
    pub fn greatest(&self) -> Tim {
        self.clock.tim.max(self.clock.newest)
    }
}

/// The ticket in the text of a message.
fn ticket_of(text: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let msg = value["msg"].as_str().expect("a text");
    msg.split(' ').next().expect("a ticket").parse().expect("a number")
}
