//! Responds to a request that is complete when its connection is accepted, without hyper.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Uri, Version};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::response::FullResponse;

/// The longest request head in bytes; few browsers send more.
const HEAD_BYTES_MAX: usize = 4096;
const HEADER_FIELDS_MAX: usize = 64;
/// The initial capacity for a response: one with status 101 is shorter, with what a listener is
/// told of a room with a short title and notice.
const RESPONSE_BYTES: usize = 512;

/// The request and its length in bytes; leaves it in the socket. `None` if the request is not
/// complete, is not HTTP/1.1, or has a body: such requests are left to hyper.
pub(crate) fn peek_request(socket: impl AsFd) -> Option<(Request<Empty<Bytes>>, usize)> {
    peek(socket, parse)?
}

/// Shows `look` what has arrived, and leaves it in the socket. `None` if that is nothing.
pub(crate) fn peek<T>(socket: impl AsFd, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut buffer = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    let ((bytes, _), _) = recv(socket, &mut buffer, RecvFlags::PEEK).ok()?;
    Some(look(bytes))
}

fn parse(bytes: &[u8]) -> Option<(Request<Empty<Bytes>>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    if head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(Empty::new());
    *request.version_mut() = Version::HTTP_11;
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    let headers = request.headers_mut();
    headers.reserve(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    let has_body = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    (!has_body).then_some((request, length))
}

/// Reads the `length` bytes of the request, and sends `response` and what `then` appends.
///
/// # Errors
///
/// The socket's; [`ErrorKind::WriteZero`] if it does not take the whole response.
pub(crate) fn respond(
    socket: impl AsFd,
    length: usize,
    response: &FullResponse,
    then: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    recv(&socket, buffer.get_mut(..length).unwrap_or_default(), RecvFlags::empty())?;
    write(socket, response, then)
}

/// Sends `response` to a client that cannot be served, and shuts the connection down. Errors
/// are ignored: the connection is lost either way.
pub(crate) fn reject(socket: impl AsFd, response: &FullResponse) {
    let mut buffer = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    // If bytes are left unread, closing resets the connection.
    let _ = recv(&socket, &mut buffer, RecvFlags::empty());
    let _ = write(&socket, response, |_| {});
    let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
}

/// Sends `response`, and what `then` appends to it, at once.
///
/// # Errors
///
/// As [`respond`].
pub(crate) fn write(
    socket: impl AsFd,
    response: &FullResponse,
    then: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let mut bytes = encode(response);
    then(&mut bytes);
    match send(socket, &bytes, SendFlags::NOSIGNAL)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// The bytes of a response after which the connection is closed, or has been upgraded.
pub(crate) fn encode(response: &FullResponse) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RESPONSE_BYTES);
    bytes.extend_from_slice(format!("HTTP/1.1 {}\r\n", response.status()).as_bytes());
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(response.body());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /?a HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nAccept: a\r\nAccept: b\r\n\r\n";

    #[test]
    fn a_complete_head_is_parsed_and_the_rest_is_left() {
        let (request, length) = parse(format!("{HEAD}more").as_bytes()).unwrap();
        assert_eq!(length, HEAD.len());
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/"));
        let fields = request.headers().iter();
        let fields: Vec<_> =
            fields.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(
            fields,
            [("host", &b"h"[..]), ("x-empty", b""), ("accept", b"a"), ("accept", b"b")]
        );
    }

    #[test]
    fn other_requests_are_left_to_hyper() {
        for cut in 0..HEAD.len() {
            assert!(parse(&HEAD.as_bytes()[..cut]).is_none(), "{cut}");
        }
        for (from, to) in [
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("GET /?a", "GET /?\0"),
            ("GET /", "\r\n\r\n\0\r\nQUIT\nGET /"),
            ("Host", "Ho st"),
            ("Accept: a", "Content-Length: 0"),
            ("Accept: a", "Transfer-Encoding: chunked"),
        ] {
            let changed = HEAD.replacen(from, to, 1);
            assert_ne!(changed, HEAD, "{from} is in the head");
            assert!(parse(changed.as_bytes()).is_none(), "{to}");
        }
    }
}
