//! Every reason for which the server closes a connection, in one table.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a connection is closed: the status code (RFC 6455, section 7.4) and the reason of
/// the close frame. The code also selects the counter in the statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: Cow<'static, str>,
}

/// What the server does after it has written a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterClose {
    /// Drop the connection: both close frames were sent, and the server ends the
    /// stream first (RFC 6455, section 7.1.1).
    Drop,
    /// Wait for the client's close frame.
    AwaitClose,
    /// Ignore what the client sends, and wait for the end of its stream.
    AwaitEnd,
}

/// The client broke a rule of RFC 6455 or sent more than `message_bytes_max`. The fault
/// is always the client's, and nothing that follows in its stream has a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close frame that tells the client what it did (section 7.1.7).
    pub close: Close,
}

/// Stands for a close frame without a body; never sent as a code (section 7.1.5).
pub const NO_STATUS: u16 = 1005;

/// The server is stopped.
pub const GOING_AWAY: Close = Close::fixed(1001, "server stopped");
/// A text message or the reason of a close frame is not UTF-8.
pub const NOT_UTF8: Close = Close::fixed(1007, "text is not UTF-8");
/// No frame came for `idle_timeout_secs`.
pub const IDLE: Close = Close::fixed(1008, "idle");
/// A moderator or an operator closed the connection.
pub const KICKED: Close = Close::fixed(1008, "kicked");
/// A message is longer than `message_bytes_max`.
pub const TOO_BIG: Close = Close::fixed(1009, "message too big");
/// The server restarts and cannot hand the connection over.
pub const RESTART: Close = Close::fixed(1012, "server restarts");
/// The system has no epoll watch left for the connection.
pub const NO_WATCH: Close = Close::fixed(1013, "try again later");

/// The client broke a framing rule; the reason names the rule.
pub const fn protocol_error(rule: &'static str) -> Close {
    Close::fixed(1002, rule)
}

impl Close {
    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// Answers the client's close frame with the same code.
    pub fn answer(code: Option<u16>) -> Self {
        Self::fixed(code.unwrap_or(NO_STATUS), "")
    }

    /// The tail of the feed has passed the cursor of this listener.
    pub fn too_slow(messages: u64) -> Self {
        Self { code: 1013, reason: format!("too slow: {messages} messages behind").into() }
    }
}

impl Violation {
    /// A framing rule was broken.
    pub(super) const fn protocol(rule: &'static str) -> Self {
        Self { close: protocol_error(rule) }
    }
}

/// Whether an endpoint may send this code in a close frame (section 7.4).
pub(super) fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
