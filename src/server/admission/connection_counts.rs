//! Counts the open connections: of the room, of each shard and of each address.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::chat::AddressBlock;
use crate::config::Limits;
use crate::feed::Encoding;
use crate::mutex::lock;
use crate::server::admission::addresses::Addresses;
use crate::server::admission::rejection::Rejection;
use crate::server::socket::Peer;

/// The open connections.
pub struct ConnectionCounts {
    room: Arc<Mutex<RoomCounts>>,
    /// Of each shard, in the order of the encodings.
    shards: Vec<[Arc<ShardCount>; 2]>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct RoomCounts {
    open: usize,
    peak: usize,
    addresses: Addresses,
    /// That of [`ConnectionCounts`].
    changed: Arc<Notify>,
}

/// The connections of a shard with one encoding: a permit has no room for the encoding.
struct ShardCount {
    number: usize,
    open: AtomicUsize,
    room: Arc<Mutex<RoomCounts>>,
}

/// Counts one connection, from its admission until this is dropped.
pub struct ConnectionPermit {
    peer: Peer,
    shard: Arc<ShardCount>,
}

impl ConnectionCounts {
    /// No connections, of that many shards.
    pub fn new(shards: usize) -> Self {
        let changed = Arc::<Notify>::default();
        let counts = RoomCounts { changed: Arc::clone(&changed), ..RoomCounts::default() };
        let room = Arc::new(Mutex::new(counts));
        let shard =
            |number| Arc::new(ShardCount { number, open: 0.into(), room: Arc::clone(&room) });
        let shards = (0..shards.max(1)).map(|number| [shard(number), shard(number)]).collect();
        Self { room, shards, changed }
    }

    /// Counts another connection of `peer`, for the shard with the fewest of them. Without
    /// `limits` there is always room for it. `now_us` is any clock in microseconds.
    ///
    /// # Errors
    ///
    /// Which limit it exceeds.
    pub fn admit(
        &self,
        peer: Peer,
        encoding: Encoding,
        limits: Option<&Limits>,
        now_us: u64,
    ) -> Result<ConnectionPermit, Rejection> {
        let mut room = lock(&self.room);
        if let Some(limits) = limits {
            if room.open >= limits.connections_max {
                return Err(Rejection::Full);
            }
            room.addresses.check(peer.block(), limits, now_us)?;
        }
        room.open += 1;
        room.changed.notify_one();
        room.peak = room.peak.max(room.open);
        room.addresses.enter(peer.block());
        let open =
            |counts: &&[Arc<ShardCount>; 2]| counts.iter().map(|it| it.open()).sum::<usize>();
        let least = self.shards.iter().min_by_key(open).unwrap_or(&self.shards[0]);
        let shard = Arc::clone(&least[encoding as usize]);
        shard.open.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit { peer, shard })
    }

    /// Counts a request of `peer` that opens no WebSocket.
    ///
    /// # Errors
    ///
    /// That the address sends them, or opens connections, too fast.
    pub fn check_rate(&self, peer: Peer, limits: &Limits, now_us: u64) -> Result<(), Rejection> {
        lock(&self.room).addresses.check_rate(peer.block(), limits, now_us)
    }

    /// How many connections from `block` are open.
    pub fn open_at(&self, block: AddressBlock) -> u32 {
        lock(&self.room).addresses.open(block)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        lock(&self.room).open
    }

    /// Notified of each connection that opens or closes. One who waits learns of a change before
    /// that, too.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// How many of the open connections are event streams.
    pub fn event_streams(&self) -> usize {
        // Admitting and leaving change the counts under this lock.
        let _room = lock(&self.room);
        self.shards.iter().map(|counts| counts[Encoding::Events as usize].open()).sum()
    }

    /// The most connections that were ever open.
    pub fn peak(&self) -> usize {
        lock(&self.room).peak
    }

    /// There were that many connections open in an earlier process.
    pub(crate) fn set_peak(&self, peak: usize) {
        lock(&self.room).peak = peak;
    }

    /// Forgets how fast each address connects.
    pub(crate) fn forget_rates(&self) {
        lock(&self.room).addresses.forget_rates();
    }
}

impl ShardCount {
    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl ConnectionPermit {
    /// The address of the client.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The number of the shard that gets the connection.
    pub(crate) fn shard(&self) -> usize {
        self.shard.number
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut room = lock(&self.shard.room);
        room.open -= 1;
        room.changed.notify_one();
        room.addresses.leave(self.peer.block());
        self.shard.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn peer(number: u8) -> Peer {
        Peer::tcp(([192, 0, 2, number], 1).into())
    }

    #[test]
    fn a_permit_counts_until_it_is_dropped() {
        let counts = ConnectionCounts::new(2);
        let mut limits = Config::default().limits;
        (limits.connections_max, limits.connections_per_address_max) = (3, 2);
        let admit = |number| counts.admit(peer(number), Encoding::Frames, Some(&limits), 0);
        let [first, second] = [admit(1).unwrap(), admit(1).unwrap()];
        assert_eq!([first.shard(), second.shard()], [0, 1], "the least loaded shard");
        assert_eq!(admit(1).err(), Some(Rejection::AddressFull));
        let third = admit(2).unwrap();
        assert_eq!(admit(3).err(), Some(Rejection::Full));
        drop(second);
        assert_eq!((counts.open(), counts.peak()), (2, 3));
        assert_eq!(admit(1).map(|permit| permit.shard()).ok(), Some(1));
        let more = [(); 3].map(|()| counts.admit(peer(2), Encoding::Events, None, 0).ok());
        assert_eq!((counts.open(), counts.peak(), counts.event_streams()), (5, 5, 3));
        limits.connections_max = 9;
        let admit = |number| counts.admit(peer(number), Encoding::Frames, Some(&limits), 0);
        assert_eq!(admit(2).err(), Some(Rejection::AddressFull), "it has more than the limit");
        drop((first, third, more));
        assert_eq!((counts.open(), counts.peak(), counts.event_streams()), (0, 5, 0));
        assert!(lock(&counts.room).addresses.is_empty());
    }

    #[test]
    fn a_rejected_connection_uses_up_nothing() {
        let counts = ConnectionCounts::new(1);
        let mut limits = Config::default().limits;
        (limits.connections_max, limits.connects_per_address_per_sec) = (1, 1);
        let admit = || counts.admit(peer(1), Encoding::Frames, Some(&limits), 0);
        let first = admit().unwrap();
        (0..9).for_each(|_| assert_eq!(admit().err(), Some(Rejection::Full)));
        drop(first);
        let admitted = (0..9).take_while(|_| admit().is_ok()).count();
        assert_eq!((admitted, admit().err()), (4, Some(Rejection::AddressRate)));
        counts.forget_rates();
        assert!(admit().is_ok());
    }
}
