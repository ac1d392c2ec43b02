//! The head of a POST as it arrived: hyper passes on only one of two lengths.

use std::sync::Mutex;

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use crate::mutex::lock;

/// The start of a POST.
const METHOD: &[u8] = b"POST ";
const HEADER_FIELDS_MAX: usize = 100;

/// The first request of a connection up to the end of its head, if it is a POST.
#[derive(Debug, Default)]
pub(crate) struct PostHead(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    bytes: Vec<u8>,
    /// The head is complete, or is not that of a POST.
    is_complete: bool,
}

impl PostHead {
    /// Whether a POST has begun.
    pub fn is_post(&self) -> bool {
        lock(&self.0).bytes.starts_with(METHOD)
    }

    /// Whether a request has begun. Browsers open connections that they may not need.
    pub fn has_begun(&self) -> bool {
        let recorded = lock(&self.0);
        recorded.is_complete || !recorded.bytes.is_empty()
    }

    /// Its header fields, as far as they are valid.
    pub fn headers(&self) -> HeaderMap {
        let recorded = lock(&self.0);
        let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        let mut headers = HeaderMap::new();
        if head.parse(&recorded.bytes).is_ok() {
            for field in head.headers.iter() {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::try_from(field.name), HeaderValue::from_bytes(field.value))
                {
                    headers.append(name, value);
                }
            }
        }
        headers
    }

    /// Whether it says its length in two ways (RFC 9112, 6.1). Forgets it.
    pub fn take_has_two_lengths(&self) -> bool {
        let headers = self.headers();
        *lock(&self.0) = Recorded { bytes: METHOD.to_vec(), is_complete: true };
        headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
    }

    /// Records bytes of the connection.
    pub fn record(&self, bytes: &[u8]) {
        let mut recorded = lock(&self.0);
        if recorded.is_complete {
            return;
        }
        // Empty lines before a request are not part of it (RFC 9112, 2.2).
        let is_first = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let start =
            if recorded.bytes.is_empty() { bytes.iter().position(is_first) } else { Some(0) };
        recorded.bytes.extend_from_slice(start.and_then(|start| bytes.get(start..)).unwrap_or(&[]));
        let common = recorded.bytes.len().min(METHOD.len());
        if recorded.bytes.get(..common) != METHOD.get(..common) {
            *recorded = Recorded { bytes: Vec::new(), is_complete: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records `bytes` in pieces of each size.
    fn check(bytes: &str, is_post: bool, has_two_lengths: bool) {
        for size in 1..=bytes.len() {
            let head = PostHead::default();
            bytes.as_bytes().chunks(size).for_each(|piece| head.record(piece));
            assert!(head.has_begun());
            assert_eq!(head.is_post(), is_post, "{bytes:?}");
            assert_eq!(head.take_has_two_lengths(), has_two_lengths, "{bytes:?}");
        }
    }

    #[test]
    fn both_lengths_are_found_in_any_order() {
        const TWO: &str = "Content-Length: 2\r\ntransfer-encoding: chunked\r\n";
        const SWAPPED: &str = "Transfer-Encoding: chunked\r\nA: b\r\ncontent-length: x\r\n";
        for two in [TWO, SWAPPED] {
            check(&format!("POST / HTTP/1.1\r\nHost: h\r\n{two}\r\n{{}}"), true, true);
            check(&format!("\r\n\r\nPOST / HTTP/1.1\r\n{two}\r\n"), true, true);
            check(&format!("GET / HTTP/1.1\r\nHost: h\r\n{two}\r\n"), false, false);
            check(&format!("POST / HTTP/1.1\r\nHost: h\r\n\r\n{two}"), true, false);
        }
        for one in TWO.lines() {
            check(&format!("POST / HTTP/1.1\r\n{one}\r\n\r\n"), true, false);
        }
        check("POSTS / HTTP/1.1\r\n\r\n", false, false);
        check("POST", false, false);
    }

    #[test]
    fn a_request_that_is_forgotten_was_a_post() {
        let head = PostHead::default();
        head.record(b"\r\n");
        assert!(!head.has_begun());
        head.record(b"POST / HTTP/1.1\r\n");
        assert!(!head.take_has_two_lengths());
        head.record(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(head.is_post() && !head.take_has_two_lengths());
    }
}
