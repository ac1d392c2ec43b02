//! The server's part of the WebSocket handshake (RFC 6455, 4.2).

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::error_response::{WEBSOCKET_VERSION, error, upgrade_required};
use super::response::{FullResponse, set};

/// The subprotocols that the server agrees to; all mean the same.
const SUBPROTOCOLS: [&str; 2] = ["wschat", "chat"];

/// Whether this GET request is a WebSocket handshake, valid or not. HTTP/1.0 has no upgrade,
/// so the server ignores it there (RFC 9110, 7.8).
pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && (has_token(headers, header::UPGRADE, "websocket")
            // Some proxies remove Upgrade, but not these.
            || headers.contains_key(header::SEC_WEBSOCKET_KEY)
            || headers.contains_key(header::SEC_WEBSOCKET_VERSION))
}

/// Status 101 if the handshake is valid.
pub(crate) fn upgrade(request: &Request<impl Body>) -> FullResponse {
    let bad_request = |sentence| error(StatusCode::BAD_REQUEST, sentence, &[]);
    let headers = request.headers();
    if !has_token(headers, header::UPGRADE, "websocket") {
        return bad_request(
            "The request has no `Upgrade: websocket`; a proxy may have removed it.",
        );
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return bad_request(
            "The request has no `Connection: Upgrade`; a proxy may have removed it.",
        );
    }
    match single_value(headers, header::SEC_WEBSOCKET_VERSION) {
        Some(WEBSOCKET_VERSION) => {}
        Some(_) => {
            return upgrade_required("Only version 13 of the WebSocket protocol is supported.");
        }
        None => return bad_request("The request needs one Sec-WebSocket-Version."),
    }
    let key = single_value(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let Some(accept) = key.and_then(|key| derive_accept_key(key.as_bytes()).try_into().ok()) else {
        return bad_request("The request needs one Sec-WebSocket-Key of 16 bytes in base64.");
    };
    if !request.body().is_end_stream() {
        return bad_request("A WebSocket handshake cannot have a body.");
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    set(headers, &[(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")]);
    headers.insert::<HeaderName>(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(name) = subprotocol(request.headers()) {
        set(headers, &[(header::SEC_WEBSOCKET_PROTOCOL, name)]);
    }
    response
}

/// The first subprotocol in the client's order that the server knows. Names are compared
/// exactly, as clients do (RFC 6455, 4.1).
fn subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    listed(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .find_map(|name| SUBPROTOCOLS.into_iter().find(|known| *known == name))
}

/// The value of a header field; `None` if the field occurs more than once.
pub(crate) fn single_value(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok().map(str::trim) }
}

/// Whether a header field that is a list of tokens contains `token`, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    listed(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// The elements of a header field that is a list; repeated fields are one list.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter();
    let lists = lists.filter_map(|value: &HeaderValue| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Whether this is base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    digits.len() == 22
        && digits.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}
