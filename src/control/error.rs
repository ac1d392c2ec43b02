//! Why a request at the control socket failed, for programs and for people.

use serde::{Deserialize, Serialize};

/// The answer to a peer that may not use the control socket.
pub const FORBIDDEN: &str = "only root, the daemon's user and members of its group may use the \
    control socket; members of wschat-monitor may read";

/// The answer to a request for more than reading at the socket for monitoring.
pub const READ_ONLY: &str = "members of wschat-monitor may only read; for all else be root or a \
    member of the daemon's group, wschat";

/// The answer to a request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}")]
pub struct ControlError {
    /// For programs.
    pub err: ErrorCode,
    /// For people.
    pub msg: String,
    /// The problems of a configuration, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The kinds of a [`ControlError`]; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The line is not a valid request.
    BadRequest,
    /// The peer may not use the control socket.
    Forbidden,
    /// Too many connections are open.
    Busy,
    /// The daemon is stopping, or does not answer in time, or its cluster cannot be reached.
    Unavailable,
    /// The new configuration is invalid; the old one stays in force.
    ConfigRejected,
    /// The action is impossible; for example, no such user is muted.
    NotDone,
    /// It is not known whether it was done; or this version does not know the code.
    #[serde(other)]
    Unknown,
}

impl ControlError {
    /// An error without problems of a configuration.
    pub fn new(err: ErrorCode, msg: impl Into<String>) -> Self {
        Self { err, msg: msg.into(), problems: Vec::new() }
    }
}
