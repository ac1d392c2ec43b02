//! The part of a connection that no sweep reads.

use crate::chat::{Bucket, Speaker, Tim};
use crate::feed::Encoding;
use crate::room::{Participant, Traffic, TrafficTotals};
use crate::server::admission::connection_counts::ConnectionPermit;
use crate::server::snapshot::ConnectionSnapshot;
use crate::server::socket::Peer;

/// So many bytes a client may send without messages before it has counters of its own: the pongs
/// of some weeks.
const IDLE_BYTES_MAX: u32 = 1 << 20;

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// An admitted connection on its way to a shard.
pub struct NewConnection {
    /// Its id, which is not used again in this room.
    pub id: u64,
    /// The encoding that it gets.
    pub encoding: Encoding,
    /// The position in the feed from which on it gets everything, but only messages with a
    /// `tim` that is greater than `after`.
    pub cursor: u64,
    /// See `cursor`.
    pub after: Option<Tim>,
    /// The text of a notice that it gets first.
    pub notice: Option<Vec<u8>>,
    /// Counts it until it is gone.
    pub permit: ConnectionPermit,
    /// When it joined, in seconds since the Unix epoch.
    pub since_secs: u64,
    /// The longest message that it may send, in bytes.
    pub message_bytes_max: u32,
}

/// The part of a connection that is rarely read. Times are those of the table's clock.
pub(crate) struct ColdState {
    pub id: u64,
    pub permit: ConnectionPermit,
    /// When it joined, in seconds since the Unix epoch, until 2106.
    pub since_secs: u32,
    pub message_bytes_max: u32,
    /// The bytes that were received while it had no counters of its own.
    idle_bytes: u32,
    /// When the last whole frame arrived.
    pub last_frame_ms: u64,
    pub ping_due_ms: u64,
    /// When the first ping was sent after the last frame, or [`NEVER`].
    pub pinged_ms: u64,
    /// Until when a lagging connection counts as one that reads.
    pub reads_until_ms: u64,
    /// The client has closed its sending side: it is read until nothing is left.
    pub ended: bool,
    /// It resumes at a position that is so far back that the gate does not wait for it.
    pub is_far_back: bool,
    pub participant: Participant,
}

impl ColdState {
    pub fn new(connection: NewConnection, ms: u64) -> Self {
        let NewConnection { id, permit, since_secs, message_bytes_max, .. } = connection;
        Self {
            id,
            permit,
            since_secs: u32::try_from(since_secs).unwrap_or(u32::MAX),
            message_bytes_max,
            idle_bytes: 0,
            last_frame_ms: ms,
            ping_due_ms: 0,
            pinged_ms: NEVER,
            reads_until_ms: 0,
            ended: false,
            is_far_back: true,
            participant: Participant::default(),
        }
    }

    /// Continues a connection of another process. `ms` is the table's clock, `now_ms` that
    /// of the shards.
    pub fn resume(
        snapshot: &ConnectionSnapshot,
        permit: ConnectionPermit,
        ms: u64,
        now_ms: u64,
    ) -> Self {
        let mut participant = match (snapshot.notices_whole_in_ms, &*snapshot.name) {
            (0, "") => Participant::default(),
            (full_in_ms, name) => {
                let notices = Bucket::resume(now_ms * 1000, full_in_ms.saturating_mul(1000));
                let has_sent = snapshot.messages > 0;
                Participant::resume(Speaker::resume(notices, name.to_owned(), has_sent))
            }
        };
        let totals = snapshot.totals();
        let mut idle_bytes = u32::try_from(totals.received_bytes).unwrap_or(u32::MAX);
        let is_idle = totals
            == TrafficTotals { received_bytes: idle_bytes.into(), ..TrafficTotals::default() };
        if participant.is_sender() || !is_idle || idle_bytes > IDLE_BYTES_MAX {
            *participant.traffic_mut() = Traffic::resume(totals);
            idle_bytes = 0;
        }
        Self {
            id: snapshot.id,
            permit,
            since_secs: u32::try_from(snapshot.since_secs).unwrap_or(u32::MAX),
            message_bytes_max: snapshot.message_bytes_max,
            idle_bytes,
            last_frame_ms: ms.saturating_sub(snapshot.last_frame_ago_ms),
            ping_due_ms: ms.saturating_add(snapshot.ping_in_ms),
            pinged_ms: NEVER,
            reads_until_ms: 0,
            ended: false,
            is_far_back: false,
            participant,
        }
    }

    /// Counts bytes that were received. Returns how many are now counted as those of a sender.
    pub fn add_received(&mut self, bytes: usize, now_ms: u64) -> u64 {
        let sum = u64::from(self.idle_bytes) + bytes as u64;
        match u32::try_from(sum) {
            Ok(sum) if sum <= IDLE_BYTES_MAX && !self.participant.is_sender() => {
                self.idle_bytes = sum;
                0
            }
            _ => {
                self.idle_bytes = 0;
                self.participant.traffic_mut().add_received(sum, now_ms);
                sum
            }
        }
    }

    /// The bytes that [`Self::add_received`] has not counted as those of a sender yet.
    pub fn take_uncounted(&mut self) -> u64 {
        std::mem::take(&mut self.idle_bytes).into()
    }

    /// What the client has sent so far.
    pub fn totals(&self) -> TrafficTotals {
        let mut totals = self.participant.traffic().totals();
        totals.received_bytes += u64::from(self.idle_bytes);
        totals
    }

    /// The address of the client.
    pub fn peer(&self) -> Peer {
        self.permit.peer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_received_bytes_costs_an_idle_connection_nothing() {
        let counts = crate::server::ConnectionCounts::new(1);
        let permit = counts.admit(Peer::Unix, Encoding::Frames, None, 0).unwrap();
        let mut cold = ColdState::new(
            NewConnection {
                id: 1,
                encoding: Encoding::Frames,
                cursor: 0,
                after: None,
                notice: None,
                permit,
                since_secs: 0,
                message_bytes_max: 0,
            },
            0,
        );
        assert_eq!(cold.add_received(IDLE_BYTES_MAX as usize - 1, 0), 0);
        assert!(!cold.participant.is_sender());
        assert_eq!(cold.add_received(2, 0), u64::from(IDLE_BYTES_MAX) + 1);
        assert!(cold.participant.is_sender(), "so many pongs are a flood");
        assert_eq!(cold.add_received(5, 0), 5);
        assert_eq!(cold.totals().received_bytes, u64::from(IDLE_BYTES_MAX) + 6);
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<ColdState>() <= 104, "{} bytes", size_of::<ColdState>());
    }
}
