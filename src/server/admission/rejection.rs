//! Why a connection was not admitted.

/// Why a connection ended before it was a WebSocket, although its request was not wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// `connections_max` WebSockets are open.
    Full,
    /// The address has `connections_per_address_max` WebSockets open.
    AddressFull,
    /// The address opens connections faster than `connects_per_address_per_sec`.
    AddressRate,
    /// The `Origin` is not in `listen.origins`.
    Origin,
    /// The request was not complete within `handshake_timeout`.
    Late,
    /// All handshake slots were taken, and this connection had held its slot longest.
    Crowded,
    /// The system has no epoll watch left.
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

    /// The name in status and metrics, which never changes.
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
