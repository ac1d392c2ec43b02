//! The speaker of one connection: its name, its token, its budget of notices.

use super::address_block::AddressBlock;
use super::mod_action::SpeakerId;
use super::name::displayed;
use super::notices::Refusal;
use super::rate::{Bucket, RefillRate};
use super::tim::Tim;
use super::tokens::{Bearer, VerifiedToken, Verifier};

/// How many notices a connection gets. Other notices are dropped, so that a client that
/// sends nonsense cannot make the server send as fast as the client.
pub const NOTICES: RefillRate = RefillRate { interval_us: 500_000, burst: 10 };

/// What is known of the speaker of one connection.
#[derive(Default)]
pub struct Speaker {
    /// The last token with a valid signature.
    token: Option<VerifiedToken>,
    notices: Bucket,
    name: String,
    /// Whether a message was sent, which had the name.
    has_sent: bool,
}

impl Speaker {
    /// The speaker of a connection that has sent nothing.
    pub const NEW: Self =
        Self { token: None, notices: Bucket::FULL, name: String::new(), has_sent: false };

    /// A speaker that continues with this budget of notices and this name. Its token is
    /// verified again.
    pub fn resume(notices: Bucket, name: String, has_sent: bool) -> Self {
        Self { notices, name, has_sent, ..Self::NEW }
    }

    /// The `usr` of the last message that was sent, or before the first one of the last
    /// message that was refused, as lists show it; empty if there was none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a message was sent.
    pub const fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// The speaker as moderation sees it, with this name and address.
    pub fn id<'a>(&'a self, usr: &'a str, address: AddressBlock) -> SpeakerId<'a> {
        SpeakerId { usr, sub: self.sub(), address, is_moderator: self.is_moderator() }
    }

    /// The claim `sub` of the last valid token. `None` without the claim or without
    /// rules that require a token.
    pub fn sub(&self) -> Option<&str> {
        self.token.as_ref()?.bearer.sub.as_deref()
    }

    /// Whether the last valid token makes its bearer a moderator.
    pub fn is_moderator(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.bearer.is_moderator)
    }

    /// What is left of the budget of notices.
    pub const fn notices(&self) -> Bucket {
        self.notices
    }

    /// Takes one notice from the budget. `now_ms` is the time of a monotonic clock.
    /// Returns whether there was one.
    pub fn take_notice(&mut self, now_ms: u64) -> bool {
        self.notices.try_take(now_ms.saturating_mul(1000), NOTICES).is_ok()
    }

    /// A message with this `usr` was sent.
    pub(crate) fn name_sent(&mut self, usr: &str) {
        self.set_name(usr);
        self.has_sent = true;
    }

    /// A message with this `usr` has arrived. It sets the name only before the first
    /// message is sent, so that refused messages do not hide a speaker.
    pub(super) fn name_received(&mut self, usr: &str) {
        if !self.has_sent {
            self.set_name(usr);
        }
    }

    /// Sets the name unless nothing of it is visible.
    fn set_name(&mut self, usr: &str) {
        let name = displayed(usr);
        if !name.is_empty() && name != self.name {
            self.name = name.into_owned();
        }
    }

    /// Checks a token. Returns the bearer, and whether the signature was verified.
    pub(super) fn check_token(
        &mut self,
        token: &str,
        verifier: &Verifier,
        now: Tim,
    ) -> Result<(&Bearer, bool), Refusal> {
        verifier.check(token, &mut self.token, now)
    }

    /// Forgets the token, because none is required.
    pub(super) fn forget_token(&mut self) {
        self.token = None;
    }
}
