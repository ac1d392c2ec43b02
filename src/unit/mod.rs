//! The unit of the service as systemd knows it, for commands that root runs: they see what the
//! daemon will see at its next start.
//!
//! ```text
//! systemctl show ─► service, sockets: what a start would fail at
//! files of the unit ─► copy: the same sandbox, user, credentials and environment for a command
//! ```
//!
//! The daemon never uses it: it does not wait for systemd.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod copy;
mod directories;
mod listening;
mod sections;
mod service;
mod sockets;
mod systemctl;

pub use copy::{COPY_VARIABLE, CopyError, CopyResult};
pub use service::{NotLooked, Service, arguments, service_of, variables};
pub use systemctl::{Properties, SERVICE, show};
