//! Accounts: what each speaker has used of its limits. All connections of a speaker,
//! on all shards, share one account.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::chat::{AddressBlock, RateLimit, Usage};
use crate::mutex::lock;

/// The owner of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccountKey {
    /// The bearer of tokens with this `sub`.
    Sub(Box<str>),
    /// Every client at this address that has no `sub`.
    Address(AddressBlock),
}

/// The account of one speaker. Times are milliseconds of a monotonic clock that all
/// shards share.
pub struct Account {
    key: AccountKey,
    usage: Mutex<Usage>,
    /// The bytes that the [gate](super::Gate) has served to the speaker.
    served: AtomicU64,
}

impl Account {
    fn new(key: AccountKey, usage: Usage) -> Arc<Self> {
        Arc::new(Self { key, usage: Mutex::new(usage), served: AtomicU64::new(0) })
    }

    pub(super) fn key(&self) -> &AccountKey {
        &self.key
    }

    /// The bytes that the gate has served to the speaker.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// Raises [`served`](Self::served) to this value.
    pub(super) fn advance(&self, served: u64) {
        self.served.fetch_max(served, Ordering::SeqCst);
    }

    pub(super) fn usage(&self) -> MutexGuard<'_, Usage> {
        lock(&self.usage)
    }

    fn snapshot(&self, now_ms: u64) -> AccountSnapshot {
        let usage = self.usage();
        let (full_in_us, sent_ago) = (usage.full_in_us(now_ms), usage.sent_ago(now_ms));
        AccountSnapshot { key: self.key.clone(), full_in_us, sent_ago }
    }
}

/// The accounts of all speakers. An account is removed when no connection uses it and
/// its limits are as for a new speaker.
#[derive(Default)]
pub struct Accounts(Mutex<AccountTable>);

#[derive(Default)]
struct AccountTable {
    accounts: HashMap<AccountKey, Arc<Account>>,
    /// The number of accounts at which unneeded ones are removed.
    cleanup_at: usize,
}

/// An account for the next process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSnapshot {
    /// The owner.
    pub key: AccountKey,
    /// [`Usage::full_in_us`].
    pub full_in_us: u64,
    /// [`Usage::sent_ago`]. With no or one entry it has the bytes of an `Option`, which it
    /// was in older versions.
    pub sent_ago: Vec<(u64, u64)>,
}

impl Accounts {
    /// Below this number no account is removed.
    const CLEANUP_MIN: usize = 1024;

    /// The accounts of another process.
    pub fn resume(snapshots: &[AccountSnapshot], now_ms: u64) -> Self {
        let account = |snapshot: &AccountSnapshot| {
            let usage = Usage::resume(now_ms, snapshot.full_in_us, &snapshot.sent_ago);
            (snapshot.key.clone(), Account::new(snapshot.key.clone(), usage))
        };
        let accounts: HashMap<_, _> = snapshots.iter().map(account).collect();
        // No connection uses an account yet.
        let cleanup_at = (accounts.len() * 2).max(Self::CLEANUP_MIN);
        Self(Mutex::new(AccountTable { accounts, cleanup_at }))
    }

    /// Finds or makes an account. `limit` is the limit for speakers who are not
    /// moderators: it decides which accounts can be removed.
    pub(super) fn account(&self, key: &AccountKey, now_ms: u64, limit: &RateLimit) -> Arc<Account> {
        let mut table = self.table();
        if let Some(account) = table.accounts.get(key) {
            return Arc::clone(account);
        }
        if table.accounts.len() >= table.cleanup_at {
            table.accounts.retain(|_, account| {
                Arc::strong_count(account) > 1 || account.usage().is_needed(limit, now_ms)
            });
            let cleanup_at = (table.accounts.len() * 2).max(Self::CLEANUP_MIN);
            table.cleanup_at = cleanup_at;
            table.accounts.shrink_to(cleanup_at);
        }
        let account = Account::new(key.clone(), Usage::default());
        table.accounts.insert(key.clone(), Arc::clone(&account));
        account
    }

    /// The number of accounts.
    pub(super) fn count(&self) -> usize {
        self.table().accounts.len()
    }

    /// The accounts that make a difference for the next process.
    pub(super) fn snapshots(&self, now_ms: u64, limit: &RateLimit) -> Vec<AccountSnapshot> {
        let table = self.table();
        let needed = table.accounts.values();
        let needed = needed.filter(|account| account.usage().is_needed(limit, now_ms));
        needed.map(|account| account.snapshot(now_ms)).collect()
    }

    fn table(&self) -> MutexGuard<'_, AccountTable> {
        lock(&self.0)
    }
}

impl fmt::Debug for Accounts {
    // A log must not contain who has spoken.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "accounts: {}", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { per_sec: 20, burst: 60, slow_ms: 0, repeat_ms: 0 };

    fn key(sub: &str) -> AccountKey {
        AccountKey::Sub(sub.into())
    }

    #[test]
    fn snapshots_survive_while_slow_mode_is_off() {
        let (slow, off) =
            (RateLimit { slow_ms: 10_000, ..RateLimit::default() }, RateLimit::default());
        let accounts = Accounts::default();
        accounts.account(&key("ann"), 0, &slow).usage().count_message(&slow, "hi", 0).unwrap();
        let accounts = Accounts::resume(&accounts.snapshots(1_000, &slow), 1_000);
        accounts.account(&key("bob"), 1_000, &off);
        let ann = accounts.account(&key("ann"), 1_000, &slow);
        assert_eq!(ann.usage().count_message(&slow, "ho", 1_000), Err(9_000));
    }

    #[test]
    fn a_speaker_who_returns_has_the_same_account() {
        let accounts = Accounts::default();
        let send = |key: &AccountKey, now_ms| {
            let account = accounts.account(key, now_ms, &LIMIT);
            account.usage().count_message(&LIMIT, "", now_ms).is_ok()
        };
        assert_eq!((0..100).filter(|_| send(&key("ann"), 0)).count(), 60);
        // Many others come and go in the meantime.
        for number in 0..100_000_u64 {
            let block = AddressBlock(u128::from(number).to_le_bytes());
            send(&AccountKey::Address(block), 10 + number / 1000);
        }
        assert_eq!((0..100).filter(|_| send(&key("ann"), 111)).count(), 2, "2 in 111 ms");
        // Accounts are removed when their limits are as for a new speaker.
        accounts.account(&key("last"), 100_000, &LIMIT);
        accounts.table().cleanup_at = 0;
        accounts.account(&key("very last"), 100_000, &LIMIT);
        assert_eq!(accounts.count(), 1);
    }

    #[test]
    fn the_next_process_continues_with_the_accounts() {
        let limit = RateLimit { repeat_ms: 5_000, ..LIMIT };
        let accounts = Accounts::default();
        let send = |accounts: &Accounts, text: &str, now_ms| {
            accounts.account(&key("ann"), 0, &limit).usage().count_message(&limit, text, now_ms)
        };
        let sent = (0..100).filter(|n: &u32| send(&accounts, &n.to_string(), 1_000).is_ok());
        assert_eq!(sent.count(), 60);
        accounts.account(&key("bob"), 0, &limit);
        let snapshots = accounts.snapshots(2_000, &limit);
        assert_eq!(snapshots.len(), 1, "bob has used nothing: {snapshots:?}");
        let next = Accounts::resume(&snapshots, 7_000_000);
        for text in ["59", "0", "7"] {
            assert_eq!(send(&next, text, 7_000_000), Err(4_000), "the same text");
        }
        let sent = (100..200).filter(|n: &u32| send(&next, &n.to_string(), 7_000_000).is_ok());
        assert_eq!(sent.count(), 20, "one second has refilled 20");
    }
}
