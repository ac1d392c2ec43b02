//! The rules of the chat: what a message is, who may speak, what a refusal says.
//!
//! Pure: text and the time go in, values come out. A text from a client goes
//! through [`Rules::admit`]; what comes back is either a [`Message`], which is
//! encoded once for everybody and gets its [`Tim`] from the room, or a
//! [`Refusal`], whose [`notice()`] goes to the sender alone.

mod admit;
mod auth;
mod claims;
mod keys;
mod limits;
mod message;
mod notice;
mod revoked;
mod room;
mod tim;

pub use admit::{Rules, Speaker};
pub use auth::AuthSettings;
pub use keys::{KeyError, TokenKey};
pub use limits::NoticeBudget;
pub use message::{DEPTH_MAX, Message, NAME_OF_SERVER, stamp};
pub use notice::{Refusal, notice};
pub use revoked::{Revocation, Revoked};
pub use room::{Batch, Room};
pub use tim::{ParseTimError, Stamper, Tim};
