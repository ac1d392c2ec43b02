//! What a reload changes in a running room.

use crate::address::{Origin, TrustedProxy};
use crate::chat::{AuthSettings, RateLimit, Rules};
use crate::config::{Config, Limits, Page};

/// What the door and the shards go by; never changed, only swapped as a whole.
pub struct Settings {
    /// Who may say what.
    pub rules: Rules,
    /// Every bound.
    pub limits: Limits,
    /// How many clients there may be, in the room and at the door.
    pub clients_max: usize,
    /// Whether the page is given.
    pub page: Page,
    /// Who is believed when saying for whom it speaks.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Pages that may open a WebSocket; all may if it is empty.
    pub origins: Vec<Origin>,
}

impl Settings {
    /// What `config` says about the room.
    pub fn new(config: &Config) -> Self {
        let auth = &config.auth;
        let limits = &config.limits;
        let pace = RateLimit {
            per_sec: limits.messages_per_sec,
            burst: limits.messages_burst,
            slow_ms: limits.slow_mode.as_millis() as u64,
            repeat_ms: limits.repeat.as_millis() as u64,
        };
        let settings = AuthSettings {
            keys: auth.token_keys(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            bind_usr: auth.bind_usr.clone(),
            moderator_claim: auth.moderator_claim.clone(),
            revocations: auth.revoked.iter().cloned().collect(),
            check_exp: auth.check_exp,
            leeway: auth.leeway,
        };
        Self {
            rules: Rules::new(settings, pace),
            limits: config.limits.clone(),
            clients_max: usize::MAX,
            page: config.page.clone(),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            origins: config.listen.origins.clone(),
        }
    }
}
