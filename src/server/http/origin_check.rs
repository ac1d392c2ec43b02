//! Which pages may open a WebSocket.

use hyper::header::{HeaderMap, ORIGIN};

use super::upgrade::single_value;
use crate::address::Origin;

/// Whether a handshake with these headers may open a WebSocket. `origins` lists the origins
/// of pages that may; an empty list allows all. A client that sends no `Origin` is not a
/// browser, and may always.
pub(crate) fn is_allowed(headers: &HeaderMap, origins: &[Origin]) -> bool {
    if origins.is_empty() || !headers.contains_key(ORIGIN) {
        return true;
    }
    let origin = single_value(headers, ORIGIN).and_then(|text| text.parse().ok());
    origin.is_some_and(|origin| origins.contains(&origin))
}
