//! The load generator behind `wschat bench`.
//!
//! One thread opens thousands of WebSockets and event streams, sends over a few of them and
//! reads all of them, so it knows for every listener which messages arrived and when, and whether any
//! was lost, repeated or reordered.
//!
//! It shares no code with the server, except for writing frames: a fault of the server
//! must not hide behind the same fault here.

mod connection;
mod error;
mod event;
mod frame;
mod load;
mod message;
mod options;
mod part;
mod process;
mod report;
mod run;
mod schedule;
mod target;
mod tracker;

pub use error::BenchError;
pub use options::Options;
pub use run::run;
