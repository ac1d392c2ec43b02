//! Reading: every record once and in order, or it is known to be lost.
//!
//! A consumer is short-lived: it ends with its server, with its connection, and when something
//! is missing. The next one starts behind the last record that was passed on.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::engine::{AwayReason, Connection, Delivery, EngineEvent};
use super::super::options::EngineOptions;
use super::api::{StoredRecord, StreamInfo, StreamState, request};
use super::connect::Link;
use super::delivery::{Incoming, single};
use super::stream::stream_bytes_min;
use super::verify::{unusable_stream, verify, verify_stream};
use crate::chat::Tim;
use crate::cluster::log::PUBLISHER;
use crate::feed::Position;

/// How often a consumer that has nothing to send says that it is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long nothing may come from a consumer.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long to wait before the next consumer, so that one which fails at once does no harm.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the stream is looked at: a server that is cut off from the others sends heartbeats
/// all the same.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// After so many consumers that have delivered nothing, records are read singly: the client
/// closes the connection, or panics, at some header fields.
const VAIN_MAX: u32 = 2;

/// How many records are then read singly.
const SINGLE_MAX: usize = 100;

/// How many records that were passed on are compared with those that the stream has.
const PASSED_MAX: usize = 1024;

/// Reads the stream, over all connections.
pub struct Reader {
    events: mpsc::Sender<EngineEvent>,
    /// The last record that was passed on.
    last: Option<Position>,
    /// The newest records that were passed on, oldest first: their sequences and publishers.
    passed: VecDeque<(u64, u64)>,
    /// How many consumers in a row have delivered nothing.
    vain: u32,
}

/// A consumer, and what was found when it was created.
pub struct Consumer {
    /// What to tell the driver.
    pub connection: Connection,
    /// Records that were read singly.
    single: VecDeque<Delivery>,
    messages: Subscriber,
    /// How many records the consumer has sent.
    delivered: u64,
    /// The sequence of the next record.
    expected: u64,
    /// Whether the consumer has sent a record that is passed on. What lies before the first one
    /// does not exist.
    has_started: bool,
}

impl Reader {
    /// A reader that starts behind `last`; without it, it starts such that what follows is
    /// enough for the tail of a feed.
    pub const fn new(events: mpsc::Sender<EngineEvent>, last: Option<Position>) -> Self {
        Self { events, last, passed: VecDeque::new(), vain: 0 }
    }

    /// Looks at the server and the stream, and creates a consumer.
    ///
    /// # Errors
    ///
    /// Why the stream cannot be read.
    pub async fn open(
        &mut self,
        link: &Link,
        options: &EngineOptions,
    ) -> Result<Consumer, AwayReason> {
        let info = verify(link, options).await?;
        let first_other = self.first_other(link, options, &info).await?;
        let (expected, last) = start(self.last, first_other, &info, options);
        self.set_last(last);
        let single = self.read_singly(link, options, expected, &info).await?;
        let from = single.back().map_or(expected, |delivery| delivery.position.sequence + 1);
        let inbox = link.client.new_inbox();
        let subscribed = link.client.subscribe(inbox.clone()).await;
        let messages = subscribed.map_err(|error| AwayReason::Unreachable(error.to_string()))?;
        let body = json!({ "stream_name": options.stream.as_str(), "config": {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": from,
            "ack_policy": "none",
            "replay_policy": "instant",
            "flow_control": true,
            "idle_heartbeat": nanos(HEARTBEAT_INTERVAL),
            "mem_storage": true,
        }});
        let subject = format!("CONSUMER.CREATE.{}", options.stream);
        request::<Value>(&link.client, &subject, Some(&body))
            .await
            .map_err(|error| unusable_stream(link, options, &error))?;
        let max_msg_size = info.config.get("max_msg_size").and_then(Value::as_i64);
        let size =
            max_msg_size.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        let connection = Connection {
            server: link.server.clone(),
            max_payload: link.info.max_payload.min(size.unwrap_or(usize::MAX)),
            newest: Position { created: info.created, sequence: info.state.last_seq },
            first_sequence: first_sequence(info.state),
            from_sequence: expected,
            time: Tim::from_nanos(info.time),
        };
        self.vain += 1;
        Ok(Consumer { connection, single, messages, delivered: 0, expected, has_started: false })
    }

    /// The first sequence at which the stream has another record than the one that was passed
    /// on: it has lost its newest records, and others have published since.
    async fn first_other(
        &self,
        link: &Link,
        options: &EngineOptions,
        info: &StreamInfo,
    ) -> Result<Option<u64>, AwayReason> {
        let Some(last) = self.last.filter(|last| last.created == info.created) else {
            return Ok(None);
        };
        let is_other = async |at: usize| {
            let Some((sequence, publisher)) = self.passed.get(at) else { return Ok(false) };
            let stream = options.stream.as_str();
            let record = StoredRecord::get(&link.client, stream, *sequence).await;
            let record = record.map_err(|error| unusable_stream(link, options, &error))?;
            Ok(record.is_some_and(|it| publisher_of(&single(&it, last.created)) != *publisher))
        };
        let known = self.passed.partition_point(|passed| passed.0 <= info.state.last_seq);
        let (mut low, mut high) = (0, known.saturating_sub(1));
        if known == 0 || !is_other(high).await? {
            return Ok(None);
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_other(middle).await? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(self.passed.get(high).map(|passed| passed.0))
    }

    /// Reads the next records singly if several consumers have failed at them.
    async fn read_singly(
        &self,
        link: &Link,
        options: &EngineOptions,
        from: u64,
        info: &StreamInfo,
    ) -> Result<VecDeque<Delivery>, AwayReason> {
        let mut found = VecDeque::new();
        if self.vain >= VAIN_MAX {
            for sequence in (from..=info.state.last_seq).take(SINGLE_MAX) {
                let stream = options.stream.as_str();
                let record = StoredRecord::get(&link.client, stream, sequence).await;
                let record = record.map_err(|error| unusable_stream(link, options, &error))?;
                found.extend(record.map(|record| single(&record, info.created)));
            }
        }
        Ok(found)
    }

    fn set_last(&mut self, last: Option<Position>) {
        let created = |position: Option<Position>| position.map(|position| position.created);
        if created(self.last) != created(last) {
            self.passed.clear();
        }
        self.last = last;
        let sequence = last.map_or(0, |last| last.sequence);
        while self.passed.back().is_some_and(|passed| passed.0 > sequence) {
            self.passed.pop_back();
        }
    }

    /// Passes on what the consumer and its successors send, until the connection is of no use.
    pub async fn read(
        &mut self,
        link: &Link,
        options: &EngineOptions,
        mut consumer: Consumer,
    ) -> AwayReason {
        loop {
            self.deliver(&link.client, &mut consumer).await;
            sleep(PAUSE).await;
            let created = consumer.connection.newest.created;
            let before = self.last;
            consumer = match self.open(link, options).await {
                Ok(next) if next.connection.newest.created != created => return made_anew(options),
                // Only with a connection the driver goes on further in front.
                Ok(_) if self.last < before => return shortened(options),
                Ok(next) => next,
                Err(reason) => return reason,
            };
        }
    }

    /// Passes on what the consumer sends, until it is silent, gone, or something is missing.
    async fn deliver(&mut self, client: &Client, consumer: &mut Consumer) {
        while let Some(delivery) = consumer.single.pop_front() {
            // Between them there is nothing.
            consumer.expected = delivery.position.sequence;
            if !self.pass_on(consumer, delivery).await {
                return;
            }
        }
        loop {
            // A timer for each of many records is expensive.
            let message = match consumer.messages.next().now_or_never() {
                Some(message) => message,
                None => match timeout(SILENCE_MAX, consumer.messages.next()).await {
                    Ok(message) => message,
                    Err(_) => return,
                },
            };
            let Some(message) = message else { return };
            match Incoming::parse(message, consumer.connection.newest.created) {
                Incoming::Record { consumer_sequence, delivery } => {
                    consumer.delivered += 1;
                    if consumer_sequence != consumer.delivered {
                        return;
                    }
                    if !self.pass_on(consumer, delivery).await {
                        return;
                    }
                }
                Incoming::FlowControl(subject) => answer(client, subject).await,
                Incoming::Heartbeat { consumer_sequence, stalled } => {
                    if consumer_sequence.is_some_and(|sequence| sequence != consumer.delivered) {
                        return;
                    }
                    match stalled {
                        Some(subject) => answer(client, subject).await,
                        None => drop(self.events.send(EngineEvent::Heartbeat).await),
                    }
                }
                Incoming::Gone => return,
                Incoming::Other => {}
            }
        }
    }

    /// Passes on a record, unless it was before; says whether the consumer is to be kept.
    async fn pass_on(&mut self, consumer: &mut Consumer, delivery: Delivery) -> bool {
        let position = delivery.position;
        // A server that is behind the others starts with records that it had before.
        if position.sequence < consumer.expected {
            return true;
        }
        // Only a new consumer can tell whether there is anything between them.
        if position.sequence > consumer.expected && consumer.has_started {
            return false;
        }
        let publisher = publisher_of(&delivery);
        if self.events.send(EngineEvent::Delivered(delivery)).await.is_err() {
            return false;
        }
        (self.last, self.vain) = (Some(position), 0);
        self.passed.push_back((position.sequence, publisher));
        if self.passed.len() > PASSED_MAX {
            self.passed.pop_front();
        }
        consumer.expected = position.sequence + 1;
        consumer.has_started = true;
        true
    }
}

/// Looks at the stream that was created at `created` again and again, until it is of no use.
pub async fn watch(link: &Link, options: &EngineOptions, created: u64) -> AwayReason {
    loop {
        sleep(CHECK_INTERVAL).await;
        match verify_stream(link, options).await {
            Ok(info) if info.created == created => {}
            Ok(_) => return made_anew(options),
            Err(reason) => return reason,
        }
    }
}

fn made_anew(options: &EngineOptions) -> AwayReason {
    AwayReason::Unreachable(format!("the stream {} was made anew", options.stream))
}

fn shortened(options: &EngineOptions) -> AwayReason {
    AwayReason::Unreachable(format!("the stream {} has lost its newest messages", options.stream))
}

/// A number that stands for the publisher of a record and the record's number there.
fn publisher_of(delivery: &Delivery) -> u64 {
    let mut hasher = DefaultHasher::new();
    delivery.headers.iter().filter(|field| field.0 == PUBLISHER).for_each(|field| {
        field.1.trim().hash(&mut hasher);
    });
    hasher.finish()
}

/// Answers to flow control.
pub async fn answer(client: &Client, subject: Subject) {
    // A client that is gone is noticed elsewhere.
    let _ = client.publish(subject, Bytes::new()).await;
}

/// The sequence of the first record to be read, and the last one that counts as read. The records
/// from `first_other` on are others than those that were read.
fn start(
    last: Option<Position>,
    first_other: Option<u64>,
    info: &StreamInfo,
    options: &EngineOptions,
) -> (u64, Option<Position>) {
    let (created, state) = (info.created, info.state);
    match last {
        None => (backlog(state, options), None),
        // The records of a new stream are all new.
        Some(last) if last.created != created => (first_sequence(state), None),
        // The stream can have lost its newest records, and uses their numbers again.
        Some(last) => {
            let expected = first_other.unwrap_or(last.sequence.min(state.last_seq) + 1);
            (expected, Some(Position { created, sequence: expected - 1 }))
        }
    }
}

/// The first of the newest records that are enough for the tail of a feed, if all are equally
/// long: as many bytes as a stream holds at least, because a record is longer than its messages.
fn backlog(state: StreamState, options: &EngineOptions) -> u64 {
    let wanted = u128::from(stream_bytes_min(options)) * u128::from(state.messages);
    let records = wanted.div_ceil(u128::from(state.bytes.max(1)));
    let records = u64::try_from(records).unwrap_or(u64::MAX);
    (state.last_seq + 1).saturating_sub(records).max(first_sequence(state))
}

/// The sequence of the oldest record; one more than the newest if there is none.
pub fn first_sequence(state: StreamState) -> u64 {
    if state.messages == 0 { state.last_seq + 1 } else { state.first_seq }
}

/// A duration as JetStream takes it.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(messages: u64, bytes: u64, first_seq: u64, last_seq: u64) -> StreamInfo {
        let state = StreamState { messages, bytes, first_seq, last_seq };
        StreamInfo { config: Value::Null, created: 9, state, time: 0 }
    }

    #[test]
    fn where_a_reader_starts() {
        let options = EngineOptions {
            servers: Vec::new(),
            stream: "room".parse().unwrap(),
            credentials: None,
            tls_ca_file: None,
            node: "n".parse().unwrap(),
            feed_tail_bytes: 1000,
            message_bytes_max: 1,
        };
        let check = |last: Option<(u64, u64)>, info: StreamInfo, from, kept: Option<u64>| {
            let last = last.map(|(created, sequence)| Position { created, sequence });
            let kept = kept.map(|sequence| Position { created: 9, sequence });
            assert_eq!(start(last, None, &info, &options), (from, kept), "{last:?} {info:?}");
        };
        // Nothing was read: 4000 bytes are 40 records of 100.
        check(None, info(100, 10_000, 1, 100), 61, None);
        check(None, info(100, 10_000, 901, 1000), 961, None);
        check(None, info(30, 3_000, 71, 100), 71, None);
        check(None, info(1, 1_000_000, 7, 7), 7, None);
        check(None, info(0, 0, 0, 0), 1, None);
        check(None, info(0, 0, 8, 7), 8, None);
        // Something was read.
        check(Some((9, 50)), info(100, 10_000, 1, 100), 51, Some(50));
        check(Some((9, 100)), info(100, 10_000, 1, 100), 101, Some(100));
        check(Some((9, 50)), info(10, 1_000, 91, 100), 51, Some(50));
        // The stream has fewer records, or is another one.
        check(Some((9, 101)), info(100, 10_000, 1, 100), 101, Some(100));
        check(Some((9, 50)), info(0, 0, 0, 0), 1, Some(0));
        check(Some((8, 50)), info(100, 10_000, 1, 100), 1, None);
        check(Some((8, 50)), info(0, 0, 8, 7), 8, None);
    }
}
