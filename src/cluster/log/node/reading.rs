//! What a node makes of what it reads.

use bytes::Bytes;

use super::Node;
use crate::chat::{LoggedMessage, Refusal, Refused, SpeakerId, Tim, stamp};
use crate::cluster::log::action::{Action, Report};
use crate::cluster::log::clock::later;
use crate::cluster::log::reader::{Read, ReadRecord};
use crate::cluster::log::record::Body;
use crate::feed::StreamMark;

impl<T> Node<T> {
    pub(super) fn read(
        &mut self,
        read: Read,
        check: &dyn Fn(&SpeakerId<'_>, Tim) -> Result<(), Refused>,
    ) {
        match read {
            Read::CompleteSince(tim) => self.actions.push_back(Action::CompleteSince(tim)),
            Read::Hole(position) => {
                self.outgoing.flights.iter_mut().for_each(|flight| flight.is_in_hole = true);
                self.report(Report::Hole(position));
            }
            Read::Alone(position) => self.report(Report::Alone(position)),
            Read::Gap { after, before } => {
                let after = (after > Tim::default()).then_some(after);
                self.actions.push_back(Action::Gap { after, before });
            }
            Read::Record(record) => self.read_record(*record, check),
            Read::Bad { mark, error } => {
                self.report(Report::Bad(mark.position, error));
                self.append(Vec::new(), mark, false);
            }
            Read::Skipped(publisher) => {
                if self.outgoing.is_own(&publisher) {
                    let tickets = self.land(publisher.number);
                    self.settle(tickets, Refusal::Unknown.into());
                }
            }
            Read::Divergence(divergence) => self.report(Report::Divergence(divergence)),
        }
    }

    fn read_record(
        &mut self,
        read: ReadRecord,
        check: &dyn Fn(&SpeakerId<'_>, Tim) -> Result<(), Refused>,
    ) {
        let ReadRecord { record, time, first, mark, is_backlog } = read;
        self.outgoing.stream_time.at_least(mark.newest, self.now_ms);
        let mut tickets = Vec::new();
        if self.outgoing.is_own(&record.publisher) {
            let number = record.publisher.number;
            self.outgoing.flights.acknowledge(number);
            if let Some(flight) = self.outgoing.flights.remove(number) {
                self.outgoing.stream_time.at_most(time, flight.at_ms, mark.newest, self.now_ms);
                tickets = flight.tickets;
            }
        } else if record.asks() && !is_backlog {
            self.owes_empty = true;
        }
        let Some(first) = first else {
            self.append(Vec::new(), mark, is_backlog);
            return self.settle(tickets, super::unavailable());
        };
        match record.body {
            Body::Messages(messages) => {
                self.read_messages(messages, first, tickets, mark, is_backlog, check);
            }
            Body::Act(act) => {
                let ticket = tickets.pop();
                self.actions.push_back(Action::Act { act, tim: first, mark, ticket, is_backlog });
            }
            Body::Empty => self.append(Vec::new(), mark, is_backlog),
        }
    }

    fn read_messages(
        &mut self,
        messages: Vec<LoggedMessage>,
        first: Tim,
        tickets: Vec<T>,
        mark: StreamMark,
        is_backlog: bool,
        check: &dyn Fn(&SpeakerId<'_>, Tim) -> Result<(), Refused>,
    ) {
        let (mut tickets, mut sent, mut settled) = (tickets.into_iter(), Vec::new(), Vec::new());
        for (number, LoggedMessage { mut text, speaker }) in (0..).zip(messages) {
            let tim = later(first, number);
            let outcome = speaker.map_or(Ok(()), |speaker| check(&speaker.id(), tim));
            if outcome.is_ok() {
                stamp(&mut text, tim);
                sent.push(Bytes::from(text));
            }
            settled.extend(tickets.next().map(|ticket| {
                let text = |()| sent.last().cloned().unwrap_or_default();
                Action::Settle(ticket, outcome.map(text))
            }));
        }
        self.append(sent, mark, is_backlog);
        self.actions.extend(settled);
        // Only if another program has published under the name of this process.
        self.settle(tickets.collect(), Refusal::Unknown.into());
    }
}
