//! What HTTP asks of every server and hyper leaves to it.

use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::header::HOST;
use hyper::{Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Refuses a request whose host is not exactly one that can be (RFC 9112, 3.2).
///
/// # Errors
///
/// A sentence for the answer, which has to be 400.
///
/// # Examples
///
/// ```
/// use hyper::Request;
/// use wschat::server::check_host;
/// assert!(check_host(&Request::get("/").header("host", "[::1]:80").body(()).unwrap()).is_ok());
/// assert!(check_host(&Request::get("/").header("host", "a b").body(()).unwrap()).is_err());
/// assert!(check_host(&Request::get("/").body(()).unwrap()).is_err());
/// ```
pub fn check_host<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() >= Version::HTTP_11 => Err("The request has no Host."),
        (None, _) => Ok(()),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err("The Host of the request is not valid."),
        (Some(_), Some(_)) => Err("The request has more than one Host."),
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, 7.2), where the host may be
/// empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((literal, port)) = rest.split_once(']') else { return false };
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_port && (literal.parse::<Ipv6Addr>().is_ok() || is_future_address(literal));
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    is_name(name) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `IPvFuture` (RFC 3986, 3.2.2): an address of a version that is still to come.
fn is_future_address(text: &str) -> bool {
    let versioned = text.strip_prefix(['v', 'V']).and_then(|text| text.split_once('.'));
    versioned.is_some_and(|(version, address)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !address.is_empty()
            && address.bytes().all(|byte| byte == b':' || is_plain(byte))
    })
}

/// `reg-name` (RFC 3986, 3.2.2), which IPv4 addresses are as well.
fn is_name(text: &str) -> bool {
    let mut parts = text.split('%');
    let mut is_plain_text = |text: &str| text.bytes().all(is_plain);
    parts.next().is_some_and(&mut is_plain_text)
        && parts.all(|part| {
            part.split_at_checked(2).is_some_and(|(digits, rest)| {
                digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && is_plain_text(rest)
            })
        })
}

/// `unreserved` or `sub-delims` (RFC 3986, 2.2 and 2.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// A client's stream whose request reads as one of HTTP/1.1 if it is one of
/// HTTP/1.2 or later: what is to be done with it is the same (RFC 9110, 2.5), but
/// hyper does not know it.
#[derive(Debug)]
pub struct Http11<S> {
    stream: S,
    line: Line,
}

/// What has come of the request's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but empty lines, which are no part of it (RFC 9112, 2.2).
    Empty,
    /// So many bytes of [`MAJOR`] at the end of what has come.
    Begun(usize),
    /// All, or all that matters.
    Over,
}

/// What stands before the minor version.
const MAJOR: &[u8] = b" HTTP/1.";

impl<S> Http11<S> {
    /// The same stream, of which nothing of a request has been read.
    pub fn new(stream: S) -> Self {
        Self { stream, line: Line::Empty }
    }

    /// The stream itself; nothing that was read from it is kept here.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl Line {
    /// Takes the next bytes of the stream, and changes the version if it is in them.
    fn take(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *self = match (*self, *byte) {
                (Self::Over, _) => return,
                (Self::Empty, b'\r' | b'\n') => Self::Empty,
                (Self::Begun(_), b'\n') => Self::Over,
                (Self::Begun(count), minor) if count == MAJOR.len() => {
                    if (b'2'..=b'9').contains(&minor) {
                        *byte = b'1';
                    }
                    Self::Over
                }
                (Self::Begun(count), next) if MAJOR.get(count) == Some(&next) => {
                    Self::Begun(count + 1)
                }
                (_, next) => Self::Begun(usize::from(Some(&next) == MAJOR.first())),
            };
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http11<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.line.take(buffer.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http11<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_all_forms() {
        for (host, want) in [
            ("chat.example", true),
            ("chat.example.", true),
            ("CHAT.example:8080", true),
            ("chat.example:", true),
            ("127.0.0.1:80", true),
            ("[::1]", true),
            ("[::ffff:192.0.2.1]:80", true),
            ("[::1]:", true),
            ("[v1.a:b]", true),
            ("a_b-c~d", true),
            ("b%C3%BCcher.example", true),
            ("a,b;c=d", true),
            // A client that has no host says so (RFC 9112, 3.2).
            ("", true),
            (":80", true),
            ("a b", false),
            ("a\tb", false),
            ("a/b", false),
            ("a?b", false),
            ("a#b", false),
            ("a@b", false),
            ("user:password@h", false),
            ("http://h", false),
            ("h:80:80", false),
            ("h:8o", false),
            ("h:-1", false),
            ("h: 80", false),
            ("a\\b", false),
            ("<h>", false),
            ("\"h\"", false),
            ("h^", false),
            ("h|", false),
            ("{h}", false),
            ("h%", false),
            ("h%2", false),
            ("h%zz", false),
            ("b\u{fc}cher.example", false),
            ("::1", false),
            ("[::1", false),
            ("::1]", false),
            ("[::1]80", false),
            ("[::1]:8o", false),
            ("[::1]]", false),
            ("[]", false),
            ("[h]", false),
            ("[127.0.0.1]", false),
            ("[fe80::1%eth0]", false),
            ("[v.a]", false),
            ("[v1.]", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), want, "{host:?}");
        }
        assert!(!is_host(b"h\xff"));
    }

    #[test]
    fn a_request_has_one_host() {
        let check = |version, hosts: &[&str], want: bool| {
            let mut request = Request::get("/").version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let got = check_host(&request.body(()).unwrap());
            assert_eq!(got.is_ok(), want, "{version:?} {hosts:?}");
        };
        for version in [Version::HTTP_10, Version::HTTP_11] {
            check(version, &["h"], true);
            check(version, &[""], true);
            check(version, &["a b"], false);
            check(version, &["h", "h"], false);
            check(version, &["", ""], false);
        }
        check(Version::HTTP_11, &[], false);
        check(Version::HTTP_10, &[], true);
    }

    /// What is read of `request`, in pieces of every size.
    fn check_version(request: &str, want: &str) {
        for size in 1..=request.len() {
            let mut line = Line::Empty;
            let mut bytes = request.as_bytes().to_vec();
            bytes.chunks_mut(size).for_each(|piece| line.take(piece));
            assert_eq!(String::from_utf8(bytes).unwrap(), want, "{size} bytes at a time");
        }
    }

    #[test]
    fn later_versions_of_http_1_are_read_as_the_latest_that_is_spoken() {
        for minor in 2..=9 {
            let request = format!("GET / HTTP/1.{minor}\r\nA: B HTTP/1.2\r\n\r\n");
            check_version(&request, "GET / HTTP/1.1\r\nA: B HTTP/1.2\r\n\r\n");
        }
        check_version("\r\n\r\n\nGET / HTTP/1.2\n\n", "\r\n\r\n\nGET / HTTP/1.1\n\n");
        check_version("GET  HTTP HTTP/1.2\r\n", "GET  HTTP HTTP/1.1\r\n");
        for same in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.a\r\n\r\n",
            "GET / HTTP/1.12\r\n\r\n",
            "GET / HTTP/2.2\r\n\r\n",
            "GET / HTTP/11.2\r\n\r\n",
            "GET / http/1.2\r\n\r\n",
            "GET /HTTP/1.2 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.\r\n2",
            "GET /\r\n HTTP/1.2\r\n\r\n",
            "\r\n",
        ] {
            check_version(same, same);
        }
    }
}
