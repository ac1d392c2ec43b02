//! Log lines about clients that are refused or disconnected, for operators and for fail2ban.
//!
//! A line has nothing that a client has written: an address, an id and a fixed reason. At most
//! one line a second is about one address block, and so many about all of them that a flood
//! from a million addresses fills neither the journal nor the memory. Where it comes from
//! trusted proxies alone, no line has an address: nobody may be banned for the clients of a
//! proxy.

use std::collections::HashMap;
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{Level, enabled, info};

use crate::address::TrustedProxy;
use crate::chat::{AddressBlock, Refusal};
use crate::mutex::lock;
use crate::server::admission::rejection::Rejection;
use crate::server::socket::Peer;

/// The shortest time between two lines about one address block.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most lines of one second about blocks without a line in the second before.
const FIRST_LINES_MAX: u32 = 32;
/// The most lines of one second about the other blocks, so that new blocks do not hide those
/// that go on. No more blocks than both together are stored.
const FURTHER_LINES_MAX: u32 = 32;

/// What has happened to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Its connection was not admitted.
    Rejected(Rejection),
    /// Its request was not valid HTTP, or no valid handshake.
    BadRequest,
    /// Its message was not sent.
    Refused(Refusal),
    /// Its connection was closed.
    Closed(CloseReason),
}

/// Why an open connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The tail has passed it.
    TooSlow,
    /// It violated RFC 6455.
    Protocol,
    /// A moderator or an operator closed it.
    Kicked,
}

/// Logs what happens to clients.
#[derive(Debug, Default)]
pub struct ClientLog {
    limiter: Mutex<Limiter>,
    proxies: RwLock<Vec<TrustedProxy>>,
    /// Notified when [`Self::repeat`] has something to do.
    noted: Notify,
}

/// An event that may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    event: ClientEvent,
    peer: Peer,
    /// The id of the connection, if it is open.
    id: Option<u64>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    noted: Noted,
    /// How many other events of the block have had no line since the last one.
    suppressed: u64,
}

/// Decides what is logged, and when.
#[derive(Debug, Default)]
struct Limiter {
    blocks: HashMap<AddressBlock, RecentBlock>,
    /// The second of the numbers that follow.
    second: u64,
    first_lines: u32,
    further_lines: u32,
    /// Events that have had no line and will have none.
    unlogged: u64,
}

/// A block that had a line within the last second or two.
#[derive(Debug)]
struct RecentBlock {
    logged_ms: u64,
    /// How many events followed, and the one that the next line is about.
    count: u64,
    next: Option<Noted>,
}

impl ClientEvent {
    /// What the field `WSCHAT_EVENT` says, and the beginning of the line.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rejected(_) | Self::BadRequest => ("connection-refused", "refused a connection"),
            Self::Refused(_) => ("message-refused", "refused a message"),
            Self::Closed(_) => ("connection-closed", "closed a connection"),
        }
    }

    /// The reason, as in the metrics.
    const fn reason(self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.name(),
            Self::BadRequest => "bad-request",
            Self::Refused(refusal) => refusal.code(),
            Self::Closed(CloseReason::TooSlow) => "too-slow",
            Self::Closed(CloseReason::Protocol) => "protocol",
            Self::Closed(CloseReason::Kicked) => "kicked",
        }
    }

    /// Whether the client itself is to blame: neither the server, nor a moderator, nor a page
    /// of somebody else in its browser. These events come first, or a flood of others could
    /// hide them.
    const fn is_offence(self) -> bool {
        match self {
            Self::Rejected(rejection) => matches!(
                rejection,
                Rejection::AddressFull | Rejection::AddressRate | Rejection::Late
            ),
            Self::BadRequest => false,
            Self::Refused(refusal) => !matches!(
                refusal,
                Refusal::Locked
                    | Refusal::Origin
                    | Refusal::MediaType
                    | Refusal::TooLarge
                    | Refusal::BadRequest
            ),
            Self::Closed(reason) => matches!(reason, CloseReason::Protocol),
        }
    }

    /// Whether it is logged: not if the server or its cluster is the reason.
    const fn is_logged(self) -> bool {
        !matches!(self, Self::Refused(Refusal::Unavailable | Refusal::Unknown))
    }
}

impl ClientLog {
    /// These proxies are trusted from now on.
    pub fn set_proxies(&self, proxies: &[TrustedProxy]) {
        // No code panics while it holds this lock.
        if let Ok(mut own) = self.proxies.write() {
            *own = proxies.to_vec();
        }
    }

    /// Logs an event of `peer` now or later, or counts it. `now_ms` is the clock of the shards.
    pub fn note(&self, event: ClientEvent, peer: Peer, id: Option<u64>, now_ms: u64) {
        if !event.is_logged() || !enabled!(Level::INFO) {
            return;
        }
        let line = lock(&self.limiter).note(Noted { event, peer, id }, now_ms);
        if let Some(line) = line {
            self.write(&line);
            self.noted.notify_one();
        }
    }

    /// Logs what was counted, a second after the last line of each block, for as long as this
    /// is polled.
    pub async fn repeat(&self, now_ms: impl Fn() -> u64) {
        loop {
            self.noted.notified().await;
            loop {
                sleep(INTERVAL).await;
                self.write_due(now_ms());
                if lock(&self.limiter).blocks.is_empty() {
                    break;
                }
            }
        }
    }

    /// Logs all that was counted; the process ends.
    pub fn finish(&self) {
        self.write_due(u64::MAX);
    }

    fn write_due(&self, now_ms: u64) {
        let (lines, unlogged) = lock(&self.limiter).take_due(now_ms);
        lines.iter().for_each(|line| self.write(line));
        if unlogged > 0 {
            info!(
                suppressed = unlogged,
                "refused or closed clients of many addresses: {unlogged} events are not logged"
            );
        }
    }

    fn write(&self, line: &Line) {
        let Line { noted: Noted { event, peer, id }, suppressed } = *line;
        let ((name, text), reason) = (event.names(), event.reason());
        let is_proxy = self.proxies.read().is_ok_and(|proxies| peer.is_any_of(&proxies));
        let ip = match peer {
            Peer::Tcp(address) => address.ip().to_string(),
            Peer::Unix => peer.to_string(),
        };
        let (address, proxy) = if is_proxy { (None, Some(&*ip)) } else { (Some(&*ip), None) };
        // fail2ban can ban the network of an IPv6 address: a client has all of it.
        let network = peer.block().to_string();
        let network = address.is_some_and(|address| address != network).then_some(&*network);
        let mut whom = match network {
            Some(network) => format!("from {ip} ({network})"),
            None if is_proxy => format!("through the proxy {ip}"),
            None => format!("from {ip}"),
        };
        if let Some(id) = id {
            whom.push_str(&format!(", id {id}"));
        }
        let more = match suppressed {
            0 => String::new(),
            count => format!(", and {count} more events of this address"),
        };
        let suppressed = (suppressed > 0).then_some(suppressed);
        info!(
            event = name,
            address, network, proxy, id, reason, suppressed, "{text} {whom}: {reason}{more}"
        );
    }
}

impl Limiter {
    /// The line about an event, if there is one now.
    fn note(&mut self, noted: Noted, now_ms: u64) -> Option<Line> {
        let block = noted.peer.block();
        if let Some(recent) = self.blocks.get_mut(&block) {
            recent.count += 1;
            let is_hidden = |next: Noted| next.event.is_offence() || !noted.event.is_offence();
            if !recent.next.is_some_and(is_hidden) {
                recent.next = Some(noted);
            }
            return None;
        }
        self.start_second(now_ms);
        if self.first_lines >= FIRST_LINES_MAX {
            self.unlogged += 1;
            return None;
        }
        self.first_lines += 1;
        self.blocks.insert(block, RecentBlock { logged_ms: now_ms, count: 0, next: None });
        Some(Line { noted, suppressed: 0 })
    }

    /// The lines that are due, and how many events have none. Forgets blocks without events.
    fn take_due(&mut self, now_ms: u64) -> (Vec<Line>, u64) {
        self.start_second(now_ms);
        let mut lines = Vec::new();
        self.blocks.retain(|_, recent| {
            if now_ms.saturating_sub(recent.logged_ms) < INTERVAL.as_millis() as u64 {
                return true;
            }
            let Some(noted) = recent.next.take() else { return false };
            if self.further_lines >= FURTHER_LINES_MAX {
                self.unlogged += recent.count;
                return false;
            }
            self.further_lines += 1;
            lines.push(Line { noted, suppressed: recent.count - 1 });
            (recent.logged_ms, recent.count) = (now_ms, 0);
            true
        });
        (lines, std::mem::take(&mut self.unlogged))
    }

    fn start_second(&mut self, now_ms: u64) {
        let second = now_ms / 1000;
        if second != self.second {
            (self.second, self.first_lines, self.further_lines) = (second, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    const FLOOD: ClientEvent = ClientEvent::Refused(Refusal::RateLimited);
    const LOCKED: ClientEvent = ClientEvent::Refused(Refusal::Locked);

    fn noted(event: ClientEvent, number: u32, id: u64) -> Noted {
        let ip = IpAddr::from(number.to_be_bytes());
        Noted { event, peer: Peer::tcp((ip, 1).into()), id: Some(id) }
    }

    #[test]
    fn one_line_a_second_with_the_number_of_the_others() {
        let mut limiter = Limiter::default();
        let first = limiter.note(noted(LOCKED, 1, 7), 5_900).unwrap();
        assert_eq!(first, Line { noted: noted(LOCKED, 1, 7), suppressed: 0 });
        for (event, id) in [(LOCKED, 8), (FLOOD, 9), (LOCKED, 10), (FLOOD, 11)] {
            assert_eq!(limiter.note(noted(event, 1, id), 6_000), None);
        }
        assert!(limiter.note(noted(FLOOD, 2, 1), 6_000).is_some(), "another address");
        assert_eq!(limiter.take_due(6_800), (vec![], 0));
        let second = Line { noted: noted(FLOOD, 1, 9), suppressed: 3 };
        assert_eq!(limiter.take_due(6_900), (vec![second], 0), "an offence is not hidden");
        assert_eq!(limiter.note(noted(FLOOD, 1, 12), 7_000), None);
        let third = Line { noted: noted(FLOOD, 1, 12), suppressed: 0 };
        assert_eq!(limiter.take_due(7_900), (vec![third], 0));
        assert_eq!(limiter.take_due(8_900), (vec![], 0));
        assert!(limiter.blocks.is_empty());
    }

    #[test]
    fn fail2ban_counts_what_a_client_is_to_blame_for() {
        let filter = include_str!("../../packaging/examples/fail2ban-filter.conf");
        let reasons = filter.lines().find_map(|line| line.strip_prefix("reasons = ")).unwrap();
        let rejected = Rejection::ALL.into_iter().map(ClientEvent::Rejected);
        let refused = Refusal::ALL.into_iter().map(ClientEvent::Refused);
        let closed = [CloseReason::TooSlow, CloseReason::Protocol, CloseReason::Kicked];
        let all = rejected.chain(refused).chain(closed.map(ClientEvent::Closed));
        let offences = all.filter(|event| event.is_logged() && event.is_offence());
        let offences: BTreeSet<_> = offences.map(ClientEvent::reason).collect();
        assert_eq!(reasons.split('|').collect::<BTreeSet<_>>(), offences);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let mut limiter = Limiter::default();
        let note = |limiter: &mut Limiter, last: u16| {
            let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
            let noted = Noted { event: FLOOD, peer: Peer::tcp((ip, 1).into()), id: None };
            limiter.note(noted, 0).is_some()
        };
        let logged = (0..1000).filter(|last| note(&mut limiter, *last)).count();
        assert_eq!((logged, limiter.blocks.len()), (1, 1));
    }

    #[test]
    fn a_million_addresses_fill_neither_the_log_nor_the_memory() {
        let mut limiter = Limiter::default();
        let (mut lines, mut unlogged) = (0, 0);
        for second in 0..10 {
            for number in 0..100_000 {
                // A lasting offender comes after the new addresses, and is seen nevertheless.
                let number = if number % 1000 == 999 { 0 } else { second * 100_000 + number };
                lines += u64::from(
                    limiter.note(noted(FLOOD, number, 1), u64::from(second) * 1000).is_some(),
                );
            }
            let stored_max = (FIRST_LINES_MAX + FURTHER_LINES_MAX) as usize;
            assert!(limiter.blocks.len() <= stored_max, "{}", limiter.blocks.len());
            let (due, more) = limiter.take_due(u64::from(second) * 1000 + 1000);
            assert!(due.iter().any(|line| line.noted.peer == noted(FLOOD, 0, 1).peer), "{second}");
            lines += due.iter().map(|line| line.suppressed + 1).sum::<u64>();
            unlogged += more;
            assert!(due.len() <= FURTHER_LINES_MAX as usize);
        }
        assert_eq!(lines + unlogged, 1_000_000, "every event is counted");
    }
}
