//! wschat: one public WebSocket room, on a machine that systemd runs.
//!
//! **The room is a log; a listener is a cursor.** Every message is encoded as a
//! WebSocket frame once and appended to one log, the feed. A connection is only a position
//! in that log.
//!
//! The modules are described in ARCHITECTURE.md. `chat`, `ws`, `sse` and `feed` are pure: a
//! function takes bytes and the time, and returns values.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod address;
mod bench;
pub mod capacity;
pub mod chat;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod control;
pub mod daemon;
pub mod descriptors;
pub mod feed;
pub mod file;
mod log_limit;
mod mutex;
mod proc_file;
pub mod record;
pub mod room;
pub mod server;
pub mod sse;
mod suggest;
mod unicode;
pub mod unit;
pub mod worker;
pub mod ws;
mod zone;
