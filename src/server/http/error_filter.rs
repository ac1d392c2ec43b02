//! Finds the responses that hyper sends by itself to requests that it cannot read.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use hyper::StatusCode;
use tokio::io::AsyncWrite;

use crate::mutex::lock;

/// Hyper's own response is at the end of what it writes, and not longer than this.
const RESPONSE_BYTES_MAX: usize = 256;
/// How such a response begins, in the version of the request before.
const STATUS_LINES: [&[u8]; 2] = [b"HTTP/1.1 4", b"HTTP/1.0 4"];
/// Where its status is.
const STATUS: Range<usize> = 9..12;
/// Every other response of these classes has a body that says why, or is for HEAD and says
/// how long it would be.
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// The status of the response that hyper would have sent by itself.
#[derive(Debug, Default)]
pub(crate) struct FilteredError(Mutex<Option<StatusCode>>);

impl FilteredError {
    /// The status, if there was such a response.
    pub fn take(&self) -> Option<StatusCode> {
        lock(&self.0).take()
    }
}

/// Writes all but such a response.
#[derive(Debug)]
pub(crate) struct ErrorFilter<'a, W> {
    writer: W,
    error: &'a FilteredError,
}

impl<'a, W> ErrorFilter<'a, W> {
    /// What is found is stored in `error`.
    pub fn new(writer: W, error: &'a FilteredError) -> Self {
        Self { writer, error }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for ErrorFilter<'_, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match find(bytes) {
            Some((0, status)) => {
                *lock(&self.error.0) = Some(status);
                Poll::Ready(Ok(bytes.len()))
            }
            found => {
                let end = found.map_or(bytes.len(), |(start, _)| start);
                let before = bytes.get(..end).unwrap_or_default();
                Pin::new(&mut self.writer).poll_write(context, before)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

/// Where such a response starts in `bytes`, and its status. The text of a message cannot look
/// like one: a string in JSON contains no line break.
fn find(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    let last = bytes.len().saturating_sub(RESPONSE_BYTES_MAX);
    let end = bytes.get(last..)?;
    let start =
        end.windows(STATUS_LINES[0].len()).position(|window| STATUS_LINES.contains(&window))?;
    let response = end.get(start..)?;
    let is_own = response.windows(NO_BODY.len()).any(|window| window == NO_BODY)
        && response.ends_with(b"\r\n\r\n");
    let status = response.get(STATUS)?;
    is_own.then(|| StatusCode::from_bytes(status).ok())?.map(|status| (last + start, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_response_without_a_body_is_found() {
        const OWN: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
            date: Fri, 27 Nov 2026 00:00:00 GMT\r\n\r\n";
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(9);
        let found = |text: &str| find(text.as_bytes());
        assert_eq!(found(OWN), Some((0, StatusCode::BAD_REQUEST)));
        assert_eq!(found(&OWN.replace("400", "431")).unwrap().1.as_u16(), 431);
        assert_eq!(found(&OWN.replace("1.1", "1.0")).unwrap().0, 0);
        assert_eq!(found(&format!("{before}{OWN}")).unwrap().0, before.len());
        for text in [
            "",
            &before,
            &OWN.replace(": 0", ": 7"),
            &OWN.replace("400 Bad Request", "200 OK"),
            &format!("{OWN}x"),
            &OWN[..OWN.len() - 1],
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
