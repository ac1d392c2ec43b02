//! The settings that a reload changes in a running room.

use crate::address::{Origin, TrustedProxy};
use crate::chat::{AuthSettings, RateLimit, Rules};
use crate::config::{Config, Limits, Page, RoomInfo};

/// The settings of the HTTP server and the shards. A reload replaces them as a whole.
pub struct Settings {
    /// Which messages are accepted.
    pub rules: Rules,
    /// The limits.
    pub limits: Limits,
    /// The most clients, with those whose handshake is not finished.
    pub clients_max: usize,
    /// What listeners are told of the room.
    pub room: RoomInfo,
    /// Whether the chat page is served.
    pub page: Page,
    /// Proxies whose PROXY header or X-Forwarded-For is trusted.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Origins that may open a WebSocket; all may if there is none.
    pub origins: Vec<Origin>,
}

impl Settings {
    /// The settings in `config`.
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
            is_required: auth.required == Some(true),
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
            room: config.room.clone(),
            page: config.page.clone(),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            origins: config.listen.origins.clone(),
        }
    }
}
