//! From a request's head to its answer: no socket, no clock, no state.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::page;
use crate::config::Origin;
use crate::server::{Rejection, check_host};

/// What an answer depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct AnswerOptions {
    /// Whether the page is given to those who ask for it.
    pub page: bool,
    /// Bytes of the longest message, which the page wants to know.
    pub message_bytes_max: usize,
    /// Why there is no WebSocket for whoever asks, if there is none.
    pub barred: Option<Rejection>,
}

/// All that can be asked for here.
const METHODS: &str = "GET, HEAD, OPTIONS";
/// The version of the WebSocket protocol that is spoken (RFC 6455, 4.1).
const WEBSOCKET_VERSION: &str = "13";
/// Seconds after which a client that found no place may try again.
const RETRY_AFTER_SECS: &str = "10";
/// The same for one that was too fast: no pace is less than one in a second.
const RETRY_SLOWER_SECS: &str = "1";

/// The answer to `request`; its status is 101 if and only if the connection
/// is to become a WebSocket.
///
/// # Examples
///
/// ```
/// use hyper::{Request, StatusCode};
/// use wschat::server::{AnswerOptions, answer};
/// let request = Request::get("/nowhere").header("host", "chat.example").body(String::new()).unwrap();
/// let terms = AnswerOptions { page: true, message_bytes_max: 16_384, barred: None };
/// let answer = answer(&request, terms);
/// assert_eq!(answer.status(), StatusCode::NOT_FOUND);
/// ```
pub fn answer<B: Body>(request: &Request<B>, terms: AnswerOptions) -> Response<Full<Bytes>> {
    if let Err(sentence) = check_host(request) {
        return refuse(StatusCode::BAD_REQUEST, sentence);
    }
    let asks_for_options = request.method() == Method::OPTIONS;
    if asks_for_options && request.uri().path() == "*" {
        return options();
    }
    let Some((file, tag)) = page::find(request.uri().path(), terms.message_bytes_max) else {
        return refuse(StatusCode::NOT_FOUND, "There is nothing here; the room is at /.");
    };
    let at_root = file.path == "/";
    if !terms.page && !at_root {
        return refuse(StatusCode::NOT_FOUND, "The page is switched off; the room is at /.");
    }
    if asks_for_options {
        return options();
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer =
            refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET, HEAD and OPTIONS are known here.");
        set(&mut answer, header::ALLOW, METHODS);
        return answer;
    }
    if at_root && wants_websocket(request) {
        return upgrade(request, terms);
    }
    if !terms.page {
        return upgrade_required(
            "This is a WebSocket room without a page: connect to it with a WebSocket.",
        );
    }
    give(file, &tag, request.headers(), terms.message_bytes_max)
}

/// Whether this asks for a WebSocket, rightly or wrongly. HTTP/1.0 has no
/// upgrade, so there it is ignored (RFC 9110, 7.8).
fn wants_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && (has_token(headers, header::UPGRADE, "websocket")
            // A proxy that does not pass on Upgrade leaves these.
            || headers.contains_key(header::SEC_WEBSOCKET_KEY)
            || headers.contains_key(header::SEC_WEBSOCKET_VERSION))
}

/// The server's side of the opening handshake (RFC 6455, 4.2).
fn upgrade<B: Body>(request: &Request<B>, terms: AnswerOptions) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let bad = |sentence| refuse(StatusCode::BAD_REQUEST, sentence);
    if !has_token(headers, header::UPGRADE, "websocket") {
        return bad("The request has no `Upgrade: websocket`; a proxy may have dropped it.");
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return bad("The request has no `Connection: Upgrade`; a proxy may have dropped it.");
    }
    match only(headers, header::SEC_WEBSOCKET_VERSION) {
        None => return bad("The request needs one Sec-WebSocket-Version."),
        Some(version) if version != WEBSOCKET_VERSION => {
            return upgrade_required("Only version 13 of the WebSocket protocol is spoken here.");
        }
        Some(_) => {}
    }
    let Some(key) = only(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
        return bad("The request needs one Sec-WebSocket-Key of 16 bytes in base64.");
    };
    if !request.body().is_end_stream() {
        return bad("A request for a WebSocket has no body.");
    }
    if let Some(why) = terms.barred {
        return bar(why);
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    set(&mut answer, header::UPGRADE, "websocket");
    set(&mut answer, header::CONNECTION, "Upgrade");
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// A sentence, and when to try again if that may help.
pub(crate) fn bar(why: Rejection) -> Response<Full<Bytes>> {
    let (status, sentence, retry_after_secs) = match why {
        Rejection::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The room is full; try again later.",
            Some(RETRY_AFTER_SECS),
        ),
        Rejection::System => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This machine has no room for another connection; try again later.",
            Some(RETRY_AFTER_SECS),
        ),
        Rejection::AddressFull => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many connections are open from this address; try again later.",
            Some(RETRY_AFTER_SECS),
        ),
        Rejection::AddressRate => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many connections are opened from this address; try again more slowly.",
            Some(RETRY_SLOWER_SECS),
        ),
        Rejection::Origin => {
            (StatusCode::FORBIDDEN, "Pages of this origin may not enter the room.", None)
        }
        Rejection::Late | Rejection::Crowded => {
            (StatusCode::REQUEST_TIMEOUT, "The request did not come in time.", None)
        }
    };
    let mut answer = refuse(status, sentence);
    if let Some(secs) = retry_after_secs {
        set(&mut answer, header::RETRY_AFTER, secs);
    }
    answer
}

/// What can be asked for (RFC 9110, 9.3.7). Load balancers ask so whether there is
/// anybody at all.
fn options() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    set(&mut answer, header::ALLOW, METHODS);
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    end(&mut answer);
    answer
}

/// A file of the page, or the word that the browser has it already.
fn give(
    file: &page::File,
    tag: &str,
    headers: &HeaderMap,
    message_bytes_max: usize,
) -> Response<Full<Bytes>> {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.map(|listed| listed.strip_prefix("W/").unwrap_or(listed))
            .any(|listed| listed == tag || listed == "*")
    });
    let mut answer = if known {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let mut answer = Response::new(Full::new(file.content(message_bytes_max)));
        set(&mut answer, header::CONTENT_TYPE, file.media_type);
        answer
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    // Ask every time, get it only if it changed: a page of another version
    // must not meet this server.
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    end(&mut answer);
    answer
}

/// An answer of one sentence to a person.
fn refuse(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{sentence}\n"))));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    end(&mut answer);
    answer
}

/// 426 with what it must say: which protocol, and of which version.
fn upgrade_required(sentence: &'static str) -> Response<Full<Bytes>> {
    let mut answer = refuse(StatusCode::UPGRADE_REQUIRED, sentence);
    set(&mut answer, header::UPGRADE, "websocket");
    set(&mut answer, header::CONNECTION, "Upgrade, close");
    set(&mut answer, header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION);
    answer
}

/// What every answer but an upgrade says: that the connection ends with it,
/// and what keeps a browser from doing with it more than it should.
fn end(answer: &mut Response<Full<Bytes>>) {
    set(answer, header::CONNECTION, "close");
    set(answer, header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY);
    set(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(answer, header::REFERRER_POLICY, "no-referrer");
    set(answer, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(answer, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
}

fn set(answer: &mut Response<Full<Bytes>>, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// The value of a header that may stand there only once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok().map(str::trim) }
}

/// Whether a header that is a list of tokens names `token`, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(token))
}

/// Whether a browser says that a page asks which is none of `origins`. Who says
/// nothing of a page is no browser, and free to enter; so is everybody where
/// none are listed.
pub(crate) fn is_foreign(headers: &HeaderMap, origins: &[Origin]) -> bool {
    if origins.is_empty() || !headers.contains_key(header::ORIGIN) {
        return false;
    }
    let origin = only(headers, header::ORIGIN).and_then(|text| text.parse().ok());
    origin.is_none_or(|origin: Origin| !origins.contains(&origin))
}

/// Whether `key` is 16 bytes in base64: 22 digits and two signs of padding.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    digits.len() == 22
        && digits.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const ROOM: AnswerOptions =
        AnswerOptions { page: true, message_bytes_max: 16_384, barred: None };
    const UPGRADE: &str = "GET / HTTP/1.1|host: h|upgrade: websocket|connection: Upgrade|\
        sec-websocket-version: 13|sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

    /// A request of one line, its parts parted by `|`.
    fn request(text: &str) -> Request<Full<Bytes>> {
        let (line, headers) = text.split_once('|').unwrap_or((text, ""));
        let words: Vec<&str> = line.split(' ').collect();
        let version = if words[2] == "HTTP/1.0" { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut request = Request::builder().method(words[0]).uri(words[1]).version(version);
        for header in headers.split('|').filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        request.body(Full::default()).unwrap()
    }

    fn check(text: &str, terms: AnswerOptions, want: u16) -> Response<Full<Bytes>> {
        let answer = answer(&request(text), terms);
        assert_eq!(answer.status().as_u16(), want, "{text}");
        answer
    }

    fn header<'a>(answer: &'a Response<Full<Bytes>>, name: &str) -> &'a str {
        answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(answer: Response<Full<Bytes>>) -> String {
        let body =
            futures_util::FutureExt::now_or_never(answer.into_body().collect()).unwrap().unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn requests_and_their_status() {
        for (line, want) in [
            ("GET / HTTP/1.1|host: h", 200),
            ("GET /?token=x HTTP/1.1|host: h", 200),
            ("HEAD / HTTP/1.1|host: h", 200),
            ("GET / HTTP/1.0", 200),
            ("GET /wschat.js HTTP/1.1|host: h", 200),
            ("GET /wschat.css HTTP/1.1|host: h", 200),
            ("GET /icon.svg HTTP/1.1|host: h", 200),
            ("GET /index.html HTTP/1.1|host: h", 404),
            ("GET /favicon.ico HTTP/1.1|host: h", 404),
            ("GET // HTTP/1.1|host: h", 404),
            ("GET /../etc/passwd HTTP/1.1|host: h", 404),
            ("POST /nowhere HTTP/1.1|host: h", 404),
            ("POST / HTTP/1.1|host: h", 405),
            ("OPTIONS / HTTP/1.1|host: h", 200),
            ("OPTIONS / HTTP/1.0", 200),
            ("OPTIONS * HTTP/1.1|host: h", 200),
            ("OPTIONS /wschat.js HTTP/1.1|host: h", 200),
            ("OPTIONS /nowhere HTTP/1.1|host: h", 404),
            ("OPTIONS / HTTP/1.1", 400),
            ("GET * HTTP/1.1|host: h", 404),
            ("PUT /wschat.js HTTP/1.1|host: h", 405),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1|host: a|host: b", 400),
            ("GET / HTTP/1.1|host: a b", 400),
            ("GET /nowhere HTTP/1.1|host: a@b", 400),
            ("GET / HTTP/1.0|host: a/b", 400),
            ("GET / HTTP/1.0|host: a|host: a", 400),
            ("GET http://h/ HTTP/1.1|host: a b", 400),
            ("GET http://h/ HTTP/1.1|host: h", 200),
            ("GET / HTTP/1.1|host: ", 200),
            // An upgrade to something else is ignored.
            ("GET / HTTP/1.1|host: h|upgrade: h2c|connection: Upgrade", 200),
        ] {
            check(line, ROOM, want);
        }
    }

    #[test]
    fn upgrades_and_their_status() {
        check(UPGRADE, ROOM, 101);
        for (from, to, want) in [
            ("GET /", "GET /?a=b", 101),
            ("GET /", "GET /chat", 404),
            ("GET /", "GET /wschat.js", 200),
            ("GET /", "HEAD /", 200),
            ("GET /", "POST /", 405),
            ("HTTP/1.1", "HTTP/1.0", 200),
            ("|host: h", "", 400),
            ("|host: h", "|host: h/", 400),
            ("GET /", "OPTIONS /", 200),
            ("upgrade: websocket", "upgrade: WebSocket", 101),
            ("upgrade: websocket", "upgrade: h2c, websocket", 101),
            ("connection: Upgrade", "connection: keep-alive, upgrade", 101),
            ("connection: Upgrade", "connection: keep-alive|connection: upgrade", 101),
            ("upgrade: websocket|", "", 400),
            ("connection: Upgrade", "connection: close", 400),
            ("sec-websocket-version: 13|", "", 400),
            ("version: 13", "version: 8", 426),
            ("version: 13", "version: 14", 426),
            ("version: 13", "version: x", 426),
            ("version: 13", "version: 13|sec-websocket-version: 13", 400),
            ("|sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25=", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbX!sZSBub25jZQ==", 400),
            (
                "|sec-websocket-key",
                "|sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==|sec-websocket-key",
                400,
            ),
        ] {
            let changed = UPGRADE.replacen(from, to, 1);
            assert_ne!(changed, UPGRADE, "{from} is in the request");
            check(&changed, ROOM, want);
        }
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        let answer = check(UPGRADE, ROOM, 101);
        assert_eq!(header(&answer, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(header(&answer, "upgrade"), "websocket");
        assert_eq!(header(&answer, "connection"), "Upgrade");
    }

    #[test]
    fn a_wrong_version_is_told_the_right_one() {
        let answer = check(&UPGRADE.replace("version: 13", "version: 7"), ROOM, 426);
        assert_eq!(header(&answer, "sec-websocket-version"), "13");
        assert_eq!(header(&answer, "upgrade"), "websocket");
    }

    #[test]
    fn who_gets_no_seat_is_told_why_and_when_to_come_back() {
        for (why, status, retry_after) in [
            (Rejection::Full, 503, RETRY_AFTER_SECS),
            (Rejection::System, 503, RETRY_AFTER_SECS),
            (Rejection::AddressFull, 429, RETRY_AFTER_SECS),
            (Rejection::AddressRate, 429, RETRY_SLOWER_SECS),
            (Rejection::Origin, 403, ""),
        ] {
            let barred = AnswerOptions { barred: Some(why), ..ROOM };
            let answer = check(UPGRADE, barred, status);
            assert_eq!(header(&answer, "retry-after"), retry_after, "{why:?}");
            check("GET / HTTP/1.1|host: h", barred, 200);
            check(&UPGRADE.replace("version: 13", "version: 7"), barred, 426);
        }
    }

    #[test]
    fn origins_and_who_is_foreign() {
        let listed = ["https://Chat.example", "http://b\u{fc}cher.example:8080", "http://[::1]"];
        let listed: Vec<Origin> = listed.iter().map(|origin| origin.parse().unwrap()).collect();
        for (headers, want) in [
            ("", false),
            ("|origin: https://chat.example", false),
            ("|origin: https://chat.example:443", false),
            ("|origin: HTTPS://CHAT.EXAMPLE", false),
            ("|origin: http://xn--bcher-kva.example:8080", false),
            ("|origin: http://[::1]", false),
            ("|origin: http://chat.example", true),
            ("|origin: https://chat.example:8443", true),
            ("|origin: https://chat.example.", true),
            ("|origin: https://chat.example.evil.example", true),
            ("|origin: https://evil.example/https://chat.example", true),
            ("|origin: https://chat.example@evil.example", true),
            ("|origin: https://achat.example", true),
            ("|origin: https://a.chat.example", true),
            ("|origin: chat.example", true),
            ("|origin: null", true),
            ("|origin: ", true),
            ("|origin: https://chat.example https://evil.example", true),
            ("|origin: https://chat.example|origin: https://evil.example", true),
        ] {
            let request = request(&format!("GET / HTTP/1.1|host: h{headers}"));
            assert_eq!(is_foreign(request.headers(), &listed), want, "{headers}");
            assert!(!is_foreign(request.headers(), &[]), "{headers}");
        }
    }

    #[test]
    fn without_a_page_there_is_only_the_room() {
        let bare = AnswerOptions { page: false, ..ROOM };
        let answer = check("GET / HTTP/1.1|host: h", bare, 426);
        assert_eq!(header(&answer, "sec-websocket-version"), "13");
        check("HEAD / HTTP/1.1|host: h", bare, 426);
        check("GET / HTTP/1.0", bare, 426);
        check("GET /wschat.js HTTP/1.1|host: h", bare, 404);
        check("OPTIONS / HTTP/1.0", bare, 200);
        check("OPTIONS /wschat.js HTTP/1.0", bare, 404);
        check(UPGRADE, bare, 101);
    }

    #[test]
    fn a_refusal_is_one_sentence_that_a_browser_takes_for_text() {
        let answer = check(&UPGRADE.replace("upgrade: websocket|", ""), ROOM, 400);
        assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(
            text(answer),
            "The request has no `Upgrade: websocket`; a proxy may have dropped it.\n"
        );
        let answer = check("POST / HTTP/1.1|host: h", ROOM, 405);
        assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS");
    }

    #[test]
    fn options_are_told_without_a_body() {
        let answer = check("OPTIONS / HTTP/1.0", ROOM, 200);
        assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS");
        assert_eq!(header(&answer, "connection"), "close");
        assert_eq!(text(answer), "");
    }

    #[test]
    fn every_file_is_guarded_and_asked_for_again_only_if_it_changed() {
        for file in &page::FILES {
            let line = format!("GET {} HTTP/1.1|host: h", file.path);
            let answer = check(&line, ROOM, 200);
            assert!(header(&answer, "content-security-policy").starts_with("default-src 'none';"));
            assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
            assert_eq!(header(&answer, "cache-control"), "no-cache");
            assert_eq!(header(&answer, "content-type"), file.media_type);
            let tag = header(&answer, "etag").to_owned();
            assert_eq!(text(answer).as_bytes(), file.bytes);
            for (condition, want) in [
                (tag.clone(), 304),
                (format!("W/{tag}"), 304),
                (format!("\"other\", {tag}"), 304),
                ("*".to_owned(), 304),
                ("\"other\"".to_owned(), 200),
            ] {
                let answer = check(&format!("{line}|if-none-match: {condition}"), ROOM, want);
                assert_eq!(header(&answer, "etag"), tag);
            }
        }
    }

    #[test]
    fn the_page_says_how_long_a_message_may_be() {
        let page = |message_bytes_max| {
            let answer =
                check("GET / HTTP/1.1|host: h", AnswerOptions { message_bytes_max, ..ROOM }, 200);
            let tag = header(&answer, "etag").to_owned();
            (tag, text(answer))
        };
        let (usual, _) = page(16_384);
        let (tag, text) = page(1_000);
        assert!(text.contains("<body data-bytes-max=\"1000\">"), "{text}");
        let known = format!("GET / HTTP/1.1|host: h|if-none-match: {tag}");
        check(&known, AnswerOptions { message_bytes_max: 1_000, ..ROOM }, 304);
        check(&known, ROOM, 200);
        assert_ne!(tag, usual);
    }
}
