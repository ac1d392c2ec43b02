//! The options of both clients.

use super::render::Colours;
use super::room_url::RoomUrl;
use super::token::TokenSource;
use crate::chat::Since;

/// The options of both clients.
pub struct ClientOptions {
    pub url: RoomUrl,
    /// The name to send messages under.
    pub usr: String,
    /// The token to send messages with.
    pub token: TokenSource,
    pub colours: Colours,
    /// The first connection gets the messages after this time.
    pub since: Option<Since>,
    /// Whether a client that need not send a line connects again after a break.
    pub reconnects: bool,
    /// Whether the terminal rings its bell when somebody calls the user by name.
    pub bell: bool,
}

impl ClientOptions {
    /// The warning to print if others on the network could read the token.
    pub fn token_warning(&self) -> Option<&'static str> {
        let is_exposed = !matches!(self.token, TokenSource::None) && self.url.exposes_tokens();
        is_exposed.then_some("the token is sent without encryption; use wss://")
    }
}
