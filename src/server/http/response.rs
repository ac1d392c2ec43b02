//! Header fields that responses have in common.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A response with its whole body.
pub(crate) type FullResponse = Response<Bytes>;

/// Which origins may load a response without reading it (Fetch Standard, 3.8).
pub(crate) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// What is no page loads nothing, and no site can embed it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A response after which the server closes the connection: every response but 101, those to
/// POST and the files of the page.
pub(crate) fn last_response(
    status: StatusCode,
    body: Bytes,
    fields: &[(HeaderName, &'static str)],
) -> FullResponse {
    last(page_response(status, body, fields))
}

/// The same, but the connection stays open for the next request.
pub(crate) fn page_response(
    status: StatusCode,
    body: Bytes,
    fields: &[(HeaderName, &'static str)],
) -> FullResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(
        headers,
        &[
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (RESOURCE_POLICY, "same-origin"),
        ],
    );
    set(headers, fields);
    response
}

/// The same response, but the last one of its connection.
pub(crate) fn last(mut response: FullResponse) -> FullResponse {
    set(response.headers_mut(), &[(header::CONNECTION, "close")]);
    response
}

/// Whether the server closes the connection after this response.
pub(crate) fn is_last(response: &FullResponse) -> bool {
    response.headers().contains_key(header::CONNECTION)
}

/// Sets header fields; those that are there already get a new value.
pub(crate) fn set(headers: &mut HeaderMap, fields: &[(HeaderName, &'static str)]) {
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
