//! The words of the control socket, without the socket: a line is a request or
//! its answer, each a JSON object.
//!
//! ```text
//! {"do":"clients","sort":"behind","limit":10}
//! {"ok":{"total":412,"clients":[…]}}
//! {"do":"reload"}
//! {"err":"config-rejected","msg":"…","problems":["/etc/wschat.toml:7:15: …"]}
//! ```

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chat::ModAction;
use crate::server::{ClientRow, SortKey};

/// The longest request, in bytes, its newline left out.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What is said to everybody else.
pub const FORBIDDEN: &str = "only root, the daemon's user and members of its group may ask";

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How is the room? Answered by a [`Status`].
    Status {},
    /// Read the configuration again. Answered by a [`Reloaded`] when the new one
    /// is in force, or by a [`ControlError`] with all that is wrong.
    Reload {},
    /// Who is there? Answered by [`Clients`].
    Clients {
        /// In which order.
        #[serde(default)]
        sort: SortKey,
        /// The other way round.
        #[serde(default)]
        reverse: bool,
        /// How many to leave out at the beginning.
        #[serde(default)]
        offset: usize,
        /// How many to list then; no more than [`Request::CLIENTS_MAX`].
        #[serde(default = "Request::clients_by_default")]
        limit: usize,
    },
    /// Answered by the metrics, as one string in the Prometheus text format.
    Metrics {},
    /// Moderate the room. Answered by a [`Moderated`](super::Moderated).
    Moderate {
        /// What is to be done.
        act: ModAction,
    },
    /// Who is muted, and what else is decided? Answered by
    /// [`Decisions`](super::Decisions).
    Mutes {},
}

impl Request {
    /// The most clients that one answer lists.
    pub const CLIENTS_MAX: usize = 10_000;

    fn clients_by_default() -> usize {
        100
    }
}

/// How the room is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the daemon, not of whoever asks.
    pub version: String,
    /// When the room was opened: by the first of the daemons that handed it over.
    pub started: DateTime<Utc>,
    /// Open WebSockets.
    pub listeners: usize,
    /// The most that there ever were.
    pub listeners_peak: usize,
    /// Messages sent to the room.
    pub messages: u64,
    /// Messages written to a socket to their end.
    pub deliveries: u64,
    /// Bytes of messages written to sockets.
    pub bytes_sent: u64,
    /// Over the last seconds.
    pub messages_per_sec: f64,
    /// Over the last seconds.
    pub deliveries_per_sec: f64,
    /// Over the last seconds.
    pub bytes_sent_per_sec: f64,
    /// Messages that were not sent, by the code of their notice.
    pub refused: BTreeMap<String, u64>,
    /// Connections that ended at the door, by the reason.
    pub refused_connections: BTreeMap<String, u64>,
    /// Listeners whose socket takes nothing at the moment.
    pub lagging: usize,
    /// Connections closed because they had fallen too far behind.
    pub closed_too_slow: u64,
    /// Bytes of the feed in memory.
    pub feed_bytes: u64,
    /// 1 at the start, and one more for every other configuration in force.
    pub config_generation: u64,
    /// When the configuration in force was loaded.
    pub config_loaded: DateTime<Utc>,
    /// The newer one that was rejected, if that was the last to be tried.
    pub config_rejected: Option<Rejected>,
    /// The record of messages.
    pub record: RecordStatus,
    /// How many restarts the connections have survived.
    pub restarts_survived: u64,
    /// Keys that tokens are verified with; without any, everybody may speak.
    pub keys: usize,
    /// Revoked tokens and speakers.
    pub revocations: usize,
    /// How many are muted.
    pub mutes: usize,
    /// Whether only moderators speak.
    pub locked: bool,
    /// Seconds between two messages of a speaker; 0 is no slow mode.
    pub slow_mode_secs: u64,
    /// Messages a second that a speaker may send in the long run; 0 is no limit.
    pub messages_per_sec_max: u32,
    /// Connections closed by an act of moderation.
    pub kicked: u64,
}

/// How the record of messages is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Messages that were written.
    pub recorded: u64,
    /// Messages that were not, and will not be.
    pub dropped: u64,
    /// Why nothing can be written now; none if all is well.
    pub failing: Option<String>,
}

/// A configuration that did not come into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// When it was tried.
    pub at: DateTime<Utc>,
    /// The first thing that is wrong with it.
    pub why: String,
}

/// A configuration that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Its generation.
    pub generation: u64,
    /// What should be different although it works, a line each.
    pub warnings: Vec<String>,
    /// Keys that have changed, which takes a restart.
    pub needs_restart: Vec<String>,
}

/// Some of those who are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// How many there are in all.
    pub total: usize,
    /// The page that was asked for.
    pub clients: Vec<ClientRow>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}")]
pub struct ControlError {
    /// For programs.
    pub err: Code,
    /// For people.
    pub msg: String,
    /// All that is wrong with a configuration, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The kinds of a [`ControlError`]; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is no request.
    BadRequest,
    /// The peer may not ask.
    Forbidden,
    /// Too many are asking.
    Busy,
    /// The daemon is ending, or does not answer in time.
    Unavailable,
    /// The configuration is no good; the old one stays in force.
    ConfigRejected,
    /// What was to be done cannot be: nobody of that name is muted, say.
    NotDone,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ControlError {
    /// A fault without problems of a configuration.
    pub fn new(err: Code, msg: impl Into<String>) -> Self {
        Self { err, msg: msg.into(), problems: Vec::new() }
    }
}

/// The request on a line.
///
/// # Errors
///
/// A [`Code::BadRequest`] that says what is wrong, without repeating the line.
///
/// # Examples
///
/// ```
/// use wschat::control::{Request, parse};
/// assert_eq!(parse(br#"{"do":"status"}"#), Ok(Request::Status {}));
/// assert!(parse(br#"{"do":"dance"}"#).is_err());
/// ```
pub fn parse(line: &[u8]) -> Result<Request, ControlError> {
    let bad = |what: &str| Err(ControlError::new(Code::BadRequest, what));
    if line.len() > LINE_BYTES_MAX {
        return bad("the request is too long");
    }
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) if error.is_data() => return bad("no such request; see wschat(8)"),
        Err(_) => return bad("a request is one JSON object on a line"),
    };
    match request {
        Request::Clients { limit, .. } if limit > Request::CLIENTS_MAX => {
            bad("limit is over 10000; ask for the rest with offset")
        }
        Request::Moderate { act } => match act.check() {
            Ok(()) => Ok(Request::Moderate { act }),
            Err(error) => bad(&error.to_string()),
        },
        request => Ok(request),
    }
}

/// The line, newline included, that answers a request that was carried out.
pub fn ok(value: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Answer<'a, T> {
        ok: &'a T,
    }
    line(&Answer { ok: value })
}

/// The line, newline included, that answers a request that was not.
pub fn sorry(fault: &ControlError) -> String {
    line(fault)
}

/// What an answer holds.
///
/// # Errors
///
/// The [`ControlError`] that it is, or an unknown one if it is no answer.
pub fn read<T: DeserializeOwned>(line: &str) -> Result<T, ControlError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer<T> {
        Ok { ok: T },
        ControlError(ControlError),
    }
    match serde_json::from_str(line) {
        Ok(Answer::Ok { ok }) => Ok(ok),
        Ok(Answer::ControlError(fault)) => Err(fault),
        Err(_) => {
            Err(ControlError::new(Code::Unknown, "the answer is not one that this version knows"))
        }
    }
}

/// Texts are the daemon's own; a newline in one is escaped by JSON.
fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(sort: SortKey, limit: usize) -> Request {
        Request::Clients { sort, reverse: false, offset: 0, limit }
    }

    #[test]
    fn lines_that_are_requests() {
        for (line, want) in [
            (r#"{"do":"status"}"#, Request::Status {}),
            (r#" {"do" : "reload" } "#, Request::Reload {}),
            (r#"{"do":"metrics"}"#, Request::Metrics {}),
            (r#"{"do":"clients"}"#, clients(SortKey::Id, 100)),
            (r#"{"sort":"behind","do":"clients","limit":10000}"#, clients(SortKey::Behind, 10_000)),
            (r#"{"do":"moderate","act":"lock"}"#, Request::Moderate { act: ModAction::Lock }),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(want.clone()), "{line}");
            let line = serde_json::to_string(&want).unwrap();
            assert_eq!(parse(line.as_bytes()), Ok(want), "{line}");
        }
    }

    #[test]
    fn lines_that_are_none() {
        let long = format!(r#"{{"do":"status"{}}}"#, " ".repeat(LINE_BYTES_MAX));
        let deep = "[".repeat(LINE_BYTES_MAX);
        for line in [
            "",
            "status",
            "null",
            "[]",
            "{}",
            r#"{"do":"status""#,
            r#"{"do":"status"}{"do":"status"}"#,
            r#"{"do":"hunter2"}"#,
            r#"{"do":"status","hunter2":1}"#,
            r#"{"do":"clients","limit":-1}"#,
            r#"{"do":"moderate","act":{"kick":{"whom":{"name":" "}}}}"#,
            r#"{"do":"moderate","act":{"retract":{"tim":"hunter2"}}}"#,
            r#"{"do":"clients","limit":10001}"#,
            r#"{"do":"clients","sort":"hunter2"}"#,
            "\u{0}",
            &long,
            &deep,
        ] {
            let fault = parse(line.as_bytes()).unwrap_err();
            assert_eq!(fault.err, Code::BadRequest, "{line}");
            assert!(!fault.msg.contains("hunter2"), "{line}");
        }
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn an_answer_is_one_line_and_is_read_again() {
        let text = "two\nlines".to_owned();
        let line = ok(&text);
        assert_eq!(line, "{\"ok\":\"two\\nlines\"}\n");
        assert_eq!(read(&line), Ok(text));

        let mut fault = ControlError::new(Code::ConfigRejected, "no");
        fault.problems = vec!["a:1:1: b".into()];
        let line = sorry(&fault);
        let want = r#"{"err":"config-rejected","msg":"no","problems":["a:1:1: b"]}"#;
        assert_eq!(line.trim_end(), want);
        assert_eq!(read::<String>(&line), Err(fault));

        let later = r#"{"err":"too-tired","msg":"ask tomorrow","until":"six"}"#;
        assert_eq!(read::<String>(later), Err(ControlError::new(Code::Unknown, "ask tomorrow")));
        assert_eq!(read::<String>("nonsense").unwrap_err().err, Code::Unknown);
    }
}
