//! The terminal client (`wschat join`): the room seen from outside.
//!
//! It shares nothing with the daemon but the protocol and what Unicode says of
//! characters, so that it also speaks for what any other client would see.
//!
//! ```text
//! server ─► link (one connection) ─► message ─► harmless ─► heard ─► stdout
//! stdin or keys ─► message::encode ─► link ─► server
//! ```
//!
//! `lines` is the client in a pipe, `terminal` the one on a terminal.

mod address;
mod harmless;
mod heard;
mod lines;
mod link;
mod message;
mod reader;
mod show;
mod terminal;
mod token;

pub use address::{Address, AddressError};
pub use harmless::{harmless_name, harmless_text, json_line};
pub use heard::{Heard, Shown};
pub use lines::{End, Lines, LinesError, Stdin};
pub use link::{Event, Link, LinkError};
pub use message::{Incoming, encode, encode_command, new_id, tim_text};
pub use reader::stdout_gone;
pub use show::{Paint, clock, name_colour};
pub use terminal::{Command, Terminal, delay};
pub use token::{TokenError, TokenSource};
