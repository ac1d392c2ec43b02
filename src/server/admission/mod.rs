//! Which connections are admitted.
//!
//! - `rejection`: the reasons not to admit a connection
//! - `connection_counts`: how many connections are open, and whether another one may be
//! - `addresses`: the limits of each address
//! - `handshake_slots`: the limit of connections whose handshake is not finished
//! - `epoll_watches`: the reserve of epoll watches

pub(crate) mod addresses;
pub(crate) mod connection_counts;
pub(crate) mod epoll_watches;
pub(crate) mod handshake_slots;
pub(crate) mod rejection;
