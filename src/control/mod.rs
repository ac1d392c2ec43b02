//! The local control socket, where an operator inspects and moderates a running room.
//!
//! ```text
//! wschat status ─► client ─► server (auth, protocol: one line is one request)
//!                               │
//!           shards' counters ◄─ service ─► the daemon's main loop (reload)
//!                               ▲
//! Prometheus ─► metrics_http ───┴─► metrics
//! ```
//!
//! A new request is a variant of [`ControlRequest`] and an arm in [`Service`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod auth;
mod client;
mod error;
mod metrics;
mod metrics_http;
mod paths;
mod process;
mod protocol;
mod rates;
mod replies;
mod server;
mod service;
mod user_names;

pub use client::{ControlClient, ControlSession, RequestError};
pub use error::{ControlError, ErrorCode};
pub use metrics_http::serve_metrics;
pub use paths::{CONTROL_PATH, MONITOR_PATH};
pub use protocol::{ControlRequest, parse_request};
pub use rates::{RateMeter, Rates};
pub use replies::{
    Clients, ConfigStatus, ModerateReply, ModerationStatus, Muted, PolicyStats, RejectedConfig,
    ReloadReport, Status, Top,
};
pub use server::{Access, ControlServer};
pub use service::{ReloadRequest, Service};
