//! The rows of the list of clients for operators.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::chat::{Moderation, SpeakerId, Tim};
use crate::feed::Encoding;
use crate::room::{TrafficRates, TrafficTotals};
use crate::server::shard::connection::FeedState;
use crate::server::socket::{self, Peer};

/// One client of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its id; ids increase in the order of joining.
    pub id: u64,
    /// `IP:PORT`, or `unix`.
    #[serde(with = "socket::peer_text")]
    pub address: Peer,
    /// [The name in its last message](crate::chat::Speaker::name); empty if it sent none.
    pub usr: String,
    /// The `sub` of its last token.
    pub sub: Option<String>,
    /// Whether that token makes it a moderator.
    pub moderator: bool,
    /// Whether it is muted, if [`Self::set_muted`] was called.
    pub muted: bool,
    /// When it joined.
    pub since: DateTime<Utc>,
    /// What it has sent.
    #[serde(flatten)]
    pub totals: TrafficTotals,
    /// What it sends.
    #[serde(flatten)]
    pub rates: TrafficRates,
    /// Bytes of the feed that it has not been sent yet.
    pub behind_bytes: u64,
    /// How it gets the feed.
    pub state: FeedState,
    /// How it is connected: `ws` or `sse`.
    pub transport: Encoding,
}

impl ClientRow {
    /// Looks up whether the client is muted.
    pub fn set_muted(&mut self, moderation: &Moderation, now: Tim) {
        let speaker = SpeakerId {
            usr: &self.usr,
            sub: self.sub.as_deref(),
            address: self.address.block(),
            is_moderator: self.moderator,
        };
        self.muted = moderation.is_muted(&speaker, now);
    }
}

/// Some clients of a shard.
///
/// A shard is listed from its last row to its first. A connection that moves to another
/// row meanwhile moves to an earlier one: it may be listed twice, but is never left out.
#[derive(Debug)]
pub struct ClientChunk {
    /// The clients.
    pub clients: Vec<ClientRow>,
    /// The rows before this one are not listed yet.
    pub before: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Peer {
        Peer::tcp(address.parse().unwrap())
    }

    #[test]
    fn a_row_is_one_json_object_and_back() {
        let row = ClientRow {
            id: 7,
            address: tcp("127.0.0.1:4711"),
            usr: "ann".into(),
            sub: None,
            moderator: false,
            muted: false,
            since: DateTime::from_timestamp(1_700_000_007, 0).unwrap(),
            totals: TrafficTotals { messages: 2, refused: 3, rate_limited: 1, received_bytes: 500 },
            rates: TrafficRates { messages_per_sec: 0.5, ..TrafficRates::default() },
            transport: Encoding::Frames,
            behind_bytes: 9,
            state: FeedState::Swept,
        };
        let json = r#"{"id":7,"address":"127.0.0.1:4711","usr":"ann","sub":null,"moderator":false,"muted":false,"since":"2023-11-14T22:13:27Z","messages":2,"refused":3,"rate_limited":1,"received_bytes":500,"messages_per_sec":0.5,"refused_per_sec":0.0,"received_bytes_per_sec":0.0,"behind_bytes":9,"state":"swept","transport":"ws"}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        for address in [tcp("127.0.0.1:4711"), tcp("[::1]:80"), tcp("192.0.2.1:0"), Peer::Unix] {
            let row = ClientRow { address, ..row.clone() };
            let json = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<ClientRow>(&json).unwrap(), row);
        }
    }

    #[test]
    fn a_row_of_an_older_daemon_is_read() {
        let json = r#"{"id":7,"address":"unix","usr":"","sub":null,"moderator":false,"muted":false,"since":"2023-11-14T22:13:27Z","messages":2,"behind_bytes":9,"state":"swept","transport":"ws"}"#;
        let row: ClientRow = serde_json::from_str(json).unwrap();
        assert_eq!(row.totals, TrafficTotals { messages: 2, ..TrafficTotals::default() });
    }
}
