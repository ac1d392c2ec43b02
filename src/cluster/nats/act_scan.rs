//! Reads a part of the stream again, for the moderation actions in it that the key-value bucket
//! does not have.

use std::ops::RangeInclusive;

use async_nats::Client;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::engine::Delivery;
use super::api::{ApiError, StoredRecord, request};
use super::consumer::{HEARTBEAT_INTERVAL, SILENCE_MAX, answer, nanos};
use super::delivery::{Incoming, single};
use crate::chat::Moderation;
use crate::cluster::log::{Body, LogClock, decode};

/// A part of the stream.
pub struct ActScan<'a> {
    /// The connection.
    pub client: &'a Client,
    /// The name of the stream.
    pub stream: &'a str,
    /// When it was created.
    pub created: u64,
    /// The part.
    pub sequences: RangeInclusive<u64>,
}

/// What was found.
pub struct Replay {
    /// What was in force before the part, and then behind it.
    pub moderation: Moderation,
    /// How many actions there were.
    pub acts: u64,
    /// The clock was not calibrated before the part: nearly the one that other nodes have.
    clock: LogClock,
}

impl Replay {
    /// Starts with what is in force before the part.
    pub fn new(moderation: Moderation) -> Self {
        Self { moderation, acts: 0, clock: LogClock::default() }
    }

    fn read(&mut self, delivery: &Delivery) {
        let Delivery { position, time, headers, payload } = delivery;
        let record = decode(headers, payload).ok();
        let first = self.clock.read(position.created, *time, record.as_ref());
        // Without a time it came too late.
        let (Some(record), Some(tim)) = (record, first) else { return };
        if let Body::Act(act) = record.body
            && act.action.is_lasting()
        {
            // An action that cannot be done changes nothing, now as then.
            let _ = self.moderation.apply(&act.action, &act.actor, tim);
            self.acts += 1;
        }
    }
}

impl ActScan<'_> {
    /// Applies the actions of the part, by a consumer of its own.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub async fn replay(&self, moderation: Moderation) -> Result<Replay, ApiError> {
        let other = |why: &dyn std::fmt::Display| ApiError::Other(why.to_string());
        let mut replay = Replay::new(moderation);
        if self.sequences.is_empty() {
            return Ok(replay);
        }
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let mut messages = subscribed.map_err(|error| other(&error))?;
        let body = json!({ "stream_name": self.stream, "config": {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.sequences.start(),
            "ack_policy": "none",
            "replay_policy": "instant",
            "flow_control": true,
            "idle_heartbeat": nanos(HEARTBEAT_INTERVAL),
            "mem_storage": true,
        }});
        let subject = format!("CONSUMER.CREATE.{}", self.stream);
        request::<Value>(self.client, &subject, Some(&body)).await?;
        let mut delivered = 0;
        loop {
            let message = timeout(SILENCE_MAX, messages.next()).await;
            let message = message.map_err(|_| ApiError::Timeout)?;
            let message = message.ok_or_else(|| other(&"the connection was lost"))?;
            let is_due = |sequence: Option<u64>| sequence.is_none_or(|it| it == delivered);
            match Incoming::parse(message, self.created) {
                Incoming::Record { consumer_sequence, delivery } => {
                    delivered += 1;
                    if consumer_sequence != delivered {
                        return Err(other(&"records are missing"));
                    }
                    let sequence = delivery.position.sequence;
                    if sequence <= *self.sequences.end() {
                        replay.read(&delivery);
                    }
                    if sequence >= *self.sequences.end() {
                        return Ok(replay);
                    }
                }
                Incoming::FlowControl(subject) => answer(self.client, subject).await,
                Incoming::Heartbeat { consumer_sequence, stalled: None }
                    if is_due(consumer_sequence) =>
                {
                    // The stream has no more.
                    return Ok(replay);
                }
                Incoming::Heartbeat { stalled: Some(subject), .. } => {
                    answer(self.client, subject).await;
                }
                Incoming::Heartbeat { .. } => return Err(other(&"records are missing")),
                Incoming::Gone => return Err(other(&"the consumer is gone")),
                Incoming::Other => {}
            }
        }
    }

    /// As [`replay`](Self::replay), by a request for each record: the client fails at some header
    /// fields that a consumer delivers.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub async fn replay_singly(&self, moderation: Moderation) -> Result<Replay, ApiError> {
        let mut replay = Replay::new(moderation);
        for sequence in self.sequences.clone() {
            if let Some(record) = StoredRecord::get(self.client, self.stream, sequence).await? {
                replay.read(&single(&record, self.created));
            }
        }
        Ok(replay)
    }
}
