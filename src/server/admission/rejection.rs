//! Why somebody did not get in.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection ended at the door although nothing was wrong with what was
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
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

impl Rejection {
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
    /// use wschat::server::Rejection;
    /// assert_eq!(Rejection::AddressFull.name(), "address-full");
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

/// How often that happened, for each reason in the order of [`Rejection::ALL`].
#[derive(Debug, Default)]
pub(crate) struct RejectionCounts([AtomicU64; Rejection::ALL.len()]);

impl RejectionCounts {
    pub fn add(&self, why: Rejection) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> [u64; Rejection::ALL.len()] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}
