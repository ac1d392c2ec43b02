//! Messages as the client reads and writes them.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::rand;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};
use serde_json::Value;
use serde_json::value::RawValue;

use super::room_state::RoomState;

/// The `usr` that only the server may use.
const SERVER: &str = "wschat";
/// The longest delay that the client accepts from a notice.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// The name of the sender.
    pub usr: String,
    /// The text.
    pub msg: String,
    /// The time stamp; other servers may omit it, and a gap has none.
    pub tim: Option<DateTime<Utc>>,
    /// The `id` that this client added to its message.
    pub id: Option<String>,
    /// Which kind of message it is.
    pub kind: IncomingKind,
    /// The code of a notice.
    pub err: Option<String>,
    /// The time stamps of the messages that a retraction is about.
    pub retracted: Vec<DateTime<Utc>>,
    /// The state of the room, in [`IncomingKind::Presence`].
    pub room: Option<RoomState>,
}

/// The kinds of messages. Only the server can send other kinds than
/// [`IncomingKind::User`]: in messages of users, `err`, `ack`, `retract` and `room` mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingKind {
    /// A user sent it.
    User,
    /// The server itself sent it to everyone.
    Server,
    /// The server did not send a message of this client.
    Notice {
        /// The time after which the client may send the message again, if the
        /// only reason is that it was sent too early.
        retry_after: Option<Duration>,
    },
    /// Messages are missing before the next one.
    Gap,
    /// The server carried out a command of this client.
    Ack,
    /// The server retracts messages.
    Retraction,
    /// The server tells the state of the room.
    Presence,
}

impl Incoming {
    /// Parses a text message. Returns `None` if it has no `usr` or no `msg`.
    ///
    /// Other fields that have an unexpected type, or that no [`Value`] can hold
    /// (`1e999`, an unpaired surrogate: the room forwards both), count as missing.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: JsonFields = serde_json::from_str(text).ok()?;
        let usr: String = field(&fields, "usr")?;
        let time = |name| field::<String>(&fields, name)?.parse().ok();
        let mut retracted: Vec<_> = time("retract").into_iter().collect();
        if usr == SERVER && !retracted.is_empty() {
            let also: Vec<String> = field(&fields, "also").unwrap_or_default();
            retracted.extend(also.iter().filter_map(|time| time.parse::<DateTime<Utc>>().ok()));
        }
        let has = |name| field(&fields, name).is_some_and(|value: Value| !value.is_null());
        let is_err = |code| field::<Value>(&fields, "err").is_some_and(|err| err == code);
        let kind = if usr != SERVER {
            IncomingKind::User
        } else if is_err("gap") {
            IncomingKind::Gap
        } else if has("err") {
            let early = is_err("rate-limited");
            let secs = field(&fields, "wait").filter(|_| early);
            let retry_after = secs.map(|secs| Duration::from_secs(secs).min(RETRY_AFTER_MAX));
            IncomingKind::Notice { retry_after }
        } else if field::<JsonFields>(&fields, "room").is_some() {
            IncomingKind::Presence
        } else if has("ack") {
            IncomingKind::Ack
        } else {
            match retracted[..] {
                [] => IncomingKind::Server,
                [..] => IncomingKind::Retraction,
            }
        };
        if kind != IncomingKind::Retraction {
            retracted.clear();
        }
        let is_notice = matches!(kind, IncomingKind::Notice { .. });
        let err = field(&fields, "err").filter(|_| is_notice);
        let (msg, id) = (field(&fields, "msg")?, field(&fields, "id"));
        // The time of a gap notice is not the time of the gap.
        let tim = time("tim").filter(|_| kind != IncomingKind::Gap);
        let is_presence = kind == IncomingKind::Presence;
        let room = is_presence.then(|| field(&fields, "room").unwrap_or_default());
        Some(Self { usr, msg, tim, id, kind, err, retracted, room })
    }
}

type JsonFields<'a> = HashMap<ByteBuf, &'a RawValue>;

fn field<'a, T: Deserialize<'a>>(fields: &JsonFields<'a>, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(Bytes::new(name.as_bytes()))?.get()).ok()
}

/// What a message of this client contains.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Body<'a> {
    /// A text. The room forwards `id` like every unknown field, so that the
    /// client recognises its own message.
    Text { msg: &'a str, id: &'a str },
    /// A command of a moderator.
    Command { cmd: &'a Value },
}

/// The JSON text of a message.
pub fn encode(usr: &str, body: Body, jwt: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Outgoing<'a> {
        usr: &'a str,
        #[serde(flatten)]
        body: Body<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        jwt: Option<&'a str>,
    }
    serde_json::to_string(&Outgoing { usr, body, jwt }).expect("strings are always JSON")
}

/// A line of JSON from the user, as a message.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonLine {
    /// The text to send.
    pub text: String,
    /// The JSON of its `id`.
    pub id: String,
    /// Whether it has a command: then the answer is perhaps not the message.
    pub is_command: bool,
}

/// Makes a message from a JSON object, which can have any fields; `usr`, `jwt` and `id` are added
/// if they are missing. Returns `None` if the line is not an object.
pub fn encode_json(line: &str, usr: &str, jwt: Option<&str>) -> Option<JsonLine> {
    let fields: JsonFields = serde_json::from_str(line).ok()?;
    let members = line.trim_start().strip_prefix('{')?;
    let mut text = String::from("{");
    let new_id = new_id();
    for (name, value) in [("usr", Some(usr)), ("jwt", jwt), ("id", Some(&*new_id))] {
        let value = value.filter(|_| !fields.contains_key(Bytes::new(name.as_bytes())));
        if let Some(value) = value {
            text += &format!("{name:?}:{},", Value::from(value));
        }
    }
    if fields.is_empty() {
        text.truncate(text.trim_end_matches(',').len());
    }
    text += members.trim_end();
    let id = raw_id(&text).unwrap_or_default();
    Some(JsonLine { is_command: fields.contains_key(Bytes::new(b"cmd")), text, id })
}

/// The JSON of the `id` of a message.
pub fn raw_id(text: &str) -> Option<String> {
    let fields: JsonFields = serde_json::from_str(text).ok()?;
    fields.get(Bytes::new(b"id")).map(|id| id.get().to_owned())
}

/// A unique message id: 96 random bits in hexadecimal. It panics if the system has no
/// random bytes; TLS would not work either.
pub fn new_id() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system provides random bytes");
    format!("{:024x}", u128::from_ne_bytes(bytes) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn incoming_messages() {
        let json =
            r#"{"usr":"a","msg":"b","id":"7f","x":1,"tim":"2020-08-11T22:26:58.118678679Z"}"#;
        let tim = "2020-08-11T22:26:58.118678679Z".parse().ok();
        let (usr, msg) = ("a".to_owned(), "b".to_owned());
        let (id, kind) = (Some("7f".into()), IncomingKind::User);
        let want = Incoming { usr, msg, tim, id, kind, err: None, retracted: vec![], room: None };
        assert_eq!(Incoming::parse(json), Some(want));
        assert!(Incoming::parse(r#"{"usr":"a","msg":"b","id":7}"#).is_some());
        assert_eq!(Incoming::parse(r#"{"usr":"a"}"#), None);
        assert_eq!(Incoming::parse("no JSON"), None);
    }

    #[test]
    fn fields_that_no_value_can_hold_hide_no_message() {
        let names = ["id", "err", "wait", "ack", "retract", "tim", "x", "\\ud800"];
        for value in ["1e999", r#""\udfff""#, r#"{"\udfff":[-1e999]}"#, "null"] {
            for name in names {
                let json = format!(r#"{{"usr":"wschat","msg":"b","{name}":{value}}}"#);
                let message = Incoming::parse(&json).expect(&json);
                assert_eq!(
                    (message.tim, message.id, message.kind),
                    (None, None, IncomingKind::Server)
                );
            }
        }
    }

    #[test]
    fn kinds_of_messages() {
        let check = |usr: &str, fields: &str, want: IncomingKind| {
            let json = format!(r#"{{"usr":"{usr}","msg":"b",{fields}}}"#);
            assert_eq!(Incoming::parse(&json).unwrap().kind, want, "{json}");
        };
        let notice = |fields: &str, secs: Option<u64>| {
            let retry_after = secs.map(Duration::from_secs);
            check("wschat", fields, IncomingKind::Notice { retry_after });
            check("bob", fields, IncomingKind::User);
        };
        notice(r#""err":"rate-limited","wait":7"#, Some(7));
        notice(r#""err":"rate-limited","wait":18446744073709551615"#, Some(86_400));
        notice(r#""err":"rate-limited","wait":-1"#, None);
        notice(r#""err":"rate-limited","wait":"7""#, None);
        notice(r#""err":"rate-limited""#, None);
        notice(r#""err":"bad-json","tim":"?""#, None);
        notice(r#""err":"muted","wait":7"#, None);
        notice(r#""err":7,"wait":7"#, None);
        check("wschat", r#""err":"gap","tim":"2020-08-11T22:26:58Z""#, IncomingKind::Gap);
        check("bob", r#""err":"gap""#, IncomingKind::User);
        check("wschat", r#""ack":"slow","wait":7"#, IncomingKind::Ack);
        let tim = "2020-08-11T22:26:58.118678679Z";
        check("wschat", &format!(r#""retract":"{tim}""#), IncomingKind::Retraction);
        check("wschat", r#""retract":"?""#, IncomingKind::Server);
        check("bob", &format!(r#""retract":"{tim}","ack":"mute""#), IncomingKind::User);
    }

    #[test]
    fn a_retraction_is_about_one_or_several_messages() {
        let times = ["2020-08-11T22:26:58.118678679Z", "2020-08-11T22:26:59.000000001Z"];
        let also = |usr: &str, also: &str| {
            let json =
                format!(r#"{{"usr":"{usr}","msg":"x","retract":"{}","also":{also}}}"#, times[0]);
            Incoming::parse(&json).unwrap().retracted.len()
        };
        assert_eq!(also("wschat", &format!("[{:?}]", times[1])), 2);
        for no_times in ["[]", "null", "7", "[7]", r#"["then"]"#] {
            assert_eq!(also("wschat", no_times), 1, "{no_times}");
        }
        assert_eq!(also("bob", &format!("[{:?}]", times[1])), 0);
    }

    #[test]
    fn lines_of_json_have_their_own_fields() {
        let check = |line: &str, want: &str| {
            let made = encode_json(line, "ci", Some("x.y")).unwrap();
            let id = made.id.trim_matches('"');
            assert_eq!(made.text.replace(id, "ID"), want, "{line}");
        };
        let added = r#"{"usr":"ci","jwt":"x.y","id":"ID""#;
        check(r#"{"msg":"a","x":1e999}"#, &format!(r#"{added},"msg":"a","x":1e999}}"#));
        check(" { } ", &format!("{added} }}"));
        check(
            r#"{"\u0075sr":"bob","msg":"a"}"#,
            r#"{"jwt":"x.y","id":"ID","\u0075sr":"bob","msg":"a"}"#,
        );
        check(r#"{"jwt":null,"usr":1,"id":"ID"}"#, r#"{"jwt":null,"usr":1,"id":"ID"}"#);
        let made = encode_json(r#"{"id":{"n":[7]},"cmd":{"lock":true}}"#, "ci", None).unwrap();
        assert_eq!((&*made.id, made.is_command), (r#"{"n":[7]}"#, true));
        assert_eq!(raw_id(&made.text), Some(made.id));
        for line in ["", "a", "[]", "7", r#""a""#, r#"{"msg":"a""#, r#"{"msg":"a"} {}"#, "null"] {
            assert_eq!(encode_json(line, "ci", None), None, "{line}");
        }
    }

    #[test]
    fn outgoing_messages() {
        let text = encode("a\"", Body::Text { msg: "b\n", id: "1" }, Some("x.y.z"));
        assert_eq!(text, r#"{"usr":"a\"","msg":"b\n","id":"1","jwt":"x.y.z"}"#);
        let command = encode("ann", Body::Command { cmd: &json!({"kick": "bob"}) }, None);
        assert_eq!(command, r#"{"usr":"ann","cmd":{"kick":"bob"}}"#);
        assert_ne!(new_id(), new_id());
        assert_eq!(new_id().len(), 24);
    }
}
