//! The configuration: one [`Config`] without invalid values is made of `/etc/wschat.toml`, its
//! drop-ins, the other sources of the secret and the command line.
//!
//! `table` defines the keys, `files` finds the files, `read` reads their texts, `sources` the
//! files that they name and the [`Environment`]. All problems are reported together.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cluster;
mod credentials_file;
mod duplicate;
mod environment;
mod files;
mod fingerprint;
mod keys_macro;
mod load;
mod problem;
mod read;
mod restriction;
mod rule;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use std::thread;

use crate::address::ListenAddress;
use crate::chat::{Secret, TokenKey};

pub use credentials_file::CredentialsFile;
pub use environment::Environment;
pub use fingerprint::Fingerprint;
pub use load::{Loaded, load, parse};
pub use problem::{Position, Problem, Problems};
pub use restriction::remember as remember_restriction;
pub use sources::read_revoked;
pub use table::*;
pub use tokens::KeyEntry;

impl Config {
    /// Whether `address` has to be bound for IPv6 only: it is `[::]`, and there is an IPv4
    /// address of the same port.
    pub fn is_v6_only(&self, address: &ListenAddress) -> bool {
        let mut all = self.listen.addresses.iter().chain(&self.metrics.address);
        all.any(|other| address.includes(other))
    }
}

impl Auth {
    /// Every key that a token may be signed with. Without any, every client can send
    /// messages.
    pub fn token_keys(&self) -> Vec<TokenKey> {
        let with = |secret: &Secret, alg| TokenKey::secret(None, alg, secret.bytes()).ok();
        let own = self.secret.iter().flat_map(|s| self.algorithms.iter().map(move |a| (s, *a)));
        let own = own.filter_map(|(secret, algorithm)| with(secret, algorithm));
        own.chain(self.keys.iter().flat_map(|entry| entry.keys.iter().cloned())).collect()
    }

    /// Whether nobody can send messages, because there is no key and a token is required.
    pub fn is_closed(&self) -> bool {
        self.required == Some(true) && self.token_keys().is_empty()
    }

    /// Whether a token is needed to send messages.
    pub fn needs_token(&self) -> bool {
        self.required == Some(true) || !self.token_keys().is_empty()
    }

    /// The key that new tokens are signed with: the first secret of `auth.keys`, so that a
    /// rotation begins with it, else `auth.jwt_secret`.
    pub fn signing_key(&self) -> Option<TokenKey> {
        let entries = self.keys.iter().flat_map(|entry| entry.keys.clone());
        entries.chain(self.token_keys()).find(|key| key.secret_bytes().is_some())
    }
}

impl Server {
    /// The number of shards.
    pub fn shards(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, |cores| cores.get());
        if self.threads == 0 { cores() } else { self.threads }
    }
}
