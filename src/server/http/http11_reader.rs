//! Lets hyper read requests of HTTP/1.2 to HTTP/1.9.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Changes the version of a request from HTTP/1.2 or later to HTTP/1.1. A server must treat
/// it like the highest version that it supports (RFC 9110, 2.5), but hyper rejects it. A
/// function gets all bytes as hyper does.
#[derive(Debug)]
pub(crate) struct Http11Reader<R, F> {
    reader: R,
    line: RequestLine,
    observe: F,
}

/// How much of the request line has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestLine {
    /// Only empty lines, which are not part of it (RFC 9112, 2.2).
    NotBegun,
    /// The last so many bytes are the first ones of [`MAJOR`].
    InMajor(usize),
    /// All of it, or the version.
    Done,
}

/// What precedes the minor version.
const MAJOR: &[u8] = b" HTTP/1.";

impl<R, F: FnMut(&[u8])> Http11Reader<R, F> {
    /// `reader` is at the beginning of a request.
    pub fn new(reader: R, observe: F) -> Self {
        Self { reader, line: RequestLine::NotBegun, observe }
    }
}

impl RequestLine {
    /// Reads the next bytes, and changes the version if it is among them.
    fn read(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *self = match (*self, *byte) {
                (Self::Done, _) => return,
                (Self::NotBegun, b'\r' | b'\n') => Self::NotBegun,
                (Self::InMajor(_), b'\n') => Self::Done,
                (Self::InMajor(count), minor) if count == MAJOR.len() => {
                    if (b'2'..=b'9').contains(&minor) {
                        *byte = b'1';
                    }
                    Self::Done
                }
                (Self::InMajor(count), next) if MAJOR.get(count) == Some(&next) => {
                    Self::InMajor(count + 1)
                }
                (_, next) => Self::InMajor(usize::from(Some(&next) == MAJOR.first())),
            };
        }
    }
}

impl<R: AsyncRead + Unpin, F: FnMut(&[u8]) + Unpin> AsyncRead for Http11Reader<R, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        self.line.read(bytes);
        (self.observe)(bytes);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `request` in pieces of each size.
    fn check(request: &str, want: &str) {
        for size in 1..=request.len() {
            let mut line = RequestLine::NotBegun;
            let mut bytes = request.as_bytes().to_vec();
            bytes.chunks_mut(size).for_each(|piece| line.read(piece));
            assert_eq!(String::from_utf8(bytes).unwrap(), want, "{size} bytes at a time");
        }
    }

    #[test]
    fn later_minor_versions_become_1() {
        for minor in 2..=9 {
            let request = format!("GET / HTTP/1.{minor}\r\nA: B HTTP/1.2\r\n\r\n");
            check(&request, "GET / HTTP/1.1\r\nA: B HTTP/1.2\r\n\r\n");
        }
        check("\r\n\r\n\nGET / HTTP/1.2\n\n", "\r\n\r\n\nGET / HTTP/1.1\n\n");
        check("GET  HTTP HTTP/1.2\r\n", "GET  HTTP HTTP/1.1\r\n");
        for unchanged in [
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
            check(unchanged, unchanged);
        }
    }
}
