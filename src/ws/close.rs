//! Every reason for which the server closes a connection, in one table.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a connection ends: a status code (RFC 6455, section 7.4) and a reason in
/// words. It goes into the close frame and, by its code, into the statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// The client's own close frame is answered with its code.
    pub fn answer(code: Option<u16>) -> Self {
        Self::fixed(code.unwrap_or(NO_STATUS), "")
    }

    /// A listener whose place in the feed is gone.
    pub fn too_slow(messages: u64) -> Self {
        Self { code: 1013, reason: format!("too slow: {messages} messages behind").into() }
    }
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

/// Stands for a close frame without a body; never on the wire (section 7.1.5).
pub const NO_STATUS: u16 = 1005;

/// The server is stopped.
pub const GOING_AWAY: Close = Close::fixed(1001, "server stopped");
/// The client broke the framing rules of RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A text message that is not UTF-8.
pub const NOT_UTF8: Close = Close::fixed(1007, "text is not UTF-8");
/// No frame came for `idle_timeout_secs`.
pub const IDLE: Close = Close::fixed(1008, "idle");
/// A moderator or an operator closed it.
pub const KICKED: Close = Close::fixed(1008, "kicked");
/// A message over `message_bytes_max`.
pub const TOO_BIG: Close = Close::fixed(1009, "message too big");
/// The server restarts and cannot take the connection along.
pub const RESTART: Close = Close::fixed(1012, "server restarts");

/// The system has nothing left to wait for another connection with.
pub const NO_WATCH: Close = Close::fixed(1013, "try again later");

/// The framing rule that was broken, as the close frame names it.
pub const fn protocol_error(reason: &'static str) -> Close {
    Close::fixed(PROTOCOL_ERROR, reason)
}

/// Whether an endpoint may send this code in a close frame (section 7.4).
pub fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
