//! Life under systemd, and as well without it: sockets passed to us, state
//! told to the service manager, logs in the journal, signals.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod activation;
mod control;
pub mod handover;
pub mod journal;
mod journal_entry;
pub mod limits;
mod loader;
mod log_queue;
mod moderation_file;
pub mod notify;
pub mod reload;
mod run;
pub mod signals;
pub mod status;

pub use run::{StartError, run};
