//! What a shard counts of each message: for the room, and for the address of its sender.

use std::collections::HashMap;

use crate::chat::{AddressBlock, Now, Refusal, Refused};
use crate::room::{Participant, Traffic};
use crate::server::client_log::{ClientEvent, ClientLog};
use crate::server::counters::Counters;
use crate::server::shard::post::PostAnswer;
use crate::server::socket::Peer;

/// The most addresses in memory, of each shard. Then it forgets half of them.
const ADDRESSES_MAX: usize = 1024;

/// What the addresses have sent that have sent something, with connections that are gone and by
/// POST: a client that connects again and again is one address.
#[derive(Debug, Default)]
pub(crate) struct AddressTraffic(HashMap<AddressBlock, Traffic>);

impl AddressTraffic {
    /// What the clients at this address have sent, to be counted on.
    pub fn of(&mut self, address: AddressBlock, ms: u64) -> &mut Traffic {
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.forget_half(ms);
        }
        self.0.entry(address).or_default()
    }

    /// Each address.
    pub fn iter(&self) -> impl Iterator<Item = (AddressBlock, &Traffic)> {
        self.0.iter().map(|(address, traffic)| (*address, traffic))
    }

    /// Forgets those that send the least: lately, and in all.
    fn forget_half(&mut self, ms: u64) {
        let rank = |(address, traffic): (&AddressBlock, &Traffic)| {
            let rates = traffic.rates(ms);
            let lately = (rates.messages_per_sec * 10.0) as u64;
            (lately, traffic.totals().received_bytes, *address)
        };
        let mut ranks: Vec<_> = self.0.iter().map(rank).collect();
        let half = ranks.len() / 2;
        ranks.select_nth_unstable(half);
        for (_, _, address) in &ranks[..half] {
            self.0.remove(address);
        }
    }
}

/// Where a message is counted.
pub(super) struct Tally<'a> {
    pub counters: &'a mut Counters,
    pub addresses: &'a mut AddressTraffic,
}

impl Tally<'_> {
    /// Counts a message that is sent.
    pub fn sent(&mut self, address: AddressBlock, ms: u64) {
        self.counters.messages += 1;
        self.addresses.of(address, ms).add_message(ms);
    }

    /// Counts a message that is refused.
    pub fn refused(&mut self, refused: Refused, address: AddressBlock, ms: u64) {
        self.counters.refused[refused.refusal as usize] += 1;
        self.addresses.of(address, ms).add_refused(is_rate_limited(refused), ms);
    }

    /// Counts and logs a message by POST that is refused. The HTTP server counts what is
    /// unavailable, because it decides that too.
    pub fn refused_post(
        &mut self,
        refused: Refused,
        peer: Peer,
        client_log: &ClientLog,
        now: Now,
    ) -> PostAnswer {
        if refused.refusal != Refusal::Unavailable {
            self.refused(refused, peer.block(), now.ms);
        }
        client_log.note(ClientEvent::Refused(refused.refusal), peer, None, now.ms);
        PostAnswer::refused(refused, now.tim)
    }
}

/// Counts a refused message for its connection.
pub(super) fn add_refused(participant: &mut Participant, refused: Refused, ms: u64) {
    participant.traffic_mut().add_refused(is_rate_limited(refused), ms);
}

fn is_rate_limited(refused: Refused) -> bool {
    refused.refusal == Refusal::RateLimited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_send_most_are_kept() {
        let address = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            AddressBlock(bytes)
        };
        let mut traffic = AddressTraffic::default();
        traffic.of(address(0), 0).add_received(1 << 40, 0);
        for number in 1..100_000 {
            traffic.of(address(number), 0).add_received(1, 0);
            assert!(traffic.0.len() <= ADDRESSES_MAX);
        }
        let most = traffic.iter().map(|(_, traffic)| traffic.totals().received_bytes).max();
        assert_eq!(most, Some(1 << 40));
        assert!(traffic.0.len() >= ADDRESSES_MAX / 2);
    }
}
