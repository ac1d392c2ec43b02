//! The control protocol: one line is one request or its reply, each a JSON object.
//!
//! ```text
//! {"do":"clients","sort":"behind","limit":10}
//! {"ok":{"total":412,"clients":[…]}}
//! {"do":"reload"}
//! {"err":"config-rejected","msg":"…","problems":["/etc/wschat.toml:7:15: …"]}
//! {"do":"moderate","act":{"mute":{"whom":{"name":"bob"},"secs":600}}}
//! {"ok":{"done":"muted \"bob\" for 600 s","connections":0}}
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::{ModAction, Tim};
use crate::control::error::{ControlError, ErrorCode};
use crate::server::{ClientFilter, SortKey, TopKey};

/// The longest request, in bytes, without its newline.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Report the state of the room. The reply is a [`Status`](crate::control::Status).
    Status {},
    /// Reload the configuration. The reply is a [`ReloadReport`](crate::control::ReloadReport) when the new
    /// configuration is in force, or a [`ControlError`] with all problems.
    Reload {
        /// What the caller knows against the new configuration, and the daemon cannot see: it
        /// is then rejected.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<String>,
    },
    /// List clients. The reply is [`Clients`](crate::control::Clients).
    Clients {
        /// The order.
        #[serde(default)]
        sort: SortKey,
        /// Whether to reverse the order.
        #[serde(default)]
        reverse: bool,
        /// How many clients to skip.
        #[serde(default)]
        offset: usize,
        /// How many clients to list then; at most [`ControlRequest::CLIENTS_MAX`].
        #[serde(default = "ControlRequest::clients_by_default")]
        limit: usize,
        /// Which clients.
        #[serde(default, skip_serializing_if = "ClientFilter::is_empty")]
        filter: ClientFilter,
    },
    /// Report which addresses and clients send most, are refused most or lag most. The reply
    /// is [`Top`](crate::control::Top).
    Top {
        /// The order.
        #[serde(default)]
        sort: TopKey,
        /// How many addresses, and how many clients; at most [`ControlRequest::CLIENTS_MAX`].
        #[serde(default = "ControlRequest::top_by_default")]
        limit: usize,
    },
    /// The reply is the metrics, as one string in the Prometheus text format.
    Metrics {},
    /// Moderate the room. The reply is a [`ModerateReply`](crate::control::ModerateReply).
    Moderate {
        /// The action.
        act: ModAction,
    },
    /// List mutes and other decisions of moderation. The reply is a [`ModerationStatus`](crate::control::ModerationStatus).
    Mutes {},
    /// Report what moderators and operators have decided, for another room. The reply is a
    /// [`Moderation`](crate::chat::Moderation).
    Moderation {},
}

impl ControlRequest {
    /// Whether it only reads what somebody who monitors the room may know.
    pub const fn is_monitoring(&self) -> bool {
        match self {
            Self::Status {}
            | Self::Clients { .. }
            | Self::Top { .. }
            | Self::Mutes {}
            | Self::Metrics {} => true,
            Self::Reload { .. } | Self::Moderate { .. } | Self::Moderation {} => false,
        }
    }

    /// The most clients in one reply.
    pub const CLIENTS_MAX: usize = 10_000;

    fn clients_by_default() -> usize {
        100
    }

    fn top_by_default() -> usize {
        10
    }
}

/// Parses one line.
///
/// # Errors
///
/// An [`ErrorCode::BadRequest`] that does not repeat the line.
///
/// # Examples
///
/// ```
/// use wschat::control::{ControlRequest, parse_request};
/// assert_eq!(parse_request(br#"{"do":"status"}"#), Ok(ControlRequest::Status {}));
/// assert!(parse_request(br#"{"do":"dance"}"#).is_err());
/// ```
pub fn parse_request(line: &[u8]) -> Result<ControlRequest, ControlError> {
    let bad = |what: &str| Err(ControlError::new(ErrorCode::BadRequest, what));
    if line.len() > LINE_BYTES_MAX {
        return bad("the request is too long");
    }
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) if error.is_data() => return bad(&why_invalid(line)),
        Err(_) => return bad("a request is one JSON object on a line"),
    };
    match request {
        ControlRequest::Clients { limit, .. } if limit > ControlRequest::CLIENTS_MAX => {
            bad("limit is over 10000; ask for the rest with offset")
        }
        ControlRequest::Top { limit, .. } if limit > ControlRequest::CLIENTS_MAX => {
            bad("limit is over 10000")
        }
        ControlRequest::Moderate { act } => match act.check() {
            Ok(()) => Ok(ControlRequest::Moderate { act }),
            Err(error) => bad(&error.to_string()),
        },
        request => Ok(request),
    }
}

/// Why `line`, which is JSON, is not a request.
fn why_invalid(line: &[u8]) -> String {
    let request: Value = serde_json::from_slice(line).unwrap_or_default();
    let text = |pointer| request.pointer(pointer).and_then(Value::as_str);
    match (text("/do"), text("/act/retract/tim").map(str::parse::<Tim>)) {
        (Some("moderate"), Some(Err(error))) => format!("tim: {error}"),
        (
            Some(
                name @ ("status" | "reload" | "clients" | "top" | "metrics" | "moderate" | "mutes"),
            ),
            _,
        ) => {
            format!("a field of the request {name} is missing, unknown or invalid; see wschat(8)")
        }
        _ => "no such request; see wschat(8)".to_owned(),
    }
}

/// The reply line to a request that was carried out, with its newline.
pub fn ok_reply(value: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Reply<'a, T> {
        ok: &'a T,
    }
    line(&Reply { ok: value })
}

/// The reply line to a request that was not carried out, with its newline.
pub fn error_reply(error: &ControlError) -> String {
    line(error)
}

/// Parses a reply line.
///
/// # Errors
///
/// The error in the reply, or [`ErrorCode::Unknown`] if the line is not a reply.
pub fn parse_reply<T: DeserializeOwned>(line: &str) -> Result<T, ControlError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Reply<T> {
        Ok { ok: T },
        Error(ControlError),
    }
    match serde_json::from_str(line) {
        Ok(Reply::Ok { ok }) => Ok(ok),
        Ok(Reply::Error(error)) => Err(error),
        Err(_) => Err(ControlError::new(ErrorCode::Unknown, "this version cannot read the reply")),
    }
}

/// One line of JSON, which escapes newlines in texts.
pub(super) fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(sort: SortKey, limit: usize) -> ControlRequest {
        let filter = ClientFilter::default();
        ControlRequest::Clients { sort, reverse: false, offset: 0, limit, filter }
    }

    #[test]
    fn valid_requests() {
        for (line, want) in [
            (r#"{"do":"status"}"#, ControlRequest::Status {}),
            (r#" {"do" : "reload" } "#, ControlRequest::Reload { problems: Vec::new() }),
            (
                r#"{"do":"reload","problems":["a"]}"#,
                ControlRequest::Reload { problems: vec!["a".to_owned()] },
            ),
            (r#"{"do":"metrics"}"#, ControlRequest::Metrics {}),
            (r#"{"do":"clients"}"#, clients(SortKey::Id, 100)),
            (r#"{"sort":"behind","do":"clients","limit":10000}"#, clients(SortKey::Behind, 10_000)),
            (r#"{"do":"top"}"#, ControlRequest::Top { sort: TopKey::Messages, limit: 10 }),
            (
                r#"{"do":"clients","limit":7,"filter":{"address":"unix","behind_bytes":1}}"#,
                ControlRequest::Clients {
                    sort: SortKey::Id,
                    reverse: false,
                    offset: 0,
                    limit: 7,
                    filter: ClientFilter {
                        address: Some("unix".parse().unwrap()),
                        behind_bytes: Some(1),
                        ..ClientFilter::default()
                    },
                },
            ),
            (
                r#"{"do":"moderate","act":"lock"}"#,
                ControlRequest::Moderate { act: ModAction::Lock },
            ),
        ] {
            assert_eq!(parse_request(line.as_bytes()), Ok(want.clone()), "{line}");
            let line = serde_json::to_string(&want).unwrap();
            assert_eq!(parse_request(line.as_bytes()), Ok(want), "{line}");
        }
    }

    #[test]
    fn invalid_requests() {
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
            r#"{"do":"clients","filter":{"address":"hunter2"}}"#,
            r#"{"do":"clients","filter":{"hunter2":1}}"#,
            r#"{"do":"top","limit":10001}"#,
            "\u{0}",
            &long,
            &deep,
        ] {
            let error = parse_request(line.as_bytes()).unwrap_err();
            assert_eq!(error.err, ErrorCode::BadRequest, "{line}");
            assert!(!error.msg.contains("hunter2"), "{line}");
        }
        assert!(parse_request(b"\xff").is_err());
    }

    #[test]
    fn an_error_names_the_invalid_part() {
        let field = |name| {
            format!("a field of the request {name} is missing, unknown or invalid; see wschat(8)")
        };
        let unknown = || "no such request; see wschat(8)".to_owned();
        let tim = || "tim: not a time like 2020-08-11T22:26:58.118678679Z".to_owned();
        for (line, want) in [
            (r#"{"do":"dance"}"#, unknown()),
            (r#"{"act":"lock"}"#, unknown()),
            ("[]", unknown()),
            (r#"{"do":"status","x":1}"#, field("status")),
            (r#"{"do":"reload","x":1}"#, field("reload")),
            (r#"{"do":"metrics","x":1}"#, field("metrics")),
            (r#"{"do":"mutes","x":1}"#, field("mutes")),
            (r#"{"do":"clients","sort":"x"}"#, field("clients")),
            (r#"{"do":"top","sort":"x"}"#, field("top")),
            (r#"{"do":"moderate","act":"dance"}"#, field("moderate")),
            (r#"{"do":"moderate","act":{"retract":{"tim":1}}}"#, field("moderate")),
            (r#"{"do":"moderate","act":{"retract":{"tim":"now"}}}"#, tim()),
        ] {
            assert_eq!(parse_request(line.as_bytes()).unwrap_err().msg, want, "{line}");
        }
    }

    #[test]
    fn a_reply_is_one_line_and_is_parsed_again() {
        let text = "two\nlines".to_owned();
        let line = ok_reply(&text);
        assert_eq!(line, "{\"ok\":\"two\\nlines\"}\n");
        assert_eq!(parse_reply(&line), Ok(text));

        let mut error = ControlError::new(ErrorCode::ConfigRejected, "no");
        error.problems = vec!["a:1:1: b".into()];
        let line = error_reply(&error);
        let want = r#"{"err":"config-rejected","msg":"no","problems":["a:1:1: b"]}"#;
        assert_eq!(line.trim_end(), want);
        assert_eq!(parse_reply::<String>(&line), Err(error));

        let later = r#"{"err":"too-tired","msg":"ask tomorrow","until":"six"}"#;
        assert_eq!(
            parse_reply::<String>(later),
            Err(ControlError::new(ErrorCode::Unknown, "ask tomorrow"))
        );
        assert_eq!(parse_reply::<String>("nonsense").unwrap_err().err, ErrorCode::Unknown);
    }
}
