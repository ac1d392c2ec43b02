//! How fast one may speak: a budget for each speaker, wherever and as often as
//! it connects.
//!
//! A speaker is who its token says it is (`sub`), or else the block of
//! addresses that it comes from. All its connections, on all shards, share one
//! [`Account`]; one that is whole again and that nobody holds is forgotten.

#![expect(clippy::disallowed_types, reason = "the accounts are to move to `room`")]

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::chat::bucket::{Bucket, Fill};
use crate::unicode::is_invisible;

/// How fast a speaker may speak. In all of it 0 means that there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Messages a second, in the long run.
    pub per_sec: u32,
    /// Messages at once, after a pause.
    pub burst: u32,
    /// Milliseconds between two messages.
    pub slow_ms: u64,
    /// Milliseconds between two messages of the same text, whatever is said between.
    pub repeat_ms: u64,
}

impl RateLimit {
    fn fill(&self) -> Fill {
        Fill::per_sec(self.per_sec, self.burst.max(1).into())
    }
}

/// The addresses that count as one: an IPv4 address, the /64 of an IPv6 one, or
/// all Unix sockets. Sixteen bytes to compare, whatever they stand for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AddressBlock(pub [u8; 16]);

impl AddressBlock {
    /// All Unix sockets together; no address, for nobody speaks from a multicast
    /// one.
    pub const UNIX: Self = Self([0xff; 16]);
}

impl AddressBlock {
    /// The first address of the block.
    pub(super) fn first_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for AddressBlock {
    /// The block that an address is in.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::AddressBlock;
    /// let block = |ip: &str| AddressBlock::from(ip.parse::<std::net::IpAddr>().unwrap());
    /// assert_eq!(block("2001:db8::1"), block("2001:db8::2"));
    /// assert_eq!(block("2001:db8::1").to_string(), "2001:db8::/64");
    /// assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
    /// assert_eq!(block("::ffff:192.0.2.1").to_string(), "192.0.2.1");
    /// ```
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets[8..].fill(0);
                Self(octets)
            }
        }
    }
}

/// As an operator writes it.
impl fmt::Display for AddressBlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from(self.0);
        match ip.to_ipv4_mapped() {
            _ if *self == Self::UNIX => out.write_str("unix"),
            Some(ip) => ip.fmt(out),
            None => write!(out, "{ip}/64"),
        }
    }
}

/// Who has an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccountKey {
    /// The bearer of tokens with this `sub`.
    Sub(Box<str>),
    /// Whoever comes from there without a `sub`.
    From(AddressBlock),
}

/// What one speaker has used up. Times are milliseconds of a clock that does
/// not step back and that all shards have in common.
pub struct Account {
    who: AccountKey,
    used: Mutex<Used>,
    /// How many bytes of it were served at the [gate](crate::room::Gate), as that counts.
    served: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Used {
    budget: Bucket,
    /// When a message was, and its text as a number: the newest one last, and before
    /// it those of other texts that may not be said again yet.
    said: Vec<(u64, u64)>,
}

impl Used {
    /// Takes one message from the budget, unless there are `wait_ms` to wait.
    fn take(&mut self, pace: &RateLimit, wait_ms: u64, now_ms: u64) -> Result<(), u64> {
        let now_us = now_ms.saturating_mul(1000);
        let fill = pace.fill();
        let for_budget_us = if pace.per_sec > 0 { self.budget.wait_us(now_us, fill) } else { 0 };
        match wait_ms.max(for_budget_us.div_ceil(1000)) {
            0 if pace.per_sec > 0 => self.budget.take(now_us, fill),
            0 => Ok(()),
            wait_ms => Err(wait_ms),
        }
    }
}

impl Account {
    /// The most texts of a speaker that are kept for comparison, 16 bytes each.
    const TEXTS_MAX: usize = 1024;

    fn new(who: AccountKey, used: Used) -> Arc<Self> {
        Arc::new(Self { who, used: Mutex::new(used), served: AtomicU64::new(0) })
    }

    /// Whose it is.
    pub(crate) fn who(&self) -> &AccountKey {
        &self.who
    }

    /// How many bytes of it were served at the gate, as that counts.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// So much of it was served now.
    pub(crate) fn advance(&self, served: u64) {
        self.served.fetch_max(served, Ordering::SeqCst);
    }

    /// Takes one message with this text from the budget.
    ///
    /// # Errors
    ///
    /// The milliseconds to wait, at least 1; then nothing is taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::{Accounts, AddressBlock, RateLimit, AccountKey};
    /// let pace = RateLimit { per_sec: 2, burst: 3, ..RateLimit::default() };
    /// let account = Accounts::default().account(&AccountKey::From(AddressBlock::default()), 0, &pace);
    /// assert_eq!((0..9).filter(|_| account.take(&pace, "hi", 0).is_ok()).count(), 3);
    /// assert_eq!(account.take(&pace, "hi", 100), Err(400));
    /// assert!(account.take(&pace, "hi", 500).is_ok());
    /// ```
    pub fn take(&self, pace: &RateLimit, text: &str, now_ms: u64) -> Result<(), u64> {
        let mut used = self.used();
        let digest = if pace.repeat_ms > 0 { digest(text) } else { 0 };
        // Another shard's turn may have begun a little later than ours.
        let left_ms =
            |pause_ms: u64, said_ms: u64| pause_ms.saturating_sub(now_ms.saturating_sub(said_ms));
        let last = used.said.last().map_or(0, |&(said_ms, _)| left_ms(pace.slow_ms, said_ms));
        let same = used.said.iter().rev().find(|(_, said)| *said == digest);
        let same = same.map_or(0, |&(said_ms, _)| left_ms(pace.repeat_ms, said_ms));
        used.take(pace, last.max(same), now_ms)?;
        used.said.retain(|&(said_ms, said)| said != digest && left_ms(pace.repeat_ms, said_ms) > 0);
        let too_many = (used.said.len() + 1).saturating_sub(Self::TEXTS_MAX);
        used.said.drain(..too_many);
        used.said.push((now_ms, digest));
        Ok(())
    }

    /// Takes a command from the budget: it has no text, and slow mode is not for
    /// whoever may give it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_command(&self, pace: &RateLimit, now_ms: u64) -> Result<(), u64> {
        self.used().take(pace, 0, now_ms)
    }

    /// Whether anything would be different without it, where `pace` is what holds
    /// for everybody.
    fn is_used(&self, now_ms: u64, pace: &RateLimit) -> bool {
        let used = self.used();
        let pause_ms = pace.slow_ms.max(pace.repeat_ms);
        used.budget.whole_in_us(now_ms.saturating_mul(1000)) > 0
            || used.said.last().is_some_and(|said| said.0.saturating_add(pause_ms) > now_ms)
    }

    /// Whether it has to be kept: a connection holds it, or it is in use.
    fn matters(self: &Arc<Self>, now_ms: u64, pace: &RateLimit) -> bool {
        Arc::strong_count(self) > 1 || self.is_used(now_ms, pace)
    }

    fn balance(&self, now_ms: u64) -> AccountSnapshot {
        let used = self.used();
        AccountSnapshot {
            who: self.who.clone(),
            whole_in_us: used.budget.whole_in_us(now_ms.saturating_mul(1000)),
            said: used.said.iter().map(|(ms, text)| (now_ms.saturating_sub(*ms), *text)).collect(),
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // It is whole after every step: no panic leaves it half changed.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accounts of all speakers.
#[derive(Default)]
pub struct Accounts(Mutex<Book>);

#[derive(Default)]
struct Book {
    accounts: HashMap<AccountKey, Arc<Account>>,
    /// How many there may be before those that nobody needs are looked for.
    full: usize,
}

/// What is left of an account for the next process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSnapshot {
    /// Whose it is.
    pub who: AccountKey,
    /// In how many microseconds it is whole.
    pub whole_in_us: u64,
    /// How many milliseconds ago a message was, and its text as a number; the newest
    /// last. Of none or one the bytes are those of an `Option`, as it once was.
    pub said: Vec<(u64, u64)>,
}

impl Accounts {
    /// Accounts below this number are not looked through for idle ones.
    const FEW: usize = 1024;

    /// The account of `who`, which may be a new one. `pace` is what holds for
    /// everybody, whatever may hold for `who`: it decides whose account is forgotten.
    pub fn account(&self, who: &AccountKey, now_ms: u64, pace: &RateLimit) -> Arc<Account> {
        let mut book = self.book();
        if let Some(account) = book.accounts.get(who) {
            return Arc::clone(account);
        }
        if book.accounts.len() >= book.full {
            book.accounts.retain(|_, account| account.matters(now_ms, pace));
            book.full = (book.accounts.len() * 2).max(Self::FEW);
            let full = book.full;
            book.accounts.shrink_to(full);
        }
        let account = Account::new(who.clone(), Used::default());
        book.accounts.insert(who.clone(), Arc::clone(&account));
        account
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.book().accounts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the next process has to know.
    pub fn account_snapshots(&self, now_ms: u64, pace: &RateLimit) -> Vec<AccountSnapshot> {
        let book = self.book();
        let used = book.accounts.values().filter(|account| account.is_used(now_ms, pace));
        used.map(|account| account.balance(now_ms)).collect()
    }

    /// Goes on with what another process left.
    pub fn resume(account_snapshots: &[AccountSnapshot], now_ms: u64) -> Self {
        let account = |balance: &AccountSnapshot| {
            let budget = Bucket::resume(now_ms.saturating_mul(1000), balance.whole_in_us);
            let said = balance.said.iter();
            let said = said.map(|(ago_ms, text)| (now_ms.saturating_sub(*ago_ms), *text)).collect();
            let account = Account::new(balance.who.clone(), Used { budget, said });
            (balance.who.clone(), account)
        };
        let accounts: HashMap<_, _> = account_snapshots.iter().map(account).collect();
        // Nobody holds an account yet, so none is looked for before they are many.
        let full = (accounts.len() * 2).max(Self::FEW);
        Self(Mutex::new(Book { accounts, full }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Accounts {
    // Who has spoken is nobody's business.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "accounts: {}", self.len())
    }
}

/// What is seen of a text, as a number. Another build may have another one for it: then a text is
/// not known again after an upgrade, once.
fn digest(text: &str) -> u64 {
    let seen: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let mut hasher = DefaultHasher::new();
    seen.trim().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: RateLimit = RateLimit { per_sec: 20, burst: 60, slow_ms: 0, repeat_ms: 0 };

    fn ann() -> AccountKey {
        AccountKey::Sub("ann".into())
    }

    #[test]
    fn what_counts_as_one_address() {
        let block = |text: &str| AddressBlock::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(block("192.0.2.7"), block("::ffff:192.0.2.7"));
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:0:0:1"));
        let others = ["192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8:0:1::1", "::1"];
        let mut blocks: Vec<_> =
            others.into_iter().map(block).chain([AddressBlock::UNIX]).collect();
        blocks.sort();
        blocks.dedup();
        assert_eq!(blocks.len(), others.len() + 1);
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let account = Accounts::default().account(&ann(), 0, &PACE);
        let sent: Vec<u64> =
            (0..2_000).filter(|&now_ms| account.take(&PACE, "", now_ms).is_ok()).collect();
        assert_eq!(sent.len(), 60 + 39, "a message each 50 ms, the first at 50");
        assert_eq!(account.take(&PACE, "", 2_000 - 1), Err(1));
    }

    #[test]
    fn zero_is_no_limit() {
        let account = Accounts::default().account(&ann(), 0, &RateLimit::default());
        assert!((0..100_000).all(|_| account.take(&RateLimit::default(), "", 0).is_ok()));
        assert!(account.take(&PACE, "", 0).is_ok(), "and leaves no debt");
        // The clock of one shard is a little behind that of another.
        assert_eq!(account.take(&RateLimit::default(), "", 7), Ok(()));
        assert_eq!(account.take(&RateLimit::default(), "", 5), Ok(()));
    }

    #[test]
    fn a_few_are_remembered_after_a_restart_though_slow_mode_is_off_for_a_while() {
        let (slow, off) =
            (RateLimit { slow_ms: 10_000, ..RateLimit::default() }, RateLimit::default());
        let accounts = Accounts::default();
        accounts.account(&ann(), 0, &slow).take(&slow, "hi", 0).unwrap();
        let accounts = Accounts::resume(&accounts.account_snapshots(1_000, &slow), 1_000);
        accounts.account(&AccountKey::Sub("bob".into()), 1_000, &off);
        assert_eq!(accounts.account(&ann(), 1_000, &slow).take(&slow, "ho", 1_000), Err(9_000));
    }

    #[test]
    fn slow_mode_counts_from_the_last_message_that_was_sent() {
        let pace = RateLimit { slow_ms: 10_000, ..RateLimit::default() };
        let account = Accounts::default().account(&ann(), 0, &pace);
        assert_eq!(account.take(&pace, "a", 5), Ok(()));
        assert_eq!(account.take(&pace, "b", 6), Err(9_999));
        assert_eq!(account.take(&pace, "b", 10_004), Err(1));
        assert_eq!(account.take(&pace, "b", 10_005), Ok(()));
        assert_eq!(account.take(&pace, "c", 10_005), Err(10_000));
        assert_eq!(account.take(&RateLimit::default(), "c", 10_005), Ok(()), "switched off");
    }

    #[test]
    fn the_same_text_again() {
        let pace = RateLimit { repeat_ms: 3_000, ..RateLimit::default() };
        let account = Accounts::default().account(&ann(), 0, &pace);
        assert_eq!(account.take(&pace, "buy", 0), Ok(()));
        assert_eq!(account.take(&pace, " buy ", 1_000), Err(2_000));
        assert_eq!(account.take(&pace, "\u{feff} b\u{200b}uy\u{3164}", 1_000), Err(2_000));
        assert_eq!(account.take(&pace, "sell", 1_000), Ok(()));
        assert_eq!(account.take(&pace, "buy", 1_000), Err(2_000), "whatever is said between");
        assert_eq!(account.take(&pace, "sell", 3_999), Err(1));
        assert_eq!(account.take(&pace, "buy", 3_000), Ok(()));
        assert_eq!(account.take(&pace, "sell", 4_000), Ok(()));
        assert_eq!(account.take(&pace, "buy", 5_999), Err(1), "counted from the last time");
    }

    #[test]
    fn the_texts_that_are_known_again_are_bounded() {
        let pace = RateLimit { repeat_ms: 3_000, ..RateLimit::default() };
        let account = Accounts::default().account(&ann(), 0, &pace);
        for text in 0..5_000 {
            assert_eq!(account.take(&pace, &text.to_string(), 0), Ok(()));
        }
        assert_eq!(account.used().said.len(), Account::TEXTS_MAX);
        assert_eq!(account.take(&pace, "3999", 0), Err(3_000));
        assert_eq!(account.take(&pace, "new", 3_000), Ok(()));
        assert_eq!(account.used().said.len(), 1, "the others may be said again");
    }

    #[test]
    fn who_comes_back_finds_the_same_account() {
        let accounts = Accounts::default();
        let take = |now_ms| accounts.account(&ann(), now_ms, &PACE).take(&PACE, "", now_ms);
        assert_eq!((0..100).filter(|_| take(0).is_ok()).count(), 60);
        // Many others come and go in the meantime.
        for guest in 0..100_000_u64 {
            let who = AccountKey::From(AddressBlock(u128::from(guest).to_le_bytes()));
            let _ =
                accounts.account(&who, 10 + guest / 1000, &PACE).take(&PACE, "", 10 + guest / 1000);
        }
        assert!(take(111).is_ok());
        assert_eq!((0..100).filter(|_| take(111).is_ok()).count(), 1, "2 in 111 ms, and no more");
        // When all are whole again they are forgotten.
        accounts.account(&AccountKey::Sub("last".into()), 100_000, &PACE);
        accounts.book().full = 0;
        accounts.account(&AccountKey::Sub("very last".into()), 100_000, &PACE);
        assert_eq!(accounts.len(), 1);
    }

    #[test]
    fn the_next_process_goes_on_with_it() {
        let pace = RateLimit { repeat_ms: 5_000, ..PACE };
        let accounts = Accounts::default();
        let account = accounts.account(&ann(), 0, &pace);
        assert_eq!(
            (0..100).filter(|n| account.take(&pace, &n.to_string(), 1_000).is_ok()).count(),
            60
        );
        accounts.account(&AccountKey::Sub("bob".into()), 0, &pace);
        let account_snapshots = accounts.account_snapshots(2_000, &pace);
        assert_eq!(account_snapshots.len(), 1, "bob has used nothing: {account_snapshots:?}");
        let next = Accounts::resume(&account_snapshots, 7_000_000);
        let account = next.account(&ann(), 7_000_000, &pace);
        for text in ["59", "0", "7"] {
            assert_eq!(account.take(&pace, text, 7_000_000), Err(4_000), "the same text");
        }
        let sent = (100..200).filter(|n| account.take(&pace, &n.to_string(), 7_000_000).is_ok());
        assert_eq!(sent.count(), 20, "one second is made up for");
    }

    proptest! {
        #[test]
        fn never_more_than_promised_and_the_wait_is_enough(
            per_sec in 1..1_000_u32,
            burst in 0..100_u32,
            steps in prop::collection::vec(0..300_u64, 1..200),
        ) {
            let pace = RateLimit { per_sec, burst, ..RateLimit::default() };
            let account = Accounts::default().account(&ann(), 0, &pace);
            let (mut now_ms, mut sent) = (0, 0);
            for step in steps {
                now_ms += step;
                match account.take(&pace, "", now_ms) {
                    Ok(()) => sent += 1,
                    Err(wait_ms) => {
                        now_ms += wait_ms;
                        prop_assert!(account.take(&pace, "", now_ms).is_ok());
                        sent += 1;
                    }
                }
                let most = u64::from(burst.max(1)) + now_ms * 1000 / pace.fill().interval_us;
                prop_assert!(sent <= most, "{sent} of {most}");
            }
        }

        #[test]
        fn no_figures_panic(
            per_sec: u32, burst: u32, slow_ms: u64, repeat_ms: u64, times: Vec<u64>,
        ) {
            let pace = RateLimit { per_sec, burst, slow_ms, repeat_ms };
            let account = Accounts::default().account(&ann(), 0, &pace);
            for now_ms in times {
                let _ = account.take(&pace, "", now_ms);
                account.balance(now_ms);
            }
        }
    }
}
