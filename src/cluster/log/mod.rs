//! The log of a room on several machines. Pure: no socket, no clock, no lock.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod record;

pub use record::{Body, LoggedAct, Publisher, Record};
