//! What a consumer sends, and what it says.

use async_nats::{Message, StatusCode, Subject};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::super::engine::Delivery;
use super::api::StoredRecord;
use crate::chat::Tim;
use crate::feed::Position;

/// The header fields that a record is made of start like this.
const HEADER_PREFIX: &str = "Wschat-";

/// The last sequence of the consumer, in a heartbeat.
const LAST_CONSUMER: &str = "Nats-Last-Consumer";

/// The subject of an answer to flow control that the server has not got, in a heartbeat.
const STALLED: &str = "Nats-Consumer-Stalled";

/// A message of a consumer.
#[derive(Debug)]
pub enum Incoming {
    /// A record of the stream.
    Record {
        /// The number of the delivery; each consumer counts from 1.
        consumer_sequence: u64,
        /// The record.
        delivery: Delivery,
    },
    /// The server sends more when it has an answer at this subject.
    FlowControl(Subject),
    /// Nothing was sent for a while. The number of the last delivery, and the subject of an
    /// answer for which the server waits.
    Heartbeat {
        /// The number of the last delivery, if the server has told it.
        consumer_sequence: Option<u64>,
        /// Where the server waits for an answer.
        stalled: Option<Subject>,
    },
    /// The consumer is gone.
    Gone,
    /// Not from the server.
    Other,
}

impl Incoming {
    /// What `message` says about the stream that was created at `created`.
    pub fn parse(message: Message, created: u64) -> Self {
        // A record can have a status too, if its publisher has written one.
        if let Some(place) = message.reply.as_deref().and_then(Place::parse) {
            return Self::Record {
                consumer_sequence: place.consumer_sequence,
                delivery: Delivery {
                    position: Position { created, sequence: place.stream_sequence },
                    time: Tim::from_nanos(place.time),
                    headers: headers(&message),
                    payload: message.payload,
                },
            };
        }
        match (message.status, message.reply) {
            (Some(StatusCode::IDLE_HEARTBEAT), Some(subject)) => Self::FlowControl(subject),
            (Some(StatusCode::IDLE_HEARTBEAT), None) => {
                let field = |name| message.headers.as_ref().and_then(|fields| fields.get(name));
                Self::Heartbeat {
                    consumer_sequence: field(LAST_CONSUMER).and_then(|n| n.as_str().parse().ok()),
                    stalled: field(STALLED).map(|subject| subject.as_str().into()),
                }
            }
            (Some(_), _) => Self::Gone,
            (None, _) => Self::Other,
        }
    }
}

/// A record that was read singly, from the stream that was created at `created`. Of a header that
/// is not UTF-8 nothing is left.
pub fn single(record: &StoredRecord, created: u64) -> Delivery {
    let decode = |text: &str| BASE64_STANDARD.decode(text).unwrap_or_default();
    let header = String::from_utf8(decode(&record.hdrs)).unwrap_or_default();
    let fields = header.split("\r\n").filter_map(|line| line.split_once(':'));
    let ours = fields.filter(|(name, _)| name.starts_with(HEADER_PREFIX));
    Delivery {
        position: Position { created, sequence: record.seq },
        time: Tim::from_nanos(record.time),
        headers: ours.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        payload: decode(&record.data).into(),
    }
}

/// What the reply subject of a record says.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    stream_sequence: u64,
    consumer_sequence: u64,
    /// Nanoseconds since the Unix epoch.
    time: u64,
}

impl Place {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`,
    /// or with the domain and the account before the stream, and perhaps more behind it.
    fn parse(reply: &str) -> Option<Self> {
        let mut parts = reply.strip_prefix("$JS.ACK.")?.split('.');
        let skipped = match parts.clone().count() {
            7 => 3,
            9.. => 5,
            _ => return None,
        };
        let mut number = |skipped| parts.nth(skipped)?.parse().ok();
        let (stream_sequence, consumer_sequence) = (number(skipped)?, number(0)?);
        Some(Self { stream_sequence, consumer_sequence, time: number(0)? })
    }
}

fn headers(message: &Message) -> Vec<(String, String)> {
    let fields = message.headers.iter().flat_map(|fields| fields.iter());
    fields
        .filter(|(name, _)| AsRef::<str>::as_ref(*name).starts_with(HEADER_PREFIX))
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
        .map(|(name, value)| (name.to_string(), value.as_str().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_subjects_of_records() {
        let place =
            Place { stream_sequence: 5, consumer_sequence: 3, time: 1_767_323_045_123_456_789 };
        for reply in [
            "$JS.ACK.room.abc.1.5.3.1767323045123456789.0",
            "$JS.ACK._.hash.room.abc.1.5.3.1767323045123456789.0",
            "$JS.ACK.hub.hash.room.abc.1.5.3.1767323045123456789.0.token",
        ] {
            assert_eq!(Place::parse(reply).as_ref(), Some(&place), "{reply}");
        }
        for reply in [
            "",
            "$JS.FC.room.abc.x",
            "$JS.ACK.room.abc.1.5.3",
            "$JS.ACK.room.abc.1.5.3.1767323045123456789.0.x",
            "$JS.ACK.room.abc.1.x.3.1767323045123456789.0",
            "$JS.ACK.room.abc.1.-5.3.1767323045123456789.0",
        ] {
            assert_eq!(Place::parse(reply), None, "{reply}");
        }
    }

    fn message(reply: Option<&str>, status: Option<u16>, fields: &[(&str, &str)]) -> Message {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, *value);
        }
        Message {
            subject: "_INBOX.room.x".into(),
            reply: reply.map(Into::into),
            payload: "p".into(),
            headers: Some(headers),
            status: status.map(|status| status.try_into().unwrap()),
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_record_has_its_place_whatever_its_status() {
        for status in [None, Some(100), Some(503)] {
            let fields = [("Wschat-Version", "1"), ("Wschat-By", "2"), ("Nats-Msg-Id", "x")];
            let message = message(Some("$JS.ACK.room.c.1.5.3.7.0"), status, &fields);
            let Incoming::Record { consumer_sequence: 3, mut delivery } =
                Incoming::parse(message, 9)
            else {
                panic!("no record");
            };
            delivery.headers.sort();
            let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            assert_eq!(delivery.headers, [pair(("Wschat-By", "2")), pair(fields[0])]);
            assert_eq!(delivery.position, Position { created: 9, sequence: 5 });
            assert_eq!((delivery.time, delivery.payload), (Tim::from_nanos(7), "p".into()));
        }
    }

    #[test]
    fn a_record_that_is_read_singly() {
        let check = |header: &[u8], expected: &[(&str, &str)]| {
            let (hdrs, data) = (BASE64_STANDARD.encode(header), BASE64_STANDARD.encode("p"));
            let delivery = single(&StoredRecord { seq: 5, hdrs, data, time: 7 }, 9);
            let headers: Vec<_> = delivery.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(headers, expected);
            assert_eq!(delivery.position, Position { created: 9, sequence: 5 });
            assert_eq!((delivery.time, delivery.payload), (Tim::from_nanos(7), "p".into()));
        };
        let good = b"NATS/1.0\r\nWschat-By: 1\r\nNats-Msg-Id: x\r\nWschat-Kind:act\r\n\r\n";
        check(good, &[("Wschat-By", "1"), ("Wschat-Kind", "act")]);
        check(b"NATS/1.0\r\nWschat-By: a\rb\r\n\r\n", &[("Wschat-By", "a\rb")]);
        check(b"NATS/1.0\r\nWschat-By: \xff\r\n\r\n", &[]);
        check(b"", &[]);
    }

    #[test]
    fn what_else_a_server_says() {
        let parse = |reply, status, fields| Incoming::parse(message(reply, status, fields), 9);
        assert!(matches!(
            parse(Some("$JS.FC.room.c.x"), Some(100), &[]),
            Incoming::FlowControl(subject) if &*subject == "$JS.FC.room.c.x"
        ));
        assert!(matches!(
            parse(None, Some(100), &[(LAST_CONSUMER, "4"), (STALLED, "$JS.FC.x")]),
            Incoming::Heartbeat { consumer_sequence: Some(4), stalled: Some(subject) }
                if &*subject == "$JS.FC.x"
        ));
        assert!(matches!(
            parse(None, Some(100), &[]),
            Incoming::Heartbeat { consumer_sequence: None, stalled: None }
        ));
        assert!(matches!(parse(None, Some(409), &[]), Incoming::Gone));
        assert!(matches!(parse(None, None, &[]), Incoming::Other));
        assert!(matches!(parse(Some("x"), None, &[]), Incoming::Other));
    }
}
