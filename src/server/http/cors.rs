//! Which pages of other origins may read a response (CORS, Fetch Standard).

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::origin_check::is_allowed;
use super::page::{MODULE_PATH, TYPES_PATH};
use super::response::{FullResponse, set};
use super::{event_stream, response};
use crate::address::Origin;

/// The path of the room.
pub(crate) const ROOM_PATH: &str = "/";

/// The header fields that a page may send.
const REQUEST_FIELDS: &str = "Content-Type, Authorization, Last-Event-ID";
/// The header fields that a page may read in addition to those that it always may.
const RESPONSE_FIELDS: &str = "Retry-After, WWW-Authenticate";
/// For how many seconds a browser may remember the answer to a preflight request.
const MAX_AGE_SECS: &str = "600";

/// The methods that are supported at this path (`Allow`).
pub(crate) fn methods(path: &str) -> &'static str {
    if path == ROOM_PATH || path == "*" { "GET, HEAD, POST, OPTIONS" } else { "GET, HEAD, OPTIONS" }
}

/// What the response to a request says about the pages that may read it.
#[derive(Debug)]
pub(crate) struct Cors {
    fields: HeaderMap,
}

impl Cors {
    /// The fields for the response to `request`. `origins` lists the origins of pages that
    /// may use the room; an empty list allows all. No page of another origin can read the
    /// responses of other paths than those of the room, the event stream and wschat.js.
    pub fn new<B>(request: &Request<B>, origins: &[Origin]) -> Self {
        let path = request.uri().path();
        if ![ROOM_PATH, event_stream::PATH, MODULE_PATH, TYPES_PATH].contains(&path) {
            return Self { fields: HeaderMap::new() };
        }
        let methods = (request.method() == Method::OPTIONS).then(|| methods(path));
        Self::with(request.headers(), methods, origins)
    }

    /// As [`new`](Self::new), for a request at one of these paths. `methods` are those that
    /// a response to OPTIONS names.
    pub fn with(headers: &HeaderMap, methods: Option<&'static str>, origins: &[Origin]) -> Self {
        let mut fields = HeaderMap::new();
        let allowed = if origins.is_empty() {
            Some(HeaderValue::from_static("*"))
        } else {
            // Also without an origin: a cache must not give this response to a page.
            fields.insert(header::VARY, HeaderValue::from_static("Origin"));
            let origin = headers.get(header::ORIGIN).filter(|_| is_allowed(headers, origins));
            origin.cloned()
        };
        if let Some(allowed) = allowed {
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            let readable = [
                (header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS),
                (response::RESOURCE_POLICY, "cross-origin"),
            ];
            set(&mut fields, &readable);
            if let Some(methods) = methods {
                let preflight: [(HeaderName, _); 3] = [
                    (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
                    (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS),
                    (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS),
                ];
                set(&mut fields, &preflight);
            }
        }
        Self { fields }
    }

    /// Adds the fields to a response; 101 has none.
    pub fn add_to(self, response: &mut FullResponse) {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let headers = response.headers_mut();
            for (name, value) in self.fields.iter().map(|(name, value)| (name, value.clone())) {
                // `Vary` may be there already, and counts, too.
                match *name {
                    header::VARY => drop(headers.append(name, value)),
                    _ => drop(headers.insert(name, value)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields for a request, as lines.
    fn fields(method: &str, path: &str, origin: &str, origins: &[&str]) -> Vec<String> {
        let mut request = Request::builder().method(method).uri(path);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let origins: Vec<Origin> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let fields = Cors::new(&request.body(()).unwrap(), &origins).fields;
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{}: {}", name, value.to_str().unwrap())
        };
        let mut lines: Vec<_> = fields.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn all_pages_or_those_that_are_listed() {
        const LISTED: &str = "https://chat.example";
        const EXPOSED: &str = "access-control-expose-headers: Retry-After, WWW-Authenticate";
        const LOADED: &str = "cross-origin-resource-policy: cross-origin";
        for path in
            ["/", "/?a", "/events", "/events?since=x", "/wschat.js", "/wschat.js?1", "/wschat.d.ts"]
        {
            for origin in ["", LISTED, "null", "nonsense"] {
                assert_eq!(
                    fields("GET", path, origin, &[]),
                    ["access-control-allow-origin: *", EXPOSED, LOADED]
                );
            }
            for origin in ["", "https://other.example", "http://chat.example", "null", "x y"] {
                assert_eq!(fields("POST", path, origin, &[LISTED]), ["vary: Origin"]);
                assert_eq!(fields("OPTIONS", path, origin, &[LISTED]), ["vary: Origin"]);
            }
            assert_eq!(
                fields("POST", path, LISTED, &[LISTED]),
                [
                    "access-control-allow-origin: https://chat.example",
                    EXPOSED,
                    LOADED,
                    "vary: Origin"
                ]
            );
        }
        for path in ["/icon.svg", "/nowhere", "/events/"] {
            for method in ["GET", "OPTIONS"] {
                assert!(fields(method, path, LISTED, &[]).is_empty());
            }
        }
    }

    #[test]
    fn a_preflight_names_methods_and_fields() {
        for (path, methods) in [
            ("/", "GET, HEAD, POST, OPTIONS"),
            ("/events", "GET, HEAD, OPTIONS"),
            ("/wschat.js", "GET, HEAD, OPTIONS"),
        ] {
            assert_eq!(
                fields("OPTIONS", path, "https://a.example", &[]),
                [
                    "access-control-allow-headers: Content-Type, Authorization, Last-Event-ID",
                    &format!("access-control-allow-methods: {methods}"),
                    "access-control-allow-origin: *",
                    "access-control-expose-headers: Retry-After, WWW-Authenticate",
                    "access-control-max-age: 600",
                    "cross-origin-resource-policy: cross-origin",
                ]
            );
        }
    }
}
