//! The life of the daemon, with or without systemd: start, reload, handover, stop; sockets
//! passed by systemd, notifications to it, logs, signals.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod activation;
mod config_loader;
mod control_sockets;
mod drain;
pub mod dry_run;
mod handover;
mod journal;
mod log_queue;
mod logging;
mod moderation_file;
mod notify;
mod open_files;
mod open_room;
mod reload;
mod room_listeners;
mod run;
mod signals;
mod start_error;
mod status_line;
mod watchdog;

pub use activation::{METRICS, is_room};
pub use control_sockets::ControlPaths;
pub use logging::{is_journal_stderr, write_last_line};
pub use moderation_file::ModerationFile;
pub use run::run;
pub use start_error::StartError;
