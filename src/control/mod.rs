//! The local control socket: what an operator asks of a running room.
//!
//! ```text
//! wschat status ─► call ─► socket: may this peer ask? ─► protocol: a line is a request
//!                                        │
//!                 the room's figures ◄─ desk ─► the daemon's loop (reload)
//! Prometheus ─────► http ─► metrics ◄────┘
//! ```
//!
//! A new verb is a variant of [`Request`] and an arm in [`Service`]; what only the
//! daemon's loop can do is also a variant of [`LoopRequest`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod auth;
mod client;
mod http;
mod meter;
mod metrics;
mod moderate;
mod protocol;
mod server;
mod service;

pub use client::{Call, CallError};
pub use http::serve_metrics;
pub use metrics::{MetricsSnapshot, PolicyStats, text};
pub use moderate::{Decisions, Moderated, Muted};
pub use protocol::{
    Clients, Code, ControlError, LINE_BYTES_MAX, RecordStatus, Rejected, Reloaded, Request, Status,
    ok, parse, read, sorry,
};
pub use server::Server;
pub use service::{Configured, LoopRequest, Service};

/// Where the control socket is if nobody says otherwise.
pub const CONTROL_PATH: &str = "/run/wschat/control.sock";
