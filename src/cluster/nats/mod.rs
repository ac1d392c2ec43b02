//! NATS: everything that waits for it. Nothing here knows the room.

mod moderation_store;
mod presence;

pub use moderation_store::{ModerationStore, StoreError, Written, keep};
pub use presence::PresenceTask;
