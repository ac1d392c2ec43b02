//! Addresses as an operator writes them: where to listen, whose headers to trust, which web
//! pages may open a WebSocket. Pure.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod listen;
mod origin;
mod trusted_proxy;

pub use listen::{AddressError, ListenAddress};
pub use origin::{Origin, OriginError};
pub use trusted_proxy::{ProxyError, TrustedProxy};
