//! The rules of the chat, as pure code: values in, values out. Nothing here has a
//! lock, a thread, a clock, a socket or a file.
//!
//! [`Rules::admit`] turns the text of a client into a [`ChatRequest`] or a [`Refusal`].
//! The room then checks what depends on its state, gives a [`Message`] its [`Tim`], and
//! answers a refusal with a [`notice()`].

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod act_done;
mod address_block;
mod logged;
mod message;
mod mod_action;
mod moderation;
mod name;
mod notices;
mod policy;
mod presence;
mod rate;
mod retracted;
mod since;
mod speaker;
mod tim;
mod tokens;

pub use act_done::ActDone;
pub use address_block::AddressBlock;
pub use logged::{LoggedMessage, LoggedSpeaker};
pub use message::{DEPTH_MAX, Message};
pub use mod_action::{
    Actor, InvalidModAction, ModAction, ModActionError, SECS_MAX, SpeakerId, Target,
};
pub use moderation::{Moderation, Mute};
pub use name::{SERVER_NAME, skeleton};
pub use notices::{
    Refusal, Refused, ack, announced, announcement, gap_notice, is_gap_notice, nack, notice,
    retraction,
};
pub use policy::{Admission, ChatRequest, Rules};
pub use presence::{NOTICE_CHARS_MAX, Presence, TITLE_CHARS_MAX, is_presence};
pub use rate::{Bucket, RateLimit, RefillRate, Usage};
pub use retracted::{Retracted, TIMS_MAX, messages_of};

pub use since::Since;
pub use speaker::{NOTICES, Speaker};
pub use tim::{Now, ParseTimError, Stamper, Tim, is_unstamped, stamp, stamped_tim};
pub use tokens::{
    AuthSettings, EmptySecret, KeyError, PublicKeys, Revocation, Revocations, Secret, TokenKey,
    UnusableKey, read_public_keys,
};
