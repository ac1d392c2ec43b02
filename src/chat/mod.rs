//! The rules of the chat: what a message is, who may speak, what a refusal says.
//!
//! Pure: text and the time go in, values come out. A text from a client goes
//! through [`Rules::admit`]; what comes back is either a [`Message`], which is
//! encoded once for everybody and gets its [`Tim`] from the room, or a
//! [`Refusal`], whose [`notice()`] goes to the sender alone.

mod act;
mod admit;
mod auth;
mod bucket;
mod claims;
mod command;
mod gate;
mod header;
mod keys;
mod message;
mod moderation;
mod name;
mod notice;
mod pace;
mod refusal;
mod revoked;
mod room;
mod tim;

pub use act::{Act, ActError, By, Target, Voice};
pub use admit::{NOTICES, Rules, Speaker, Wish};
pub use auth::AuthSettings;
pub use bucket::{Bucket, Fill};
pub use command::{SECS_MAX, command};
pub use gate::Gate;
pub use keys::{KeyError, PublicKeys, TokenKey, Unusable};
pub use message::{DEPTH_MAX, Message, NAME_OF_SERVER, stamp};
pub use moderation::{Moderation, Mute};
pub use name::{look, looks};
pub use notice::{announcement, complaint, notice, receipt, retraction};
pub use pace::{Account, Accounts, Balance, Block, Pace, Who};
pub use refusal::{Refusal, Refused};
pub use revoked::{Revocation, Revoked};
pub use room::{Batch, Past, Room, messages_before};
pub use tim::{Now, ParseTimError, Stamper, Tim};
