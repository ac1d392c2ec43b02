//! What a reload changes in a running room.

use crate::chat::{AuthSettings, Rules};
use crate::config::{Config, Limits, Page};

/// What the door and the shards go by; never changed, only swapped as a whole.
pub struct Settings {
    /// Who may say what.
    pub rules: Rules,
    /// Every bound.
    pub limits: Limits,
    /// Whether the page is given.
    pub page: Page,
}

impl Settings {
    /// What `config` says about the room.
    pub fn new(config: &Config) -> Self {
        let auth = &config.auth;
        let rules = Rules::new(AuthSettings {
            keys: auth.token_keys(),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            bind_usr: auth.bind_usr.clone(),
            moderator_claim: auth.moderator_claim.clone(),
            revoked: auth.revocations(),
            check_exp: auth.check_exp,
            leeway: auth.leeway,
        });
        Self { rules, limits: config.limits.clone(), page: config.page.clone() }
    }
}
