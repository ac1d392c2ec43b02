//! From a request to its response, or to a listener. Uses no socket, clock or state.

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode, header};

use super::cors::{ROOM_PATH, methods};
use super::error_response::{error, upgrade_required};
use super::host_check::check_host;
use super::page::{PageFile, PageSettings};
use super::response::{FullResponse, last_response};
use super::upgrade::{is_upgrade, upgrade};
use super::{event_stream, start};
use crate::feed::Encoding;
use crate::room::Start;

/// Whether `request` is a message, which [`post`](super::post) handles.
pub(crate) fn is_post<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && request.uri().path() == ROOM_PATH
}

/// What a request leads to.
pub(crate) enum Outcome {
    /// A response.
    Response(FullResponse),
    /// A listener, if it is admitted; then this is the response.
    Listener { response: FullResponse, encoding: Encoding, start: Start },
    /// As `Listener`, but only the head of the response is asked for.
    ListenerHead(FullResponse),
}

impl From<FullResponse> for Outcome {
    fn from(response: FullResponse) -> Self {
        Self::Response(response)
    }
}

/// What `request` leads to: a listener if it is a valid WebSocket handshake or a request for
/// an event stream.
///
/// `page` has the settings of the chat page, if it is served.
pub(crate) fn respond(request: &Request<impl Body>, page: Option<PageSettings<'_>>) -> Outcome {
    if let Err(sentence) = check_host(request) {
        return error(StatusCode::BAD_REQUEST, sentence, &[]).into();
    }
    let (method, path) = (request.method(), request.uri().path());
    if method == Method::OPTIONS && path == "*" {
        return options(path).into();
    }
    if path == event_stream::PATH {
        return event_stream(request);
    }
    let Some(file) = PageFile::find(path) else {
        let sentence = "There is nothing at this path; the room is at /.";
        return error(StatusCode::NOT_FOUND, sentence, &[]).into();
    };
    let is_root = path == ROOM_PATH;
    if page.is_none() && !is_root {
        let sentence = "The page is disabled; the room is at /.";
        return error(StatusCode::NOT_FOUND, sentence, &[]).into();
    }
    if *method == Method::GET && is_root && is_upgrade(request) {
        let response = upgrade(request);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response.into();
        }
        return match start::of_websocket(request.uri().query()) {
            Ok(start) => Outcome::Listener { response, encoding: Encoding::Frames, start },
            Err(sentence) => error(StatusCode::BAD_REQUEST, sentence, &[]).into(),
        };
    }
    let response = match (method, page) {
        (&Method::OPTIONS, _) => options(path),
        (&Method::GET | &Method::HEAD, Some(page)) => file.response(request.headers(), page),
        (&Method::GET | &Method::HEAD, None) => upgrade_required(
            "This is a WebSocket room without a page: connect with a WebSocket client.",
        ),
        _ => not_allowed(path),
    };
    response.into()
}

fn event_stream(request: &Request<impl Body>) -> Outcome {
    let path = event_stream::PATH;
    match *request.method() {
        Method::OPTIONS => return options(path).into(),
        Method::GET | Method::HEAD => {}
        _ => return not_allowed(path).into(),
    }
    let response = event_stream::response(request);
    if response.status() != StatusCode::OK {
        return response.into();
    }
    match start::of_event_stream(request.headers(), request.uri().query()) {
        Err(sentence) => error(StatusCode::BAD_REQUEST, sentence, &[]).into(),
        Ok(_) if request.method() == Method::HEAD => Outcome::ListenerHead(response),
        Ok(start) => Outcome::Listener { response, encoding: Encoding::Events, start },
    }
}

fn not_allowed(path: &str) -> FullResponse {
    let sentence = format!("Only {} are supported here.", methods(path));
    error(StatusCode::METHOD_NOT_ALLOWED, &sentence, &[(header::ALLOW, methods(path))])
}

/// The supported methods (RFC 9110, 9.3.7). Load balancers use it as a health check.
fn options(path: &str) -> FullResponse {
    let fields = [(header::ALLOW, methods(path)), (header::CACHE_CONTROL, "no-store")];
    last_response(StatusCode::OK, Bytes::new(), &fields)
}
