//! Requests to JetStream, and what we read of its answers.

use std::time::Duration;

use async_nats::{Client, Request, RequestErrorKind};
use bytes::Bytes;
use chrono::DateTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// How long an answer may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The error code of an answer: there is no such stream.
pub const STREAM_NOT_FOUND: u64 = 10059;

/// The error code of an answer: there is no such record.
const RECORD_NOT_FOUND: u64 = 10037;

/// The error code of an answer: the account may not use JetStream.
const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;

/// The error code of an answer: the server has no JetStream.
const NOT_ENABLED: u64 = 10076;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// Nobody answers such requests.
    #[error("JetStream is not enabled")]
    NotEnabled,
    /// JetStream has refused it.
    #[error("{description} ({err_code})")]
    Refused {
        /// The number of the error.
        err_code: u64,
        /// Its text.
        description: String,
    },
    /// The connection was lost, or the answer is not understood.
    #[error("{0}")]
    Other(String),
}

/// What is known of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct StreamInfo {
    /// Its configuration; all of it, because an update has to repeat it.
    pub config: Value,
    /// When it was created, in nanoseconds since the Unix epoch.
    #[serde(deserialize_with = "nanos")]
    pub created: u64,
    /// What it contains.
    pub state: StreamState,
    /// The time of its server at the answer, in nanoseconds since the Unix epoch.
    #[serde(rename = "ts", default, deserialize_with = "nanos")]
    pub time: u64,
}

/// What a stream contains.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct StreamState {
    /// The number of its records.
    pub messages: u64,
    /// Their bytes, with the fields that the server adds.
    pub bytes: u64,
    /// The sequence of the oldest.
    pub first_seq: u64,
    /// The sequence of the newest one that there has been.
    pub last_seq: u64,
}

/// One record of a stream.
#[derive(Debug, Deserialize)]
pub struct StoredRecord {
    /// Its sequence.
    pub seq: u64,
    /// The bytes of its header, in base64.
    #[serde(default)]
    pub hdrs: String,
    /// The bytes of its payload, in base64.
    #[serde(default)]
    pub data: String,
    /// When it was stored, in nanoseconds since the Unix epoch.
    #[serde(deserialize_with = "nanos")]
    pub time: u64,
}

#[derive(Deserialize)]
struct RecordAnswer {
    message: StoredRecord,
}

/// The acknowledgement of a publish.
#[derive(Debug, Deserialize)]
pub struct PubAck {
    /// The sequence of the record.
    #[serde(default)]
    pub seq: u64,
    /// Why it was not stored.
    pub error: Option<ErrorBody>,
}

/// The error in an answer.
#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    /// The number of the error.
    #[serde(default)]
    pub err_code: u64,
    /// Its text.
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Refused { error: ErrorBody },
    Result(T),
}

impl StreamInfo {
    /// Asks for what is known of `stream`.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn get(client: &Client, stream: &str) -> Result<Self, ApiError> {
        request(client, &format!("STREAM.INFO.{stream}"), None::<&Value>).await
    }
}

impl StoredRecord {
    /// Asks for one record of `stream`; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn get(client: &Client, stream: &str, seq: u64) -> Result<Option<Self>, ApiError> {
        let body = json!({ "seq": seq });
        let answer = request(client, &format!("STREAM.MSG.GET.{stream}"), Some(&body)).await;
        match answer {
            Ok(RecordAnswer { message }) => Ok(Some(message)),
            Err(ApiError::Refused { err_code: RECORD_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Sends a request to JetStream, and waits for the answer.
///
/// # Errors
///
/// [`ApiError`].
pub async fn request<T: DeserializeOwned>(
    client: &Client,
    subject: &str,
    body: Option<&impl Serialize>,
) -> Result<T, ApiError> {
    let other = |error: &dyn std::error::Error| ApiError::Other(error.to_string());
    let body = body.map(serde_json::to_vec).transpose().map_err(|error| other(&error))?;
    let payload = Bytes::from(body.unwrap_or_default());
    let request = Request::new().payload(payload).timeout(Some(REQUEST_TIMEOUT));
    let answer = client.send_request(format!("$JS.API.{subject}"), request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::TimedOut => ApiError::Timeout,
        RequestErrorKind::NoResponders => ApiError::NotEnabled,
        _ => other(&error),
    })?;
    match serde_json::from_slice(&answer.payload).map_err(|error| other(&error))? {
        Answer::Result(result) => Ok(result),
        Answer::Refused { error } => Err(match error.err_code {
            NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT => ApiError::NotEnabled,
            err_code => ApiError::Refused { err_code, description: error.description },
        }),
    }
}

/// A time of JetStream, in nanoseconds since the Unix epoch; 0 for an earlier one, as in the
/// answer about an empty stream.
fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
    Ok(time.timestamp_nanos_opt().and_then(|nanos| nanos.try_into().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let info = r#"{"type":"x","config":{"name":"s"},"created":"2026-01-02T03:04:05.123456789Z",
            "state":{"messages":2,"bytes":9,"first_seq":4,"first_ts":"x","last_seq":5},
            "ts":"0001-01-01T00:00:00Z"}"#;
        let Answer::Result(info) = serde_json::from_str::<Answer<StreamInfo>>(info).unwrap() else {
            panic!("an error");
        };
        assert_eq!((info.created, info.time), (1_767_323_045_123_456_789, 0));
        assert_eq!((info.state.messages, info.state.last_seq), (2, 5));
        let refused = r#"{"type":"x","error":{"code":404,"err_code":10059,"description":"no"}}"#;
        let answer = serde_json::from_str::<Answer<StreamInfo>>(refused).unwrap();
        assert!(matches!(answer, Answer::Refused { error } if error.err_code == STREAM_NOT_FOUND));
        let ack: PubAck = serde_json::from_str(r#"{"stream":"s","seq":7}"#).unwrap();
        assert_eq!((ack.seq, ack.error.is_none()), (7, true));
    }
}
