//! Answers about moderation. The request itself is a
//! [`ModAction`](crate::chat::ModAction).
//!
//! ```text
//! {"do":"moderate","act":{"mute":{"whom":{"name":"bob"},"secs":600}}}
//! {"ok":{"done":"muted \"bob\" for 600 s","connections":0}}
//! {"do":"moderate","act":{"kick":{"whom":{"id":7}}}}
//! {"do":"moderate","act":"lock"}
//! ```

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderated {
    /// In words.
    pub done: String,
    /// Connections that were closed.
    pub connections: usize,
}

/// What is decided now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Whether only moderators speak.
    pub locked: bool,
    /// The seconds between two messages, where they are not as configured.
    pub slow_mode_secs: Option<u32>,
    /// Who is muted.
    pub mutes: Vec<Muted>,
}

/// Somebody who is muted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    /// A name, in quotes and escaped, or an address.
    pub whom: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; if it is not said, until unmuted.
    pub until: Option<DateTime<Utc>>,
    /// Who did it.
    pub by: String,
}
