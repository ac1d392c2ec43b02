//! The local control socket: what an operator asks of a running room.
//!
//! ```text
//! wschat status ─► call ─► socket: may this peer ask? ─► protocol: a line is a request
//!                                        │
//!                 the room's figures ◄─ desk ─► the daemon's loop (reload)
//! Prometheus ─────► http ─► metrics ◄────┘
//! ```
//!
//! A new verb is a variant of [`Request`] and an arm in [`Desk`]; what only the
//! daemon's loop can do is also a variant of [`Order`].

mod call;
mod deed;
mod desk;
mod http;
mod meter;
mod metrics;
mod peer;
mod protocol;
mod socket;

pub use call::{Call, CallError};
pub use deed::{Decisions, Deed, Moderated, Muted, Whom};
pub use desk::{Configured, Desk, Order};
pub use http::serve_metrics;
pub use metrics::{Decided, Figures, text};
pub use protocol::{
    Clients, Code, Fault, LINE_BYTES_MAX, Listed, RecordStatus, Rejected, Reloaded, Request, Sort,
    Status, ok, parse, read, sorry,
};
pub use socket::Socket;

/// Where the control socket is if nobody says otherwise.
pub const CONTROL_PATH: &str = "/run/wschat/control.sock";
