//! Why somebody did not get in.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection ended at the door although nothing was wrong with what was
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// As many WebSockets are open as may be.
    Full,
    /// As many are open from this address as may be.
    AddressFull,
    /// This address opens them faster than it may.
    AddressRate,
    /// A page of elsewhere asked, and may not.
    Origin,
    /// The request was not complete in time.
    Late,
    /// The door was crowded, and this guest was there longest.
    Crowded,
    /// The system has nothing left that a connection takes.
    System,
}

impl Barred {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::AddressFull,
        Self::AddressRate,
        Self::Origin,
        Self::Late,
        Self::Crowded,
        Self::System,
    ];

    /// What it is called in metrics, which never changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::net::Barred;
    /// assert_eq!(Barred::AddressFull.name(), "address-full");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address-full",
            Self::AddressRate => "address-rate",
            Self::Origin => "origin",
            Self::Late => "late",
            Self::Crowded => "crowded",
            Self::System => "system",
        }
    }
}

/// How often that happened, for each reason in the order of [`Barred::ALL`].
#[derive(Debug, Default)]
pub(super) struct BarredCounts([AtomicU64; Barred::ALL.len()]);

impl BarredCounts {
    pub fn add(&self, why: Barred) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> [u64; Barred::ALL.len()] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}
