//! The files of the chat page, which are part of the binary.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::response::{FullResponse, last_response};

/// One file of the page.
pub(crate) struct PageFile {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The start of the content's SHA-256: it changes with the file, but not with each build.
    hash: String,
}

static FILES: LazyLock<[PageFile; 7]> = LazyLock::new(|| {
    [
        PageFile::new(ROOT, HTML, include_bytes!("../../../static/index.html")),
        PageFile::new("/page.js", SCRIPT, include_bytes!("../../../static/page.js")),
        PageFile::new("/list.js", SCRIPT, include_bytes!("../../../static/list.js")),
        PageFile::new("/texts.js", SCRIPT, include_bytes!("../../../static/texts.js")),
        PageFile::new("/wschat.js", SCRIPT, include_bytes!("../../../static/wschat.js")),
        PageFile::new("/wschat.css", STYLE, include_bytes!("../../../static/wschat.css")),
        PageFile::new("/icon.svg", ICON, include_bytes!("../../../static/icon.svg")),
    ]
});

const ROOT: &str = "/";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// The text in the page that is replaced with the limit of messages.
const MESSAGE_BYTES_MAX: &str = "data-bytes-max=\"16384\"";

impl PageFile {
    fn new(path: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, bytes);
        let hash = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path, media_type, bytes, hash }
    }

    /// The file at `path`.
    pub fn find(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    /// The file, or 304 if these headers say that the client has it.
    pub fn response(&self, headers: &HeaderMap, message_bytes_max: usize) -> FullResponse {
        let etag = self.etag(message_bytes_max);
        let is_cached = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
            tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
                .any(|tag| tag == etag || tag == "*")
        });
        // The browser asks each time, so that it does not use an old page with a new server.
        let cache_control = (header::CACHE_CONTROL, "no-cache");
        let mut response = if is_cached {
            last_response(StatusCode::NOT_MODIFIED, Bytes::new(), &[cache_control])
        } else {
            let fields = [cache_control, (header::CONTENT_TYPE, self.media_type)];
            last_response(StatusCode::OK, self.content(message_bytes_max), &fields)
        };
        if let Ok(etag) = HeaderValue::try_from(etag) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }

    fn etag(&self, message_bytes_max: usize) -> String {
        match self.path {
            ROOT => format!("\"{}-{message_bytes_max}\"", self.hash),
            _ => format!("\"{}\"", self.hash),
        }
    }

    fn content(&self, message_bytes_max: usize) -> Bytes {
        match std::str::from_utf8(self.bytes) {
            Ok(page) if self.path == ROOT => {
                let attribute = format!("data-bytes-max=\"{message_bytes_max}\"");
                page.replacen(MESSAGE_BYTES_MAX, &attribute, 1).into()
            }
            _ => Bytes::from_static(self.bytes),
        }
    }
}
