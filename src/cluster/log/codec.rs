//! Records as bytes: the header fields and the payload of one message of the stream.
//!
//! Another program can have written a record, so everything is checked here: behind it there
//! are only records that a node can have published.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::record::{Body, LoggedAct, Publisher, Record};
use crate::chat::{LoggedMessage, ModAction, Retracted, Target, Tim, is_unstamped};
use crate::cluster::NodeName;
use crate::feed::{Position, StreamMark};

/// The header fields of a record.
pub type Headers = Vec<(&'static str, String)>;

const VERSION: &str = "Wschat-Version";
/// Names the publisher of a record, and the number of the record there: no two have the same.
pub const PUBLISHER: &str = "Wschat-Node";
const AFTER: &str = "Wschat-After";
const BY: &str = "Wschat-By";
const KIND: &str = "Wschat-Kind";

/// The only version of the format.
const VERSION_1: &str = "1";
/// The longest encoded message, in bytes: the greatest `message_bytes_max`, and the `tim`.
const TEXT_BYTES_MAX: usize = 1_048_576 + 64;

/// Why the record of another program cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Its format has another version, or it has none.
    #[error("its version is not 1")]
    Version,
    /// A header field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header field occurs twice.
    #[error("{0} occurs twice")]
    Twice(&'static str),
    /// The format has no such header field.
    #[error("it has an unknown header field that starts with Wschat-")]
    UnknownField,
    /// The value of a header field is not valid.
    #[error("{0} is not valid")]
    Field(&'static str),
    /// Its payload is not that of its kind.
    #[error("its payload is not valid")]
    Payload,
    /// It has no message.
    #[error("it has no message")]
    NoMessage,
    /// A message is not an encoded message without `tim`.
    #[error("a message is not a JSON object with a place for tim at its end")]
    Text,
    /// A message is longer than any configuration allows.
    #[error("a message is too long")]
    TooLong,
    /// The action is not valid, or is one that a node carries out alone.
    #[error("its moderation action is not valid")]
    Act,
}

/// The header fields of a record.
pub(super) fn headers(
    publisher: &Publisher,
    after: Option<&StreamMark>,
    by: Tim,
    kind: Kind,
) -> Headers {
    let Publisher { node, incarnation, number } = publisher;
    let mut headers = vec![
        (VERSION, VERSION_1.to_owned()),
        (PUBLISHER, format!("{node} {incarnation} {number}")),
        (BY, by.nanos().to_string()),
        (KIND, kind.text().to_owned()),
    ];
    if let Some(StreamMark { position, tim, newest }) = after {
        let Position { created, sequence } = position;
        let (tim, newest) = (tim.nanos(), newest.nanos());
        headers.push((AFTER, format!("{created} {sequence} {tim} {newest}")));
    }
    headers
}

/// The number of bytes of header fields in a message of NATS.
pub(super) fn headers_bytes(headers: &[(&'static str, String)]) -> usize {
    const AROUND: usize = "NATS/1.0\r\n\r\n".len();
    const IN_FIELD: usize = ": \r\n".len();
    AROUND + headers.iter().map(|(name, value)| name.len() + value.len() + IN_FIELD).sum::<usize>()
}

/// What a record is about, as its header field says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Messages,
    Act,
    Empty,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Messages, Self::Act, Self::Empty];

    const fn text(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Act => "act",
            Self::Empty => "empty",
        }
    }
}

/// The payload of a record of messages, while it is collected.
#[derive(Debug, Default)]
pub(super) struct MessagesPayload {
    count: usize,
    bytes: Vec<u8>,
}

impl MessagesPayload {
    /// The most bytes of a count.
    pub const COUNT_BYTES_MAX: usize = 10;

    /// Adds a message, unless that makes the payload longer than this many bytes. Returns
    /// whether it was added.
    pub fn push(&mut self, message: &LoggedMessage, bytes_max: usize) -> bool {
        let before = self.bytes.len();
        // Only a writer that fails makes this fail.
        self.bytes =
            postcard::to_extend(message, std::mem::take(&mut self.bytes)).unwrap_or_default();
        let fits = self.bytes.len() + Self::COUNT_BYTES_MAX <= bytes_max;
        if fits {
            self.count += 1;
        } else {
            self.bytes.truncate(before);
        }
        fits
    }

    /// The payload.
    pub fn finish(self) -> Bytes {
        let count = postcard::to_extend(&self.count, Vec::new()).unwrap_or_default();
        [count, self.bytes].concat().into()
    }
}

/// The payload of a record of a moderation action.
pub(super) fn act_payload(act: &LoggedAct) -> Bytes {
    // Every action can be written as JSON.
    serde_json::to_vec(act).unwrap_or_default().into()
}

/// The header fields and the payload of a record.
pub fn encode(record: &Record) -> (Headers, Bytes) {
    let (kind, payload) = match &record.body {
        Body::Messages(messages) => {
            let mut payload = MessagesPayload::default();
            for message in messages {
                payload.push(message, usize::MAX);
            }
            (Kind::Messages, payload.finish())
        }
        Body::Act(act) => (Kind::Act, act_payload(act)),
        Body::Empty => (Kind::Empty, Bytes::new()),
    };
    (headers(&record.publisher, record.after.as_ref(), record.by, kind), payload)
}

/// Reads a record from its header fields, of which only those that start with `Wschat-` count,
/// and its payload.
///
/// # Errors
///
/// Why it is not a record that a node can have published.
///
/// # Examples
///
/// ```
/// use wschat::cluster::log::{BadRecord, Body, decode};
/// let headers = [("Wschat-Version", "1"), ("Wschat-Node", "a 7 1"), ("Wschat-By", "5"),
///     ("Wschat-Kind", "empty")].map(|(name, value)| (name.to_owned(), value.to_owned()));
/// assert_eq!(decode(&headers, b"").unwrap().body, Body::Empty);
/// assert_eq!(decode(&headers, b"x"), Err(BadRecord::Payload));
/// assert_eq!(decode(&[], b""), Err(BadRecord::Version));
/// ```
pub fn decode(headers: &[(String, String)], payload: &[u8]) -> Result<Record, BadRecord> {
    let fields = Fields(headers);
    // What the other checks mean depends on the version.
    if fields.get(VERSION)? != Some(VERSION_1) {
        return Err(BadRecord::Version);
    }
    fields.check_names()?;
    let publisher = publisher(fields.need(PUBLISHER)?).ok_or(BadRecord::Field(PUBLISHER))?;
    let after = match fields.get(AFTER)? {
        Some(text) => Some(mark(text).ok_or(BadRecord::Field(AFTER))?),
        None => None,
    };
    let by = number(fields.need(BY)?).ok_or(BadRecord::Field(BY))?;
    let kind = fields.need(KIND)?;
    let kind = Kind::ALL.into_iter().find(|known| known.text() == kind);
    let body = match kind.ok_or(BadRecord::Field(KIND))? {
        Kind::Messages => Body::Messages(messages(payload)?),
        Kind::Act => Body::Act(act(payload)?),
        Kind::Empty if payload.is_empty() => Body::Empty,
        Kind::Empty => return Err(BadRecord::Payload),
    };
    Ok(Record { publisher, after, by: Tim::from_nanos(by), body })
}

/// The header fields of a record of another program.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [(String, String)]);

impl<'a> Fields<'a> {
    fn get(self, name: &'static str) -> Result<Option<&'a str>, BadRecord> {
        let mut found = self.0.iter().filter(|field| field.0 == name).map(|field| &*field.1);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(BadRecord::Twice(name)),
            (found, None) => Ok(found),
        }
    }

    fn need(self, name: &'static str) -> Result<&'a str, BadRecord> {
        self.get(name)?.ok_or(BadRecord::Missing(name))
    }

    fn check_names(self) -> Result<(), BadRecord> {
        let known = |name: &str| {
            !name.starts_with("Wschat-") || [VERSION, PUBLISHER, AFTER, BY, KIND].contains(&name)
        };
        self.0.iter().all(|field| known(&field.0)).then_some(()).ok_or(BadRecord::UnknownField)
    }
}

fn publisher(text: &str) -> Option<Publisher> {
    let [node, incarnation, record] = parts(text)?;
    let (incarnation, record) = (number(incarnation)?, number(record)?);
    node.parse::<NodeName>().ok().map(|_| Publisher {
        node: node.to_owned(),
        incarnation,
        number: record,
    })
}

fn mark(text: &str) -> Option<StreamMark> {
    let [created, sequence, tim, newest] = parts(text)?;
    let position = Position { created: number(created)?, sequence: number(sequence)? };
    let (tim, newest) = (Tim::from_nanos(number(tim)?), Tim::from_nanos(number(newest)?));
    Some(StreamMark { position, tim, newest })
}

/// The parts of a text that single spaces divide, if there are so many.
fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut parts = text.split(' ');
    let mut found = [""; N];
    for part in &mut found {
        *part = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}

/// A number in the one spelling that [`encode`] writes.
fn number<N: FromStr + Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn messages(payload: &[u8]) -> Result<Vec<LoggedMessage>, BadRecord> {
    let (messages, rest): (Vec<LoggedMessage>, _) =
        postcard::take_from_bytes(payload).map_err(|_| BadRecord::Payload)?;
    if !rest.is_empty() {
        return Err(BadRecord::Payload);
    }
    if messages.is_empty() {
        return Err(BadRecord::NoMessage);
    }
    messages.iter().try_for_each(|message| check_text(&message.text))?;
    Ok(messages)
}

fn check_text(text: &[u8]) -> Result<(), BadRecord> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BadRecord::TooLong);
    }
    let is_object = || {
        let text = std::str::from_utf8(text).ok()?;
        serde_json::from_str::<IgnoredAny>(text).ok()
    };
    if text.first() != Some(&b'{') || !is_unstamped(text) || is_object().is_none() {
        return Err(BadRecord::Text);
    }
    Ok(())
}

fn act(payload: &[u8]) -> Result<LoggedAct, BadRecord> {
    let act: LoggedAct = serde_json::from_slice(payload).map_err(|_| BadRecord::Payload)?;
    let is_local = matches!(act.action, ModAction::Retract(Retracted::Name(_)))
        || matches!(act.action.target(), Some(Target::Connection(_)));
    if is_local || act.action.check().is_err() {
        return Err(BadRecord::Act);
    }
    Ok(act)
}

#[cfg(test)]
mod tests;
