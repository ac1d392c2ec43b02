//! The response to a request for an event stream (`GET /events`).

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};

use super::error_response::error;
use super::response::{FullResponse, last_response};
use crate::sse::RETRY;

/// The path of the event stream.
pub(crate) const PATH: &str = "/events";

const TYPE: (&str, &str) = ("text", "event-stream");

/// The response to a GET or HEAD request. Its status is 200 if and only if the client accepts
/// an event stream. Its body is the beginning of the stream, which ends with the connection.
pub(crate) fn response<B>(request: &Request<B>) -> FullResponse {
    if !is_acceptable(request.headers()) {
        let sentence = "Here is an event stream: accept text/event-stream.";
        return error(StatusCode::NOT_ACCEPTABLE, sentence, &[]);
    }
    let fields = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        // nginx must not buffer the stream.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let is_head = request.method() == Method::HEAD;
    let body = if is_head { Bytes::new() } else { Bytes::from_static(RETRY.as_bytes()) };
    last_response(StatusCode::OK, body, &fields)
}

/// Whether `Accept` allows event streams: the most specific range that matches decides
/// (RFC 9110, 12.5.1).
fn is_acceptable(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::ACCEPT).iter();
    let ranges = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let ranges = ranges.filter_map(|range| std::str::from_utf8(range).ok());
    let mut is_empty = true;
    let mut best = None;
    for range in ranges.map(str::trim).filter(|range| !range.is_empty()) {
        is_empty = false;
        let mut parts = range.split(';').map(str::trim);
        let Some((kind, subtype)) = parts.next().and_then(|range| range.split_once('/')) else {
            continue;
        };
        let matches = |range: &str, name: &str| range.eq_ignore_ascii_case(name);
        let specificity = match (kind.trim(), subtype.trim()) {
            (kind, subtype) if matches(kind, TYPE.0) && matches(subtype, TYPE.1) => 2,
            (kind, "*") if matches(kind, TYPE.0) => 1,
            ("*", "*") => 0,
            _ => continue,
        };
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())
        });
        let is_allowed = weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0));
        // Of two ranges that are equally specific, one that allows is enough.
        best = best.max(Some((specificity, is_allowed)));
    }
    is_empty || best.is_some_and(|(_, is_allowed)| is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn the_most_specific_range_decides() {
        for (accept, want) in [
            (&[][..], true),
            (&[""], true),
            (&["text/event-stream"], true),
            (&["Text/Event-Stream;charset=utf-8"], true),
            (&["*/*"], true),
            (&["text/*"], true),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], true),
            (&["application/json", "text/event-stream ; q=0.1"], true),
            (&["text/event-stream;q=1.000"], true),
            (&["text/html"], false),
            (&["application/json, text/plain"], false),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q=0.000, */*"], false),
            (&["*/*;q=0"], false),
            (&["text/*;q=0, */*"], false),
            (&["text/event-stream;q=x"], false),
            (&["*"], false),
            (&["audio/*"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(is_acceptable(&headers), want, "{accept:?}");
        }
    }
}
