//! The cluster, and what goes wrong in it.

use std::collections::HashMap;

use fastrand::Rng;
use wschat::chat::{Actor, ModAction, Refusal, Refused, SpeakerId, Tim};
use wschat::cluster::engine::EngineEvent;
use wschat::cluster::log::{Action, Body, LoggedAct, Publisher, Record, Report, encode};
use wschat::feed::{Position, StreamMark};

use super::engine::{OnItsWay, Stream};
use super::member::{Member, message};
use super::totals::ClusterTotals;
use super::truth::Truth;

/// After this time every sender was told what became of its message.
const TOLD_MS: u64 = 30_500;

/// By how much the clock of a leader can be wrong.
const STEP_NANOS: i64 = 30_000_000_000;

#[derive(Debug)]
pub struct ClusterWorld {
    pub rng: Rng,
    pub totals: ClusterTotals,
    now_ms: u64,
    stream: Stream,
    members: Vec<Member>,
    on_their_way: Vec<OnItsWay>,
    truth: Truth,
    tickets: u64,
    /// The clock of the stream is far ahead until then.
    steps_back_ms: Option<u64>,
    /// What senders were told that say that a message was not sent.
    refused: HashMap<u64, Refused>,
}

impl ClusterWorld {
    pub fn new(seed: u64, members: usize) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            totals: ClusterTotals::default(),
            now_ms: 0,
            stream: Stream::new(),
            members: (0..members).map(|number| Member::new(format!("node{number}"))).collect(),
            on_their_way: Vec::new(),
            truth: Truth::default(),
            tickets: 0,
            steps_back_ms: None,
            refused: HashMap::new(),
        };
        for number in 0..members {
            world.restart(number, true);
        }
        world
    }

    /// Lets some time pass, in which everything may go wrong with probability `trouble` / 1000
    /// in each step.
    pub fn run(&mut self, ms: u64, trouble: u32) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.now_ms +=
                if self.rng.u8(..10) == 0 { self.rng.u64(..300) } else { self.rng.u64(..20) };
            if self.rng.u32(..1000) < trouble {
                self.trouble();
            }
            for number in 0..self.members.len() {
                if trouble == 0 || self.rng.u8(..20) == 0 {
                    self.connect(number);
                }
                if self.rng.u8(..4) == 0 {
                    self.submit(number);
                }
            }
            self.step();
        }
    }

    /// Ends all trouble and checks that every sender was told the truth.
    pub fn finish(mut self) -> ClusterTotals {
        let rng = self.rng.fork();
        self.stream.stopped_until_ms = 0;
        for member in &mut self.members {
            (member.link.delivers_from_ms, member.link.acknowledges_from_ms) = (0, 0);
        }
        // Nobody sends any more.
        for _ in 0..2_500 {
            self.now_ms += self.rng.u64(..60);
            (0..self.members.len()).for_each(|number| self.connect(number));
            self.step();
        }
        self.rng = rng;
        for member in &self.members {
            assert!(member.is_available, "{}: {:?}", member.name, member.node);
            assert_eq!(member.node.due_ms(), None, "{} is not waiting", member.name);
            assert!(member.tickets.is_empty(), "{:?}", member.tickets);
            let position = member.node.mark().map(|mark| mark.position);
            // What is discarded is found to be missing with the next record.
            if self.stream.first <= self.stream.last {
                assert_eq!(position, Some(self.stream.newest()));
            }
        }
        assert!(self.on_their_way.is_empty());
        for (ticket, refused) in &self.refused {
            let is_lost = self.truth.lost.contains(ticket);
            let text = self.truth.sent.get(ticket).filter(|_| !is_lost);
            assert_eq!(text, None, "{ticket} was refused: {refused:?}");
        }
        self.totals.late_records = self.truth.late;
        self.totals.bad_records = self.truth.bad;
        self.totals
    }

    fn step(&mut self) {
        // Somebody has to know the `tim` that is far ahead.
        let is_over = self.steps_back_ms.is_some_and(|at_ms| self.now_ms >= at_ms);
        if is_over && self.truth.has_tim {
            self.stream.ahead_nanos -= STEP_NANOS;
            self.steps_back_ms = None;
        }
        self.store();
        for number in 0..self.members.len() {
            let member = &mut self.members[number];
            member.link.deliver(&self.stream, self.now_ms, &mut self.rng);
            while let Some(event) = self.members[number].link.pop(self.now_ms) {
                self.event(number, event);
            }
            if self.members[number].node.due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
                self.members[number].node.tick(self.now_ms);
                self.act(number);
            }
            let oldest_ms = self.members[number].tickets.values().min().copied();
            assert!(
                oldest_ms.is_none_or(|at_ms| self.now_ms <= at_ms + TOLD_MS + 300),
                "{} tells nothing: {:?}",
                self.members[number].name,
                self.members[number].tickets,
            );
        }
    }

    fn event(&mut self, number: usize, event: EngineEvent) {
        self.members[number].node.event(event, self.now_ms);
        self.act(number);
    }

    /// Stores what has arrived at the stream.
    fn store(&mut self) {
        let mut arrived = Vec::new();
        let now_ms = self.now_ms;
        for publish in std::mem::take(&mut self.on_their_way) {
            if publish.arrives_ms <= now_ms {
                arrived.push(publish);
            } else {
                self.on_their_way.push(publish);
            }
        }
        arrived.sort_by_key(|publish| publish.arrives_ms);
        let is_stopped = now_ms < self.stream.stopped_until_ms;
        for mut publish in arrived {
            let number = publish.publish.number;
            let stored = match self.rng.u8(..6) {
                0 if is_stopped => continue,
                1 if is_stopped => Err("no responders".into()),
                _ if is_stopped => {
                    publish.arrives_ms = self.stream.stopped_until_ms + self.rng.u64(..3_000);
                    self.on_their_way.push(publish);
                    continue;
                }
                _ => {
                    let headers = publish.publish.headers.into_iter();
                    let headers = headers.map(|(name, value)| (name.to_owned(), value)).collect();
                    Ok(self.append(headers, publish.publish.payload.to_vec()))
                }
            };
            let member = &mut self.members[publish.member];
            if member.link.number == publish.link && member.incarnation == publish.incarnation {
                member.link.acknowledge(number, stored, now_ms, &mut self.rng);
            }
        }
    }

    fn append(&mut self, headers: Vec<(String, String)>, payload: Vec<u8>) -> u64 {
        let time = self.stream.time(self.now_ms, &mut self.rng);
        let delivery = self.stream.store(headers, payload, time);
        self.truth.read(&delivery);
        delivery.position.sequence
    }

    /// Does what a node wants done.
    fn act(&mut self, number: usize) {
        let newest = self.stream.newest();
        let Self { members, truth, rng, totals, now_ms, .. } = self;
        let member = &mut members[number];
        let check = |_: &SpeakerId<'_>, tim: Tim| {
            if truth.is_locked(tim) { Err(Refused::from(Refusal::Locked)) } else { Ok(()) }
        };
        let (mut is_lost, mut uncertain_to) = (false, None);
        while let Some(action) = member.node.pop(&check) {
            match action {
                Action::Publish(publish) => {
                    let link = member.link.number;
                    let mut arrives_ms = member.link.publish_ms.max(*now_ms + rng.u64(..4));
                    member.link.publish_ms = arrives_ms;
                    match rng.u8(..60) {
                        0 => continue,
                        // It is held on its way, also far beyond its deadline.
                        1 => arrives_ms += rng.u64(..20_000),
                        _ => {}
                    }
                    let incarnation = member.incarnation;
                    self.on_their_way.push(OnItsWay {
                        arrives_ms,
                        member: number,
                        link,
                        incarnation,
                        publish,
                    });
                }
                Action::CompleteSince(_) => {}
                Action::Append { messages, mark, .. } => {
                    totals.appended += messages.len() as u64;
                    member.append(Some(&messages), mark, truth);
                }
                Action::Act { act, tim, mark, ticket, .. } => {
                    let is_locked = truth.is_locked(Tim::from_nanos(tim.nanos() + 1));
                    let is_certain = mark.position > truth.uncertain_to;
                    assert!(!is_certain || is_locked == (act.action == ModAction::Lock));
                    totals.acts += 1;
                    member.append(None, mark, truth);
                    if let Some(ticket) = ticket {
                        assert!(member.tickets.remove(&ticket).is_some(), "told twice");
                    }
                }
                Action::Gap { after, before } => {
                    totals.gaps += 1;
                    member.gap(after, before);
                }
                Action::Settle(ticket, outcome) => {
                    assert!(member.tickets.remove(&ticket).is_some(), "told twice");
                    match outcome {
                        Ok(text) => {
                            assert_eq!(truth.sent.get(&ticket), Some(&text));
                            totals.sent += 1;
                        }
                        Err(Refused { refusal: Refusal::Unknown, .. }) => totals.unknown += 1,
                        Err(refused) => {
                            assert!(self.refused.insert(ticket, refused).is_none());
                            *match refused.refusal {
                                Refusal::Unavailable => &mut totals.unavailable,
                                Refusal::Locked => &mut totals.locked,
                                Refusal::TooLarge => &mut totals.too_large,
                                other => panic!("{other:?}"),
                            } += 1;
                        }
                    }
                }
                Action::Availability(availability) => {
                    member.is_available = availability.is_ok();
                    totals.away += u64::from(availability.is_err());
                }
                Action::Report(report) => match report {
                    Report::Hole(_) => {
                        totals.holes += 1;
                        member.hole();
                    }
                    Report::Divergence(_) => totals.divergences += 1,
                    Report::Alone(_) => {
                        totals.alone += 1;
                        uncertain_to = Some(newest);
                        is_lost = truth.has_tim || member.has_hole;
                        if is_lost {
                            break;
                        }
                    }
                    Report::Bad(..) => {}
                },
            }
        }
        if let Some(position) = uncertain_to {
            // No node knows the clock. It is certain only from the next message on that has a
            // later time than all before.
            self.truth.uncertain_to = position;
            self.truth.has_tim = false;
            self.set_ahead();
        }
        if is_lost {
            self.restart(number, true);
        }
    }

    fn connect(&mut self, number: usize) {
        let member = &mut self.members[number];
        if !member.link.is_up && self.now_ms >= self.stream.stopped_until_ms {
            member.link.connect(&self.stream, self.now_ms, &mut self.rng);
        }
    }

    fn submit(&mut self, number: usize) {
        let (rng, member) = (&mut self.rng, &mut self.members[number]);
        if !member.node.has_room() {
            return;
        }
        if rng.u8(..50) == 0 {
            self.tickets += 1;
            member.tickets.insert(self.tickets, self.now_ms);
            let action = if rng.u8(..3) == 0 { ModAction::Lock } else { ModAction::Unlock };
            let act = LoggedAct { action, actor: Actor::operator(0) };
            member.node.submit_act(&act, self.tickets, self.now_ms);
        } else {
            let mut batch = Vec::new();
            for _ in 0..rng.u8(1..6) {
                self.tickets += 1;
                member.tickets.insert(self.tickets, self.now_ms);
                let bytes = [10, 10, 100, 700, 1_800][rng.usize(..5)];
                batch.push((message(self.tickets, bytes, rng.u8(..8) == 0), self.tickets));
            }
            member.node.submit(batch, self.now_ms);
        }
        self.act(number);
    }

    fn restart(&mut self, number: usize, is_fresh: bool) {
        let incarnation = self.rng.u64(..);
        self.totals.fresh_starts += u64::from(is_fresh);
        self.members[number].restart(incarnation, is_fresh);
    }

    fn trouble(&mut self) {
        let number = self.rng.usize(..self.members.len());
        let until_ms = self.now_ms + self.rng.u64(..8_000);
        match self.rng.u8(..15) {
            0 | 1 => self.members[number].link.disconnect(self.now_ms),
            2 => self.members[number].link.delivers_from_ms = until_ms,
            3 => self.members[number].link.acknowledges_from_ms = until_ms,
            4 => self.stream.stopped_until_ms = until_ms,
            5 if self.truth.has_tim => self.stream.ahead_nanos -= self.rng.i64(0..5_000_000_000),
            6 => self.stream.ahead_nanos += self.rng.i64(0..2_000_000_000),
            7 => {
                let first = self.rng.u64(self.stream.first..=self.stream.last + 1);
                self.stream.discard(first);
            }
            8 => self.stream.discard(self.stream.last + 1),
            9 if self.rng.u8(..3) == 0 => self.make_anew(),
            10 => {
                let is_fresh = self.rng.bool();
                self.totals.crashes += 1;
                self.restart(number, is_fresh);
            }
            11 => {
                self.append(vec![("Wschat-Version".into(), "2".into())], vec![1]);
            }
            12 => self.lie(),
            14 if self.steps_back_ms.is_none() => {
                self.totals.steps += 1;
                self.stream.ahead_nanos += STEP_NANOS;
                self.steps_back_ms = Some(until_ms);
            }
            13 if self.rng.u8(..3) == 0 => self.lose_newest(),
            _ => {}
        }
    }

    /// Lets the clock of the stream be later than all times before.
    fn set_ahead(&mut self) {
        let time = self.stream.time(self.now_ms, &mut self.rng);
        let behind_nanos = self.truth.greatest().nanos().saturating_sub(time.nanos());
        self.stream.ahead_nanos += behind_nanos as i64 + 1_000_000;
    }

    /// Lets the stream lose its newest records, as if it was restored from a backup.
    fn lose_newest(&mut self) {
        let stream = &mut self.stream;
        let lost = self.rng.u64(..12);
        stream.lose_newest(stream.last.saturating_sub(lost).max(stream.first - 1));
        let last = stream.newest();
        self.totals.shortened += 1;
        self.set_ahead();
        self.truth.lose_newest(last);
        // The connections end with the server.
        self.on_their_way.clear();
        for member in &mut self.members {
            member.link.disconnect(self.now_ms);
            member.lose_newest(last);
        }
    }

    /// Makes another stream of the same name.
    fn make_anew(&mut self) {
        self.totals.streams += 1;
        self.set_ahead();
        let ahead_nanos = self.stream.ahead_nanos;
        let created = self.stream.created + 1;
        self.stream = Stream { created, ahead_nanos, ..Stream::new() };
        self.truth.has_tim = false;
        for member in &mut self.members {
            member.link.disconnect(self.now_ms);
        }
    }

    /// Publishes a record whose publisher has a `tim` that is too late.
    fn lie(&mut self) {
        if self.stream.last == 0 || !self.truth.has_tim {
            return;
        }
        let sequence = self.rng.u64(self.stream.last.saturating_sub(9).max(1)..=self.stream.last);
        let position = Position { sequence, ..self.stream.newest() };
        let StreamMark { tim, newest, .. } = self.truth.place(position).mark;
        let tim = Tim::from_nanos(tim.nanos() + self.rng.u64(..20_000_000_000));
        self.tickets += 1;
        let body = if self.rng.bool() {
            Body::Empty
        } else {
            Body::Messages(vec![message(self.tickets, 5, true)])
        };
        let publisher = Publisher { node: "liar".into(), incarnation: 1, number: 1 };
        let after = Some(StreamMark { position, tim, newest });
        let (headers, payload) =
            encode(&Record { publisher, after, by: Tim::from_nanos(u64::MAX), body });
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.append(headers, payload.to_vec());
    }
}
