//! What this machine carries: the load generator behind `wschat bench`.
//!
//! One thread opens thousands of WebSockets, lets a few of them speak, and
//! reads all of them, so that it knows for every listener what came, when,
//! and whether anything was lost, repeated or out of order.
//!
//! | file | what it is |
//! | --- | --- |
//! | `plan` | what shall be measured: the checked options |
//! | `target` | the URL, and the loopback addresses that connections come from |
//! | `text` | the messages that the senders speak, and how one is recognised |
//! | `frame` | the few RFC 6455 frames that a client meets |
//! | `ledger` | the order of messages, and each listener's place in it |
//! | `pace` | when the next message is due |
//! | `client` | one connection: its handshake and its bytes |
//! | `load` | the event loop over all clients |
//! | `modes` | the course of a run, a function per mode |
//! | `process` | CPU time and memory of the server, from /proc |
//! | `report` | the figures |
//! | `stop` | why a run ended early |
//!
//! It is a client only: nothing of the server's code is used here, so that a
//! fault of the server cannot hide behind the same fault of its measure.

mod client;
mod frame;
mod ledger;
mod load;
mod modes;
mod pace;
mod plan;
mod process;
mod report;
mod stop;
mod target;
mod text;

pub use modes::{Progress, run};
pub use plan::{Mode, Plan};
pub use report::Report;
pub use stop::Stop;
pub use target::Target;
