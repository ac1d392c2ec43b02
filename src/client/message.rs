//! Messages as the client writes and reads them.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::rand;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_bytes::{ByteBuf, Bytes};
use serde_json::Value;
use serde_json::value::RawValue;

/// The name that is the server's alone.
const SERVER: &str = "wschat";
/// The longest time that a notice can make us wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A message as the room sent it, or a notice.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Who speaks.
    pub usr: String,
    /// What is said.
    pub msg: String,
    /// When the room stamped it; some other server may leave it out.
    pub tim: Option<DateTime<Utc>>,
    /// Why our message was not sent: then this is a notice. Only the server
    /// can set it, it drops the field from what clients send.
    pub err: Option<Value>,
    /// In a notice: the seconds after which it may be sent again.
    pub wait: Option<Value>,
    /// From the server: the command of ours that was done.
    pub ack: Option<Value>,
    /// From the server: the `tim` of a message that is not to be shown any more.
    pub retract: Option<Value>,
    /// What [`encode`] added to a message of ours.
    pub id: Option<Value>,
}

impl Incoming {
    /// Reads a text message; nothing if it is none that can be shown.
    ///
    /// A field that is not as the server writes it, or that no [`Value`] can hold
    /// (`1e999`, half of a surrogate pair: the room passes both on), is no reason
    /// to hide what was said.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: HashMap<ByteBuf, &RawValue> = serde_json::from_str(text).ok()?;
        let json = |name: &str| fields.get(Bytes::new(name.as_bytes())).map(|json| json.get());
        let text = |name| serde_json::from_str(json(name)?).ok();
        let value = |name| serde_json::from_str(json(name)?).ok().filter(|v| *v != Value::Null);
        Some(Self {
            usr: text("usr")?,
            msg: text("msg")?,
            tim: text("tim").and_then(|tim: String| tim.parse().ok()),
            err: value("err"),
            wait: value("wait"),
            ack: value("ack"),
            retract: value("retract"),
            id: value("id"),
        })
    }

    /// Whether the server says this, who alone may be called so. In what others
    /// say, `ack` and `retract` are just fields.
    pub fn is_the_servers(&self) -> bool {
        self.usr == SERVER
    }

    /// Whether the server tells us alone that a message was not sent.
    pub fn is_notice(&self) -> bool {
        self.is_the_servers() && self.err.is_some()
    }

    /// Whether the server tells us alone that a command was done.
    pub fn is_receipt(&self) -> bool {
        self.is_the_servers() && self.ack.is_some()
    }

    /// The message that the server takes back with this.
    pub fn retracts(&self) -> Option<DateTime<Utc>> {
        let tim = self.retract.as_ref().filter(|_| self.is_the_servers())?;
        tim.as_str()?.parse().ok()
    }

    /// How long to wait before the same can be sent again, where it is only too
    /// early: a day at most.
    pub fn too_early(&self) -> Option<Duration> {
        let early = self.is_notice() && self.err.as_ref()?.as_str() == Some("rate-limited");
        let secs = self.wait.as_ref().filter(|_| early)?.as_u64()?;
        Some(Duration::from_secs(secs).min(WAIT_MAX))
    }

    /// Whether this is the message that went out with that id.
    pub fn has_id(&self, id: &str) -> bool {
        self.id.as_ref().and_then(Value::as_str) == Some(id)
    }
}

/// The JSON text of a message. The room passes `id` on like every field that
/// it does not know, so its coming back is the receipt.
///
/// # Examples
///
/// ```
/// let text = wschat::client::encode("ci", "build is green", "7f", None);
/// assert_eq!(text, r#"{"usr":"ci","msg":"build is green","id":"7f"}"#);
/// ```
pub fn encode(usr: &str, msg: &str, id: &str, jwt: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Outgoing<'a> {
        usr: &'a str,
        msg: &'a str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        jwt: Option<&'a str>,
    }
    serde_json::to_string(&Outgoing { usr, msg, id, jwt }).expect("strings are always JSON")
}

/// The JSON text of a moderator's command.
///
/// # Examples
///
/// ```
/// let text = wschat::client::encode_command("ann", &serde_json::json!({"kick": "bob"}), None);
/// assert_eq!(text, r#"{"usr":"ann","cmd":{"kick":"bob"}}"#);
/// ```
pub fn encode_command(usr: &str, cmd: &Value, jwt: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Outgoing<'a> {
        usr: &'a str,
        cmd: &'a Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        jwt: Option<&'a str>,
    }
    serde_json::to_string(&Outgoing { usr, cmd, jwt }).expect("JSON is always JSON")
}

/// A time as the server writes it.
pub fn tim_text(tim: DateTime<Utc>) -> String {
    tim.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// An id that no other client has: 96 random bits in hexadecimal.
///
/// # Panics
///
/// If the system has no randomness to give, without which TLS could not work
/// either.
pub fn new_id() -> String {
    let mut bytes = [0; 12];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in() {
        let full =
            r#"{"usr":"a","msg":"b","id":"7f","x":1,"tim":"2020-08-11T22:26:58.118678679Z"}"#;
        let message = Incoming::parse(full).unwrap();
        assert_eq!((message.usr.as_str(), message.msg.as_str()), ("a", "b"));
        assert_eq!(message.tim.unwrap().timestamp_subsec_nanos(), 118_678_679);
        assert!(message.has_id("7f") && !message.has_id("7"));
        assert!(!message.is_notice());

        let notice = r#"{"usr":"wschat","msg":"not sent: no","err":"bad-json","tim":"?"}"#;
        assert!(Incoming::parse(notice).unwrap().is_notice());
        let tim = message.tim.unwrap();
        assert_eq!(tim_text(tim), "2020-08-11T22:26:58.118678679Z");
        assert!(Incoming::parse(r#"{"usr":"a","msg":"b","id":7}"#).is_some());
        assert_eq!(Incoming::parse(r#"{"usr":"a"}"#), None);
        assert_eq!(Incoming::parse("no JSON"), None);
    }

    #[test]
    fn what_no_value_can_hold_hides_no_message() {
        let names = ["id", "err", "wait", "ack", "retract", "tim", "x", "\\ud800"];
        for value in ["1e999", r#""\udfff""#, r#"{"\udfff":[-1e999]}"#, "null"] {
            for name in names {
                let json = format!(r#"{{"usr":"a","msg":"b","{name}":{value}}}"#);
                let message = Incoming::parse(&json).expect(&json);
                assert!(!message.is_notice() && !message.has_id(""), "{json}");
                assert_eq!((message.tim, message.msg.as_str()), (None, "b"), "{json}");
            }
        }
    }

    #[test]
    fn what_is_only_too_early() {
        let check = |fields: &str, want: Option<u64>| {
            let json = format!(r#"{{"usr":"wschat","msg":"not sent",{fields}}}"#);
            let got = Incoming::parse(&json).unwrap().too_early();
            assert_eq!(got.map(|wait| wait.as_secs()), want, "{fields}");
        };
        check(r#""err":"rate-limited","wait":7"#, Some(7));
        check(r#""err":"rate-limited","wait":18446744073709551615"#, Some(86_400));
        check(r#""err":"rate-limited","wait":-1"#, None);
        check(r#""err":"rate-limited","wait":"7""#, None);
        check(r#""err":"rate-limited""#, None);
        check(r#""err":"muted","wait":7"#, None);
        check(r#""err":7,"wait":7"#, None);
        check(r#""ack":"slow","wait":7"#, None);
    }

    #[test]
    fn what_goes_out() {
        let text = encode("a\"", "b\n", "1", Some("x.y.z"));
        assert_eq!(text, r#"{"usr":"a\"","msg":"b\n","id":"1","jwt":"x.y.z"}"#);
        assert_ne!(new_id(), new_id());
    }
}
