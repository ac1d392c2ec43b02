//! One room on several machines, which a stream of NATS JetStream orders.
//!
//! Every message of the stream is a [`Record`](log::Record): the messages of one turn of a
//! shard, a moderation action, or nothing. All nodes read the same records in the same order,
//! and what they do with each of them depends on nothing else.
//!
//! | part | what |
//! | --- | --- |
//! | `log/` | pure: records, `tim` as a function of the log, what becomes of a record |
//! | `options.rs` | how the engine is reached |
//! | `engine.rs` | the log as the rest sees it: what it can be told, and what it tells |

pub mod engine;
pub mod log;
pub mod options;
