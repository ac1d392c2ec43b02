//! JSON Web Tokens (RFC 7519): the keys that verify them, what they say about
//! their bearer, and which of them are revoked.

mod claims;
mod jwks;
mod key_file;
mod keys;
mod pem;
mod revocation;
mod secret;
mod verifier;

pub use key_file::read_public_keys;
pub use keys::{KeyError, PublicKeys, TokenKey, UnusableKey};
pub use revocation::{Revocation, Revocations};
pub use secret::{EmptySecret, Secret};
pub use verifier::AuthSettings;
pub(super) use verifier::{Bearer, VerifiedToken, Verifier};
