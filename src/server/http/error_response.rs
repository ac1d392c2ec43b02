//! Error responses: each has one sentence for the client as its text.

use hyper::StatusCode;
use hyper::header::{self, HeaderName};

use super::response::{FullResponse, last_response, set};
use crate::server::admission::rejection::Rejection;

/// The version of the WebSocket protocol that the server speaks (RFC 6455, 4.1).
pub(crate) const WEBSOCKET_VERSION: &str = "13";
/// Seconds after which a rejected client may try again.
const RETRY_AFTER_SECS: &str = "10";
/// The same for a client that connected too fast: the lowest rate is one per second.
const RETRY_AFTER_RATE_SECS: &str = "1";

/// A response with this status, `sentence` and further header fields.
pub(crate) fn error(
    status: StatusCode,
    sentence: &str,
    fields: &[(HeaderName, &'static str)],
) -> FullResponse {
    let mut response = last_response(status, format!("{sentence}\n").into(), fields);
    set(
        response.headers_mut(),
        &[(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")],
    );
    response
}

/// The response to a request that is not valid HTTP, or too long.
pub(crate) fn unreadable(status: StatusCode) -> FullResponse {
    let sentence = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The header of the request is too long.",
        StatusCode::URI_TOO_LONG => "The path of the request is too long.",
        _ => "The request is not valid HTTP.",
    };
    error(status, sentence, &[])
}

/// 426, with the protocol to upgrade to and its version.
pub(crate) fn upgrade_required(sentence: &str) -> FullResponse {
    let fields = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade, close"),
        (header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION),
    ];
    error(StatusCode::UPGRADE_REQUIRED, sentence, &fields)
}

/// The response to a valid handshake of a client that is not admitted.
pub(crate) fn rejected(rejection: Rejection) -> FullResponse {
    let (status, sentence) = match rejection {
        Rejection::Full => (StatusCode::SERVICE_UNAVAILABLE, "The room is full; try again later."),
        Rejection::System => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The system has no resources for another connection; try again later.",
        ),
        Rejection::AddressFull => (
            StatusCode::TOO_MANY_REQUESTS,
            "This address has too many open connections; try again later.",
        ),
        Rejection::AddressRate => (
            StatusCode::TOO_MANY_REQUESTS,
            "This address opens connections too fast; try again more slowly.",
        ),
        Rejection::Origin => {
            (StatusCode::FORBIDDEN, "Pages of this origin cannot connect to the room.")
        }
        Rejection::Late | Rejection::Crowded => {
            (StatusCode::REQUEST_TIMEOUT, "The request was not complete in time.")
        }
    };
    let retry_after = match rejection {
        Rejection::Full | Rejection::System | Rejection::AddressFull => Some(RETRY_AFTER_SECS),
        Rejection::AddressRate => Some(RETRY_AFTER_RATE_SECS),
        Rejection::Origin | Rejection::Late | Rejection::Crowded => None,
    };
    let retry_after = retry_after.map(|secs| (header::RETRY_AFTER, secs));
    error(status, sentence, retry_after.as_slice())
}
