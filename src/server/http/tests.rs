//! Requests, and the responses to them.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version};

use super::error_response::{RETRY_AFTER_RATE_SECS, RETRY_AFTER_SECS, rejected};
use super::origin_check::is_allowed;
use super::page::FILES;
use super::response::FullResponse;
use super::routes::respond;
use crate::config::Origin;
use crate::server::admission::rejection::Rejection;

const UPGRADE: &str = "GET / HTTP/1.1|host: h|upgrade: websocket|connection: Upgrade|\
    sec-websocket-version: 13|sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
const GET: &str = "GET / HTTP/1.1|host: h";

/// A request whose lines are separated by `|`.
fn request(text: &str) -> Request<Full<Bytes>> {
    let mut lines = text.split('|');
    let words: Vec<_> = lines.next().unwrap().split(' ').collect();
    let version = if words[2] == "HTTP/1.0" { Version::HTTP_10 } else { Version::HTTP_11 };
    let request = Request::builder().method(words[0]).uri(words[1]).version(version);
    let request = lines.fold(request, |request, line| {
        let (name, value) = line.split_once(": ").unwrap();
        request.header(name, value)
    });
    request.body(Full::default()).unwrap()
}

fn check(text: &str, want: u16) -> FullResponse {
    let response = respond(&request(text), true, 16_384);
    assert_eq!(response.status().as_u16(), want, "{text}");
    response
}

fn header<'a>(response: &'a FullResponse, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn body(response: FullResponse) -> String {
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[test]
fn requests_and_their_status() {
    for (text, want) in [
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
        ("GET * HTTP/1.1|host: h", 404),
        ("POST /nowhere HTTP/1.1|host: h", 404),
        ("POST / HTTP/1.1|host: h", 405),
        ("PUT /wschat.js HTTP/1.1|host: h", 405),
        ("OPTIONS / HTTP/1.1|host: h", 200),
        ("OPTIONS / HTTP/1.0", 200),
        ("OPTIONS * HTTP/1.1|host: h", 200),
        ("OPTIONS /wschat.js HTTP/1.1|host: h", 200),
        ("OPTIONS /nowhere HTTP/1.1|host: h", 404),
        ("OPTIONS / HTTP/1.1", 400),
        // Host.
        ("GET / HTTP/1.1|host: ", 200),
        ("GET / HTTP/1.0|host: h", 200),
        ("GET / HTTP/1.0|host: ", 200),
        ("GET http://h/ HTTP/1.1|host: h", 200),
        ("GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1|host: a|host: b", 400),
        ("GET / HTTP/1.1|host: |host: ", 400),
        ("GET / HTTP/1.1|host: a b", 400),
        ("GET / HTTP/1.1|host: h\u{fc}", 400),
        ("GET /nowhere HTTP/1.1|host: a@b", 400),
        ("GET / HTTP/1.0|host: a/b", 400),
        ("GET / HTTP/1.0|host: a|host: a", 400),
        ("GET / HTTP/1.0|host: |host: ", 400),
        ("GET http://h/ HTTP/1.1|host: a b", 400),
        // The server ignores an upgrade to another protocol.
        ("GET / HTTP/1.1|host: h|upgrade: h2c|connection: Upgrade", 200),
    ] {
        check(text, want);
    }
}

#[test]
fn handshakes_and_their_status() {
    check(UPGRADE, 101);
    for (from, to, want) in [
        ("GET /", "GET /?a=b", 101),
        ("GET /", "GET /chat", 404),
        ("GET /", "GET /wschat.js", 200),
        ("GET /", "HEAD /", 200),
        ("GET /", "POST /", 405),
        ("GET /", "OPTIONS /", 200),
        ("HTTP/1.1", "HTTP/1.0", 200),
        ("|host: h", "", 400),
        ("|host: h", "|host: h/", 400),
        ("upgrade: websocket", "upgrade: WebSocket", 101),
        ("upgrade: websocket", "upgrade: h2c, websocket", 101),
        ("upgrade: websocket|", "", 400),
        ("connection: Upgrade", "connection: keep-alive, upgrade", 101),
        ("connection: Upgrade", "connection: keep-alive|connection: upgrade", 101),
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
        check(&changed, want);
    }
}

#[test]
fn header_fields_of_responses() {
    let no_upgrade = UPGRADE.replace("upgrade: websocket|", "");
    let old_version = UPGRADE.replace("version: 13", "version: 7");
    for (text, status, fields) in [
        (
            UPGRADE,
            101,
            // The accept key is the one of RFC 6455, 1.3.
            &[
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
            ][..],
        ),
        (&old_version, 426, &[("sec-websocket-version", "13"), ("upgrade", "websocket")]),
        (
            &no_upgrade,
            400,
            &[("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")],
        ),
        ("POST / HTTP/1.1|host: h", 405, &[("allow", "GET, HEAD, OPTIONS")]),
        ("OPTIONS / HTTP/1.0", 200, &[("allow", "GET, HEAD, OPTIONS"), ("connection", "close")]),
    ] {
        let response = check(text, status);
        fields.iter().for_each(|(name, value)| assert_eq!(header(&response, name), *value));
    }
    assert_eq!(
        body(check(&no_upgrade, 400)),
        "The request has no `Upgrade: websocket`; a proxy may have removed it.\n"
    );
    assert_eq!(body(check("OPTIONS / HTTP/1.0", 200)), "");
}

#[test]
fn rejections_and_when_to_try_again() {
    for (rejection, status, retry_after) in [
        (Rejection::Full, 503, RETRY_AFTER_SECS),
        (Rejection::System, 503, RETRY_AFTER_SECS),
        (Rejection::AddressFull, 429, RETRY_AFTER_SECS),
        (Rejection::AddressRate, 429, RETRY_AFTER_RATE_SECS),
        (Rejection::Origin, 403, ""),
    ] {
        let response = rejected(rejection);
        assert_eq!(response.status().as_u16(), status, "{rejection:?}");
        assert_eq!(header(&response, "retry-after"), retry_after, "{rejection:?}");
    }
}

#[test]
fn origins_that_are_allowed() {
    let listed = ["https://Chat.example", "http://b\u{fc}cher.example:8080", "http://[::1]"];
    let listed: Vec<Origin> = listed.iter().map(|origin| origin.parse().unwrap()).collect();
    for (fields, want) in [
        ("", true),
        ("|origin: https://chat.example", true),
        ("|origin: https://chat.example:443", true),
        ("|origin: HTTPS://CHAT.EXAMPLE", true),
        ("|origin: http://xn--bcher-kva.example:8080", true),
        ("|origin: http://[::1]", true),
        ("|origin: http://chat.example", false),
        ("|origin: https://chat.example:8443", false),
        ("|origin: https://chat.example.", false),
        ("|origin: https://chat.example.evil.example", false),
        ("|origin: https://evil.example/https://chat.example", false),
        ("|origin: https://chat.example@evil.example", false),
        ("|origin: https://achat.example", false),
        ("|origin: https://a.chat.example", false),
        ("|origin: chat.example", false),
        ("|origin: null", false),
        ("|origin: ", false),
        ("|origin: https://chat.example https://evil.example", false),
        ("|origin: https://chat.example|origin: https://evil.example", false),
    ] {
        let request = request(&format!("{GET}{fields}"));
        assert_eq!(is_allowed(request.headers(), &listed), want, "{fields}");
        assert!(is_allowed(request.headers(), &[]), "{fields}");
    }
}

#[test]
fn without_the_page_only_websockets_are_served() {
    for (text, want) in [
        (UPGRADE, 101),
        (GET, 426),
        ("HEAD / HTTP/1.1|host: h", 426),
        ("GET / HTTP/1.0", 426),
        ("GET /wschat.js HTTP/1.1|host: h", 404),
        ("OPTIONS / HTTP/1.0", 200),
        ("OPTIONS /wschat.js HTTP/1.0", 404),
    ] {
        assert_eq!(respond(&request(text), false, 16_384).status().as_u16(), want, "{text}");
    }
}

#[test]
fn every_file_is_guarded_and_sent_again_only_if_it_changed() {
    for file in FILES.iter() {
        let line = format!("GET {} HTTP/1.1|host: h", file.path);
        let response = check(&line, 200);
        assert!(header(&response, "content-security-policy").starts_with("default-src 'none';"));
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        assert_eq!(header(&response, "content-type"), file.media_type);
        let etag = header(&response, "etag").to_owned();
        assert_eq!(body(response).as_bytes(), file.bytes);
        for (condition, want) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"other\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            let response = check(&format!("{line}|if-none-match: {condition}"), want);
            assert_eq!(header(&response, "etag"), etag);
        }
    }
}

#[test]
fn the_page_contains_the_longest_message() {
    let response = respond(&request(GET), true, 1_000);
    let etag = header(&response, "etag").to_owned();
    let page = body(response);
    assert!(page.contains("<body data-bytes-max=\"1000\">"), "{page}");
    let cached = format!("{GET}|if-none-match: {etag}");
    assert_eq!(respond(&request(&cached), true, 1_000).status().as_u16(), 304);
    check(&cached, 200);
}
