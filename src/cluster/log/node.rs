//! One node of the room: what it publishes, what it makes of what it reads, and what its senders
//! are told.

mod reading;

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;

use super::action::{Action, Report};
use super::flight::Flight;
use super::outgoing::Outgoing;
use super::reader::Reader;
use super::record::LoggedAct;
use crate::chat::{LoggedMessage, Refusal, Refused, SpeakerId, Tim};
use crate::cluster::NodeName;
use crate::cluster::engine::{AwayReason, Connection, EngineEvent, Publish};
use crate::feed::{Position, StreamMark};

/// A node: what it is told goes in, what it wants done comes out of [`pop`](Self::pop). `T`
/// stands for a sender.
///
/// # Examples
///
/// ```
/// use wschat::chat::{LoggedMessage, Refused, SpeakerId, Tim, announcement};
/// use wschat::cluster::engine::{Connection, Delivery, EngineEvent};
/// use wschat::cluster::log::{Action, Node};
/// use wschat::feed::Position;
///
/// fn nobody_is_muted(_: &SpeakerId<'_>, _: Tim) -> Result<(), Refused> {
///     Ok(())
/// }
///
/// let mut node = Node::new("a".parse().unwrap(), 7, None);
/// let position = |sequence| Position { created: 1, sequence };
/// node.event(EngineEvent::Connected(Connection {
///     server: "n1".into(), max_payload: 1_048_576, newest: position(0), first_sequence: 1,
///     from_sequence: 1, time: Tim::from_nanos(5),
/// }), 0);
/// let actions: Vec<_> = std::iter::from_fn(|| node.pop(&nobody_is_muted)).collect();
/// assert!(matches!(actions[..], [Action::CompleteSince(_), Action::Availability(Ok(_))]));
///
/// let mut text = Vec::new();
/// announcement("hello", &mut text);
/// node.submit(vec![(LoggedMessage { text, speaker: None }, "sender")], 0);
/// let Some(Action::Publish(publish)) = node.pop(&nobody_is_muted) else { panic!() };
/// let headers = publish.headers.into_iter().map(|(name, value)| (name.to_owned(), value));
/// node.event(EngineEvent::Delivered(Delivery {
///     position: position(1), time: Tim::from_nanos(9), headers: headers.collect(),
///     payload: publish.payload,
/// }), 1);
/// let Some(Action::Append { messages, .. }) = node.pop(&nobody_is_muted) else { panic!() };
/// assert_eq!(Tim::stamped(&messages[0]), Some(Tim::from_nanos(9)));
/// assert_eq!(node.pop(&nobody_is_muted), Some(Action::Settle("sender", Ok(messages[0].clone()))));
/// ```
#[derive(Debug)]
pub struct Node<T> {
    now_ms: u64,
    reader: Reader,
    outgoing: Outgoing<T>,
    /// The newest connection; it is in use unless `away` is set.
    connection: Option<Connection>,
    away: Option<AwayReason>,
    /// Whether senders were last told that messages can be sent, or why not.
    announced: Result<Connection, AwayReason>,
    /// When the last empty record was published.
    empty_ms: Option<u64>,
    /// Whether another node has to be told the clock.
    owes_empty: bool,
    /// Since when the clock is searched in vain.
    search_ms: Option<u64>,
    /// The moderation at the place of the next record is not known, so nothing is read.
    is_held: bool,
    /// Why it cannot be found out.
    held_why: Option<AwayReason>,
    events: VecDeque<EngineEvent>,
    actions: VecDeque<Action<T>>,
    /// Whether something has happened since [`update`](Self::update).
    is_changed: bool,
}

impl<T> Node<T> {
    /// The most records on their way that somebody waits for.
    pub const IN_FLIGHT_MAX: usize = 256;
    /// After this time a sender is told that the fate of its message is not known.
    const UNKNOWN_MS: u64 = 30_000;
    /// After this time without an acknowledgement the engine counts as away.
    const ACKNOWLEDGE_MS: u64 = 1_000;
    /// After this time without its record, a node publishes empty ones, to see the stream time.
    const PROBE_MS: u64 = 1_000;
    /// The time between two empty records.
    const EMPTY_INTERVAL_MS: u64 = 500;
    /// How long a node waits for the clock before it asks the others.
    const ASK_MS: u64 = 100;
    /// How often [`tick`](Self::tick) is needed while something is on its way.
    const TICK_MS: u64 = 100;
    /// A sender who was refused may try again after this time.
    const WAIT_SECS: u64 = 5;

    /// A node that continues behind `start`, after a handover or a crash; without it, it begins
    /// with what the engine delivers first. `incarnation` is a random number of this process.
    pub fn new(name: NodeName, incarnation: u64, start: Option<StreamMark>) -> Self {
        let away = AwayReason::Unreachable("no server was connected yet".into());
        Self {
            now_ms: 0,
            reader: Reader::new(start),
            outgoing: Outgoing::new(name, incarnation),
            connection: None,
            away: Some(away.clone()),
            announced: Err(away),
            empty_ms: None,
            owes_empty: false,
            search_ms: None,
            is_held: false,
            held_why: None,
            events: VecDeque::new(),
            actions: VecDeque::new(),
            is_changed: false,
        }
    }

    /// The room was on one machine until now: what is published from now on is later than `last`.
    pub const fn joins_after(&mut self, last: Tim) {
        self.outgoing.joined_after = last;
        self.owes_empty = true;
    }

    /// How far the log was read; `None` before the first record.
    pub const fn mark(&self) -> Option<StreamMark> {
        self.reader.mark()
    }

    /// Whether [`submit`](Self::submit) may be called. If not, the senders have to wait.
    pub fn has_room(&self) -> bool {
        self.announced.is_err() || self.outgoing.flights.awaited() < Self::IN_FLIGHT_MAX
    }

    /// Reads no record until [`release`](Self::release), because the moderation at its place is
    /// not known. `why` is set if it cannot be found out now.
    pub fn hold(&mut self, why: Option<AwayReason>) {
        (self.is_held, self.held_why, self.is_changed) = (true, why, true);
    }

    /// Reads on. Records up to `unjudged` count as missing: nobody knows which moderation was in
    /// force there.
    pub fn release(&mut self, unjudged: Option<Position>) {
        (self.is_held, self.held_why, self.is_changed) = (false, None, true);
        self.reader.pass_over(unjudged);
    }

    /// Whether so much was delivered and not read that no more events should come.
    pub const fn is_full(&self) -> bool {
        self.is_held && self.reader.is_full()
    }

    /// How many records are on their way that somebody waits for.
    pub const fn pending(&self) -> usize {
        self.outgoing.flights.awaited()
    }

    /// Waits for no outcome any more: who waits is told that it is not known.
    pub fn abandon(&mut self) {
        for flight in self.outgoing.flights.remove_if(|_| true) {
            self.settle(flight.tickets, Refusal::Unknown.into());
        }
    }

    /// Sends messages, in this order.
    pub fn submit(&mut self, messages: Vec<(LoggedMessage, T)>, now_ms: u64) {
        self.advance(now_ms);
        let Ok(Connection { max_payload, .. }) = self.announced else {
            let tickets = messages.into_iter().map(|(_, ticket)| ticket).collect();
            return self.settle(tickets, unavailable());
        };
        let after = self.mark();
        for record in self.outgoing.messages(messages, after, max_payload, now_ms) {
            self.publish(record);
        }
    }

    /// Sends a moderation action.
    pub fn submit_act(&mut self, act: &LoggedAct, ticket: T, now_ms: u64) {
        self.advance(now_ms);
        let Ok(Connection { max_payload, .. }) = self.announced else {
            return self.settle(vec![ticket], unavailable());
        };
        let after = self.mark();
        let record = self.outgoing.act(act, ticket, after, max_payload, now_ms);
        self.publish(record);
    }

    /// Takes what the engine tells.
    pub fn event(&mut self, event: EngineEvent, now_ms: u64) {
        self.advance(now_ms);
        self.events.push_back(event);
    }

    /// Looks at the time.
    pub const fn tick(&mut self, now_ms: u64) {
        self.advance(now_ms);
    }

    /// When [`tick`](Self::tick) has to be called at the latest; `None` if nothing is due.
    pub fn due_ms(&self) -> Option<u64> {
        let is_waiting =
            !self.outgoing.flights.is_empty() || self.owes_empty || self.search_ms.is_some();
        (is_waiting && self.connection.is_some()).then_some(self.now_ms + Self::TICK_MS)
    }

    /// What the node wants done next; to be called until it returns `None`, after each other call.
    /// `check` tells whether somebody may speak at this place of the log, after all actions before.
    pub fn pop(
        &mut self,
        check: &dyn Fn(&SpeakerId<'_>, Tim) -> Result<(), Refused>,
    ) -> Option<Action<T>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            let read = if self.is_held { None } else { self.reader.next() };
            if let Some(read) = read {
                self.read(read, check);
            } else if let Some(event) = self.events.pop_front() {
                self.handle(event);
            } else if mem::take(&mut self.is_changed) {
                self.update();
            } else {
                return None;
            }
        }
    }

    const fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.is_changed = true;
    }

    fn handle(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Connected(connection) => {
                // Others can have read less of what the stream had before: they have to know the
                // `tim` of this node.
                self.owes_empty |= self.reader.connected(&connection);
                self.outgoing.stream_time.reset(connection.time, self.reader.newest(), self.now_ms);
                self.outgoing.flights.mark_lost(connection.newest);
                self.outgoing.expect_no_answers();
                self.search_ms = None;
                self.away = None;
                self.connection = Some(connection);
            }
            EngineEvent::Away(reason) => self.away = Some(reason),
            EngineEvent::Delivered(delivery) => self.reader.arrived(delivery),
            EngineEvent::Heartbeat => self.reader.at_end(),
            EngineEvent::Acknowledged { number, stored } => {
                self.outgoing.flights.acknowledge(number);
                match stored {
                    Ok(sequence) => {
                        if let Some(flight) = self.outgoing.flights.get_mut(number) {
                            flight.stored = Some(sequence);
                        }
                    }
                    Err(_) => {
                        let tickets = self.land(number);
                        self.settle(tickets, unavailable());
                    }
                }
            }
        }
    }

    /// Decides what follows from the time and from all that was read.
    fn update(&mut self) {
        let (now_ms, read_to) = (self.now_ms, self.mark().map_or(0, |mark| mark.position.sequence));
        let newest = self.reader.newest();
        let is_old = |flight: &Flight<T>| now_ms >= flight.at_ms + Self::UNKNOWN_MS;
        let is_passed =
            |flight: &Flight<T>| flight.is_in_hole && flight.stored.is_some_and(|at| at <= read_to);
        let is_late = |flight: &Flight<T>| flight.by < newest;
        for flight in self
            .outgoing
            .flights
            .remove_if(|flight| is_old(flight) || is_passed(flight) || is_late(flight))
        {
            let is_dropped = is_late(&flight) && !flight.is_in_hole;
            let refused = if is_dropped { unavailable() } else { Refusal::Unknown.into() };
            self.settle(flight.tickets, refused);
        }
        self.search();
        let availability = self.availability();
        self.publish_empty(&availability);
        if self.announced != availability {
            self.announced = availability.clone();
            self.actions.push_back(Action::Availability(availability));
        }
    }

    /// Notes since when the clock is searched in vain.
    fn search(&mut self) {
        if self.away.is_some() || !self.reader.is_searching() {
            self.search_ms = None;
            return;
        }
        self.search_ms.get_or_insert(self.now_ms);
    }

    fn availability(&self) -> Result<Connection, AwayReason> {
        let unreachable = |why: &str| Err(AwayReason::Unreachable(why.into()));
        let is_stalled = || {
            let oldest_ms = self.outgoing.flights.oldest_unacknowledged_ms();
            oldest_ms.is_some_and(|at_ms| self.now_ms > at_ms + Self::ACKNOWLEDGE_MS)
        };
        match (&self.connection, self.away.as_ref().or(self.held_why.as_ref())) {
            (_, Some(reason)) => Err(reason.clone()),
            (None, None) => unreachable("no server was connected yet"),
            // A moment without it makes no difference.
            _ if self.is_held && self.announced.is_err() => {
                Err(AwayReason::Reading("mutes and other decisions are being read".into()))
            }
            _ if !self.reader.is_serving() => {
                Err(AwayReason::Reading("the messages in the stream are being read".into()))
            }
            _ if is_stalled() => unreachable("the stream has not acknowledged a message for 1 s"),
            (Some(connection), None) => Ok(connection.clone()),
        }
    }

    /// Publishes an empty record if the stream time has to be seen, or if a node lacks the clock.
    fn publish_empty(&mut self, availability: &Result<Connection, AwayReason>) {
        if self.away.is_some()
            || self.is_held
            || self.empty_ms.is_some_and(|at_ms| self.now_ms < at_ms + Self::EMPTY_INTERVAL_MS)
        {
            return;
        }
        let is_asking = self.search_ms.is_some_and(|at_ms| self.now_ms >= at_ms + Self::ASK_MS);
        let is_probing = availability.is_err() && self.reader.is_serving()
            || self
                .outgoing
                .flights
                .oldest_awaited_ms()
                .is_some_and(|at_ms| self.now_ms > at_ms + Self::PROBE_MS);
        let is_answering = self.owes_empty && self.reader.is_serving() && !is_asking;
        if is_asking || is_probing || is_answering {
            self.empty_ms = Some(self.now_ms);
            self.owes_empty &= !is_answering;
            let after = self.mark().filter(|_| !is_asking);
            let record = self.outgoing.empty(after, self.now_ms);
            self.publish(Ok(record));
        }
    }

    fn publish(&mut self, record: Result<Publish, T>) {
        match record {
            Ok(publish) => self.actions.push_back(Action::Publish(publish)),
            Err(ticket) => self.settle(vec![ticket], Refusal::TooLarge.into()),
        }
    }

    /// A record is not on its way any more. Returns who waits for it.
    fn land(&mut self, number: u64) -> Vec<T> {
        self.outgoing.flights.remove(number).map_or_else(Vec::new, |flight| flight.tickets)
    }

    fn append(&mut self, messages: Vec<Bytes>, mark: StreamMark, is_backlog: bool) {
        self.actions.push_back(Action::Append { messages, mark, is_backlog });
    }

    fn settle(&mut self, tickets: Vec<T>, refused: Refused) {
        self.actions.extend(tickets.into_iter().map(|ticket| Action::Settle(ticket, Err(refused))));
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}

/// What the sender of a message is told that was certainly not sent.
fn unavailable() -> Refused {
    Refused { refusal: Refusal::Unavailable, wait_secs: Some(Node::<()>::WAIT_SECS) }
}

#[cfg(test)]
mod tests;
