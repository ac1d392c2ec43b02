//! The records that a node publishes, and those of them that are on their way.

use std::mem;

use bytes::Bytes;

use super::clock::later;
use super::codec::{Headers, Kind, MessagesPayload, act_payload, headers, headers_bytes};
use super::flight::{Flight, Flights};
use super::record::{LoggedAct, Publisher};
use super::stream_time::StreamTime;
use crate::chat::{LoggedMessage, Tim};
use crate::cluster::NodeName;
use crate::cluster::engine::Publish;
use crate::feed::{Position, StreamMark};

/// The most digits of the number of a record.
const NUMBER_BYTES_MAX: usize = 20;

/// What a node publishes, as one process.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    name: NodeName,
    incarnation: u64,
    /// The number of the newest record.
    number: u64,
    /// What is on its way.
    pub flights: Flights<T>,
    /// For the deadlines.
    pub stream_time: StreamTime,
    /// The `tim` of the last message of the room before it has joined the cluster: those that
    /// this node publishes are later.
    pub joined_after: Tim,
}

impl<T> Outgoing<T> {
    /// How long the stream may take to store a record.
    const DEADLINE_NANOS: u64 = 5_000_000_000;

    pub fn new(name: NodeName, incarnation: u64) -> Self {
        let (flights, stream_time) = (Flights::default(), StreamTime::default());
        Self { name, incarnation, number: 0, flights, stream_time, joined_after: Tim::default() }
    }

    /// Whether a record is from this process.
    pub fn is_own(&self, publisher: &Publisher) -> bool {
        publisher.incarnation == self.incarnation && publisher.node == self.name.as_str()
    }

    /// Does not wait any more for answers to the records that were published.
    pub fn expect_no_answers(&mut self) {
        self.flights.acknowledge(self.number);
    }

    /// Records for messages, each of up to `bytes_max` bytes. A message that is too long for any
    /// gives its ticket back.
    pub fn messages(
        &mut self,
        messages: Vec<(LoggedMessage, T)>,
        after: Option<StreamMark>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Vec<Result<Publish, T>> {
        let (mut out, mut payload, mut tickets) = (vec![], MessagesPayload::default(), vec![]);
        // The number of the record is the only part of the header fields that changes.
        let fields = headers_bytes(&self.headers(Kind::Messages, after, now_ms));
        let payload_max = bytes_max.saturating_sub(fields + NUMBER_BYTES_MAX);
        for (message, ticket) in messages {
            let mut is_added = payload.push(&message, payload_max);
            if !is_added && !tickets.is_empty() {
                let (full, tickets) = (mem::take(&mut payload), mem::take(&mut tickets));
                out.push(Ok(self.publish(Kind::Messages, full.finish(), tickets, after, now_ms)));
                is_added = payload.push(&message, payload_max);
            }
            if is_added {
                tickets.push(ticket);
            } else {
                out.push(Err(ticket));
            }
        }
        if !tickets.is_empty() {
            out.push(Ok(self.publish(Kind::Messages, payload.finish(), tickets, after, now_ms)));
        }
        out
    }

    /// A record for a moderation action of up to `bytes_max` bytes, or the ticket if it is
    /// longer.
    pub fn act(
        &mut self,
        act: &LoggedAct,
        ticket: T,
        after: Option<StreamMark>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Publish, T> {
        let mut act = act.clone();
        act.actor.set_node(self.name.as_str());
        let (payload, headers) = (act_payload(&act), self.headers(Kind::Act, after, now_ms));
        if headers_bytes(&headers) + payload.len() > bytes_max {
            return Err(ticket);
        }
        Ok(self.publish(Kind::Act, payload, vec![ticket], after, now_ms))
    }

    /// An empty record.
    pub fn empty(&mut self, after: Option<StreamMark>, now_ms: u64) -> Publish {
        self.publish(Kind::Empty, Bytes::new(), Vec::new(), after, now_ms)
    }

    fn publish(
        &mut self,
        kind: Kind,
        payload: Bytes,
        tickets: Vec<T>,
        after: Option<StreamMark>,
        at_ms: u64,
    ) -> Publish {
        let (headers, by) = (self.headers(kind, after, at_ms), self.deadline(at_ms));
        self.number += 1;
        let number = self.number;
        self.flights.push(Flight { number, by, at_ms, stored: None, is_in_hole: false, tickets });
        Publish { number, headers, payload }
    }

    /// The header fields of the next record.
    fn headers(&self, kind: Kind, after: Option<StreamMark>, now_ms: u64) -> Headers {
        let node = self.name.as_str().to_owned();
        let (incarnation, number) = (self.incarnation, self.number + 1);
        let publisher = Publisher { node, incarnation, number };
        let after = after.map(|after| self.late_enough(after));
        headers(&publisher, after.as_ref(), self.deadline(now_ms), kind)
    }

    /// What a publisher has read, with the `tim` of a message that is in the room and not in the
    /// stream. This is the `tim` of no record there, so its place is in front of the first one.
    fn late_enough(&self, after: StreamMark) -> StreamMark {
        if after.tim >= self.joined_after {
            return after;
        }
        let position = Position { sequence: 0, ..after.position };
        StreamMark { position, tim: self.joined_after, ..after }
    }

    fn deadline(&self, now_ms: u64) -> Tim {
        later(self.stream_time.estimate(now_ms), Self::DEADLINE_NANOS)
    }
}
