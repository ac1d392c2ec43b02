//! From a request to its response. Uses no socket, clock or state.

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode, header};

use super::error_response::{error, upgrade_required};
use super::host_check::check_host;
use super::page::PageFile;
use super::response::{FullResponse, last_response};
use super::upgrade::{is_upgrade, upgrade};

/// The methods that are supported (`Allow`).
const METHODS: &str = "GET, HEAD, OPTIONS";

/// The response to `request`. Its status is 101 if and only if the request is a valid
/// WebSocket handshake.
///
/// `page_is_enabled` says whether the chat page is served, which contains
/// `message_bytes_max`.
pub(crate) fn respond(
    request: &Request<impl Body>,
    page_is_enabled: bool,
    message_bytes_max: usize,
) -> FullResponse {
    if let Err(sentence) = check_host(request) {
        return error(StatusCode::BAD_REQUEST, sentence, &[]);
    }
    let (method, path) = (request.method(), request.uri().path());
    if method == Method::OPTIONS && path == "*" {
        return options();
    }
    let Some(file) = PageFile::find(path) else {
        let sentence = "There is nothing at this path; the room is at /.";
        return error(StatusCode::NOT_FOUND, sentence, &[]);
    };
    let is_root = path == "/";
    if !page_is_enabled && !is_root {
        return error(StatusCode::NOT_FOUND, "The page is disabled; the room is at /.", &[]);
    }
    match *method {
        Method::OPTIONS => options(),
        Method::GET if is_root && is_upgrade(request) => upgrade(request),
        Method::GET | Method::HEAD if page_is_enabled => {
            file.response(request.headers(), message_bytes_max)
        }
        Method::GET | Method::HEAD => upgrade_required(
            "This is a WebSocket room without a page: connect with a WebSocket client.",
        ),
        _ => error(
            StatusCode::METHOD_NOT_ALLOWED,
            "Only GET, HEAD and OPTIONS are supported here.",
            &[(header::ALLOW, METHODS)],
        ),
    }
}

/// The supported methods (RFC 9110, 9.3.7). Load balancers use it as a health check.
fn options() -> FullResponse {
    let fields = [(header::ALLOW, METHODS), (header::CACHE_CONTROL, "no-store")];
    last_response(StatusCode::OK, Bytes::new(), &fields)
}
