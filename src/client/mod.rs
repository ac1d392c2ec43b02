//! The terminal client, `wschat join`.
//!
//! It shares no code with the daemon except Unicode data, time zones and the form of a
//! `tim`, so its tests check the protocol from outside.
//!
//! ```text
//! server ─► connection ─► message ─► sanitize ─► render ─► stdout
//! stdin or keys ─► message::encode ─► connection ─► server
//! ```
//!
//! `resume` continues after a break where the last connection ended.
//! `pipe` is the client for pipes and files, `terminal` the interactive one.

mod connection;
mod mention;
mod message;
mod options;
mod pipe;
mod render;
mod resume;
mod room_state;
mod room_url;
mod sanitize;
mod terminal;
mod tls_words;
mod token;
mod wrap;

pub use message::{Incoming, IncomingKind};
pub(crate) use options::ClientOptions;
pub(crate) use pipe::{PipeError, run as run_in_pipe};
pub(crate) use render::Colours;
pub(crate) use sanitize::sanitize_name;
pub(crate) use terminal::run as run_on_terminal;
pub(crate) use token::TokenSource;
