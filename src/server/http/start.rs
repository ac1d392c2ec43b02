//! From which message a listener wants the feed: `?since=` and `Last-Event-ID`.

use hyper::header::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::upgrade::single_value;
use crate::room::Start;

/// The header field in which an EventSource names the last event that it has.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Parameters that are read like [`LAST_EVENT_ID`]: some libraries cannot set a header field.
const LAST_EVENT_ID_PARAMETERS: [&str; 2] = ["lastEventId", "last_event_id"];

const SINCE_TWICE: &str = "The parameter since occurs more than once.";
const SINCE_INVALID: &str = "The parameter since is not a time in UTC \
    as in RFC 3339, like 2020-08-11T22:26:58.118678679Z.";

/// The start of a WebSocket.
///
/// # Errors
///
/// What is wrong with the parameter `since`.
pub(crate) fn of_websocket(query: Option<&str>) -> Result<Start, &'static str> {
    Ok(since(query)?.unwrap_or_default())
}

/// The start of an event stream. A wrong `Last-Event-ID` is not an error: after a response
/// with a status other than 200 an EventSource never connects again.
///
/// # Errors
///
/// As [`of_websocket`].
pub(crate) fn of_event_stream(
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Start, &'static str> {
    let last_id = |id: &str| id.parse().map_or(Start::Unknown, Start::After);
    if headers.get_all(LAST_EVENT_ID).iter().any(|value| !value.is_empty()) {
        return Ok(single_value(headers, LAST_EVENT_ID).map_or(Start::Unknown, last_id));
    }
    if let Some(start) = since(query)? {
        return Ok(start);
    }
    let ids = LAST_EVENT_ID_PARAMETERS.iter().flat_map(|name| parameters(query, name));
    let mut ids = ids.filter(|id| !id.is_empty());
    Ok(match (ids.next(), ids.next()) {
        (None, _) => Start::Live,
        (Some(id), None) => last_id(&String::from_utf8_lossy(&id)),
        (Some(_), Some(_)) => Start::Unknown,
    })
}

/// The parameter `since`; `None` if it is missing or empty.
fn since(query: Option<&str>) -> Result<Option<Start>, &'static str> {
    let mut values = parameters(query, "since");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SINCE_TWICE);
    }
    if value.is_empty() {
        return Ok(None);
    }
    let since = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    since.map(|since| Some(Start::After(since))).ok_or(SINCE_INVALID)
}

/// The decoded values of a parameter. A `+` is a plus sign, as in `+00:00`.
fn parameters(query: Option<&str>, name: &str) -> impl Iterator<Item = Vec<u8>> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_named = percent_decode_str(key).eq(name.bytes());
        is_named.then(|| percent_decode_str(value).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const TIM: &str = "2020-08-11T22:26:58.118678679Z";

    /// The time after which it starts; `live`, `unknown` or `error`.
    fn text(start: Result<Start, &str>) -> String {
        match start {
            Ok(Start::Live) => "live".into(),
            Ok(Start::After(since)) => since.to_string(),
            Ok(Start::Unknown) => "unknown".into(),
            Err(_) => "error".into(),
        }
    }

    #[test]
    fn the_parameter_since() {
        let long = format!("since={TIM}");
        for (query, want) in [
            ("", "live"),
            ("a=b&sinc=1&Since=2&since2=3", "live"),
            ("since", "live"),
            ("since=", "live"),
            (&*long, TIM),
            ("since=2020-08-11T22%3a26%3A58%2e118678679%5A", TIM),
            ("a&since=2020-08-11t22:26:58.1186786799+00:00&b", TIM),
            ("since=2020-08-11t22:26:58.118678679%2B00:00", TIM),
            ("s%69nce=2020-08-11t22:26:58.118678679z", TIM),
            ("since=now", "error"),
            ("since=%ff", "error"),
            ("since=2020-08-11T22:26:58%00Z", "error"),
            ("since=2020-08-11T22:26:58Z%", "error"),
            ("since=2020-08-11T22:26:58%20Z", "error"),
            ("since=&since=", "error"),
            ("since=2020-08-11T22:26:58Z&since=2020-08-11T22:26:58Z", "error"),
        ] {
            assert_eq!(text(of_websocket(Some(query))), want, "{query}");
            assert_eq!(text(of_event_stream(&HeaderMap::new(), Some(query))), want, "{query}");
        }
        assert_eq!(text(of_websocket(None)), "live");
    }

    #[test]
    fn the_header_field_comes_first_and_is_never_an_error() {
        const OTHER: &str = "2021-01-01T00:00:00.000000000Z";
        for (ids, query, want) in [
            (&[TIM][..], "since=now", TIM),
            (&["x"], "", "unknown"),
            (&["x"], &format!("since={TIM}"), "unknown"),
            (&["\u{fc}"], "", "unknown"),
            (&[TIM, TIM], "", "unknown"),
            (&[""], &format!("since={TIM}"), TIM),
            (&[], &format!("lastEventId={OTHER}&since={TIM}"), TIM),
            (&[], &format!("since=&lastEventId={OTHER}"), OTHER),
            (&[], &format!("lastEventId=&last_event_id={OTHER}"), OTHER),
            (&[], "lastEventId=x", "unknown"),
            (&[], "last_event_id=%ff", "unknown"),
            (&[], &format!("lastEventId={TIM}&last_event_id={OTHER}"), "unknown"),
            (&[], "lastEventId=", "live"),
        ] {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(LAST_EVENT_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            }
            assert_eq!(text(of_event_stream(&headers, Some(query))), want, "{ids:?} {query}");
        }
    }
}
