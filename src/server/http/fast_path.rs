//! A request that has come as a whole, and the answer that lets it in: what the
//! door needs to know of HTTP to do without a task for such a guest.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Uri, Version};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

/// The longest head that is answered at once, in bytes; few browsers send more.
const HEAD_BYTES_MAX: usize = 4096;
/// The most headers of such a request.
const HEADERS_MAX: usize = 64;
/// Room for an answer with an upgrade, in bytes.
const ANSWER_BYTES: usize = 160;

/// The request of a guest, and its length in bytes; it stays where it is. None
/// if it has not come as a whole, is no plain HTTP/1.1, or has a body: all that
/// is for hyper.
pub(crate) fn request(socket: impl AsFd) -> Option<(Request<Empty<Bytes>>, usize)> {
    let mut space = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    let ((bytes, _), _) = recv(socket, &mut space, RecvFlags::PEEK).ok()?;
    parse(bytes)
}

fn parse(bytes: &[u8]) -> Option<(Request<Empty<Bytes>>, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    if head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(Empty::new());
    *request.version_mut() = Version::HTTP_11;
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    let fields = request.headers_mut();
    fields.reserve(head.headers.len());
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    let plain = !fields.contains_key(CONTENT_LENGTH) && !fields.contains_key(TRANSFER_ENCODING);
    plain.then_some((request, length))
}

/// Takes the `length` bytes of the request, no byte more, and gives `answer`,
/// which has no body.
///
/// # Errors
///
/// The socket's; also if it does not take so few bytes at once.
pub(crate) fn give<B>(socket: impl AsFd, length: usize, answer: &Response<B>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    recv(&socket, space.get_mut(..length).unwrap_or_default(), RecvFlags::empty())?;
    let bytes = write(answer);
    match send(socket, &bytes, SendFlags::NOSIGNAL)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Gives a whole `answer` to a guest that is not waited for, and what it has asked
/// is taken, so that closing does not reset the connection.
pub(crate) fn turn_away(socket: impl AsFd, answer: &Response<Full<Bytes>>) {
    let mut space = [MaybeUninit::uninit(); HEAD_BYTES_MAX];
    // Whoever has gone meanwhile need not hear it.
    let _ = recv(&socket, &mut space, RecvFlags::empty());
    let mut bytes = write(answer);
    if let Some(Some(Ok(body))) = answer.body().clone().frame().now_or_never() {
        bytes.extend_from_slice(&body.into_data().unwrap_or_default());
    }
    let _ = send(&socket, &bytes, SendFlags::NOSIGNAL);
    let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
}

fn write<B>(answer: &Response<B>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    let line = format!("HTTP/1.1 {}\r\n", answer.status());
    bytes.extend_from_slice(line.as_bytes());
    for (name, value) in answer.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /?a HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nAccept: a\r\nAccept: b\r\n\r\n";

    #[test]
    fn a_whole_head_is_read_and_what_follows_is_left() {
        let (request, length) = parse(format!("{HEAD}more").as_bytes()).unwrap();
        assert_eq!(length, HEAD.len());
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/"));
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            fields,
            [("host", &b"h"[..]), ("x-empty", b""), ("accept", b"a"), ("accept", b"b")]
        );
    }

    #[test]
    fn all_else_is_left_to_others() {
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

    #[test]
    fn an_answer_is_written_as_it_is() {
        let answer =
            Response::builder().status(101).header("upgrade", "websocket").body(()).unwrap();
        assert_eq!(
            write(&answer),
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"
        );
    }
}
