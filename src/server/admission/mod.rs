//! Who gets in: limits per address, the slots of unfinished handshakes, and the
//! reserve of epoll watches.

pub(crate) mod addresses;
pub(crate) mod epoll_watches;
pub(crate) mod handshake_slots;
pub(crate) mod rejection;
