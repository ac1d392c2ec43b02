//! The rules of the chat: what a message is, who may speak, what a refusal says.
//!
//! Pure: text and the time go in, values come out. A text from a client goes
//! through [`Rules::admit`]; what comes back is either a [`Message`], which is
//! encoded once for everybody and gets its [`Tim`] from the room, or a
//! [`Refusal`], whose [`notice()`] goes to the sender alone.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod auth;
mod bucket;
mod claims;
mod header;
mod keys;
mod message;
mod mod_action;
mod moderation;
mod name;
mod notice;
mod policy;
mod rate;
mod refusal;
mod revoked;
mod tim;

pub use auth::AuthSettings;
pub use bucket::{Bucket, Fill};
pub use keys::{KeyError, PublicKeys, TokenKey, Unusable};
pub use message::{DEPTH_MAX, Message, NAME_OF_SERVER, stamp};
pub use mod_action::{
    Actor, InvalidModAction, ModAction, ModActionError, SECS_MAX, SpeakerId, Target,
};
pub use moderation::{Moderation, Mute};
pub use name::{look, looks};
pub use notice::{ack, announcement, nack, notice, retraction};
pub use policy::{ChatRequest, NOTICES, Rules, Speaker};
pub use rate::{Account, AccountKey, AccountSnapshot, Accounts, AddressBlock, RateLimit};
pub use refusal::{Refusal, Refused};
pub use revoked::{Revocation, Revoked};
pub use tim::{Now, ParseTimError, Stamper, Tim};
