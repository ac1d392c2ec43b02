//! One room on several machines, which a stream of NATS JetStream orders.
//!
//! Every message of the stream is a [`Record`](log::Record): the messages of one turn of a
//! shard, a moderation action, or nothing. All nodes read the same records in the same order,
//! and what they do with each of them depends on nothing else.
//!
//! | part | what |
//! | --- | --- |
//! | `log/` | pure: records, `tim` as a function of the log, what becomes of a record |
//! | `nats/` | all that waits for NATS JetStream: the engine, the key-value bucket, presence |
//! | `options.rs` | how the engine is reached |
//! | `state.rs` | the cluster as this node sees it, for the status |
//! | `presence_table.rs`, `kick_answers.rs` | pure: which nodes there are, and what a kick has met |
//! | `stored_moderation.rs`, `moderation_sync.rs` | what lasts of the moderation, for nodes that start |
//! | `cluster_node.rs` | the tasks of a node |
//! | `availability.rs` | says in the log and in the state whether messages can be sent |
//! | `driver.rs`, `room_feed.rs`, `room_moderation.rs` | the task that joins the log, the engine and the room |
//! | `engine.rs` | the log as the rest sees it: what it can be told, and what it tells |

mod availability;
mod cluster_node;
mod driver;
pub mod engine;
mod kick_answers;
mod kicks;
pub mod log;
mod moderation_sync;
mod names;
pub mod nats;
pub mod options;
mod presence_table;
mod room_feed;
mod room_moderation;
mod state;
mod stored_moderation;

pub use cluster_node::{ClusterNode, RunningNode};
pub use kick_answers::{KickAnswer, KickAnswers, KickTotal};
pub use kicks::Kicks;
pub use moderation_sync::{FoundModeration, ModerationSync, PlacedAct, moderation_at};
pub use names::{NodeName, NodeNameError, StreamName, StreamNameError};
pub use presence_table::{NodeProcess, NodeStatus, Presence, PresenceTable, TELL_INTERVAL};
pub use state::{ClusterState, ClusterStatus};
pub use stored_moderation::{
    STORED_BYTES_MAX, StoredModeration, StoredModerationError, can_be_stored,
};
