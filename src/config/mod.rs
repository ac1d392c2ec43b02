//! The configuration: `/etc/wschat.toml`, the other sources of the secret and the command
//! line, from which one [`Config`] without invalid states is made.
//!
//! ```text
//! Environment ─► load ─► read: the file, by the table of keys ─► includes: files it names ─► Config
//!                  └───► problem: all of them at once, as FILE:LINE:COLUMN: key: text
//! ```
//!
//! Nothing in here looks at the environment of the process: the program's edge puts all that
//! comes from outside into an [`Environment`].

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod includes;
mod keys_macro;
mod load;
mod problem;
mod read;
mod report;
mod rule;
mod sources;
mod suggest;
mod table;
mod table_array;
#[cfg(test)]
mod tests;
mod tokens;

use std::num::NonZero;
use std::thread;

use crate::address::ListenAddress;
use crate::chat::{Revocations, Secret, TokenKey};

pub use includes::read_revoked;
pub use load::{Loaded, load, parse};
pub use problem::{Position, Problem, Problems};
pub use sources::{CREDENTIALS_VARIABLE, Environment, LOG_DIR_VARIABLE, SECRET_VARIABLE};
pub use table::{
    Auth, Config, KEYS, Key, Limits, Listen, Logging, Metrics, Page, Record, Reload, Server,
    needs_restart,
};
pub use tokens::KeyEntry;

impl Config {
    /// Whether `address` is to be bound for IPv6 alone: it is `[::]`, and there is an IPv4
    /// address of the same port.
    pub fn is_v6_only(&self, address: &ListenAddress) -> bool {
        let mut all = self.listen.addresses.iter().chain(&self.metrics.address);
        all.any(|other| address.includes(other))
    }
}

impl Auth {
    /// Every key that a token may be signed with. Without any, everybody may speak.
    pub fn token_keys(&self) -> Vec<TokenKey> {
        let with = |secret: &Secret, alg| TokenKey::secret(None, alg, secret.bytes()).ok();
        let own = self.secret.iter().flat_map(|s| self.algorithms.iter().map(move |a| (s, *a)));
        let own = own.filter_map(|(secret, algorithm)| with(secret, algorithm));
        own.chain(self.keys.iter().flat_map(|entry| entry.keys.iter().cloned())).collect()
    }

    /// The key that new tokens are signed with: the first secret of `auth.keys`, so that a
    /// rotation begins with it, else `auth.jwt_secret`.
    pub fn signing_key(&self) -> Option<TokenKey> {
        let entries = self.keys.iter().flat_map(|entry| entry.keys.clone());
        entries.chain(self.token_keys()).find(|key| key.secret_bytes().is_some())
    }

    /// All that is revoked.
    pub fn revocations(&self) -> Revocations {
        self.revoked.iter().cloned().collect()
    }
}

impl Server {
    /// How many shards run.
    pub fn shards(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }
}
