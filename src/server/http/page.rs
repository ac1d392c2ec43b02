//! The chat page's files, built into the binary, and what a browser is told
//! about them.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;

/// One file of the page.
#[derive(Debug)]
pub(crate) struct File {
    /// The path of its URL.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
}

/// All files; the page itself is at `/`.
pub(crate) static FILES: [File; 7] = [
    File { path: "/", media_type: HTML, bytes: include_bytes!("../../../static/index.html") },
    File { path: "/page.js", media_type: SCRIPT, bytes: include_bytes!("../../../static/page.js") },
    File { path: "/list.js", media_type: SCRIPT, bytes: include_bytes!("../../../static/list.js") },
    File {
        path: "/texts.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../../../static/texts.js"),
    },
    File {
        path: "/wschat.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../../../static/wschat.js"),
    },
    File {
        path: "/wschat.css",
        media_type: STYLE,
        bytes: include_bytes!("../../../static/wschat.css"),
    },
    File { path: "/icon.svg", media_type: ICON, bytes: include_bytes!("../../../static/icon.svg") },
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// What the page may do: use its own files and this server's WebSocket, and
/// nothing else; nobody may frame it.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Where the page is told how long a message may be.
const MESSAGE_BYTES_MAX: &str = "data-bytes-max=\"16384\"";

impl File {
    /// What it holds in a room whose messages have so many bytes at most.
    pub(crate) fn content(&self, message_bytes_max: usize) -> Bytes {
        match std::str::from_utf8(self.bytes) {
            Ok(page) if self.path == "/" => {
                let limit = format!("data-bytes-max=\"{message_bytes_max}\"");
                page.replacen(MESSAGE_BYTES_MAX, &limit, 1).into()
            }
            _ => Bytes::from_static(self.bytes),
        }
    }
}

/// The file at `path` and its entity tag.
pub(crate) fn find(path: &str, message_bytes_max: usize) -> Option<(&'static File, String)> {
    // The tag is made of the content, so that it changes with every build that
    // changes the file, and with the limit on the page, and with nothing else.
    static TAGS: LazyLock<[String; FILES.len()]> = LazyLock::new(|| {
        FILES.each_ref().map(|file| {
            let hash = digest::digest(&digest::SHA256, file.bytes);
            let start = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
            start.collect()
        })
    });
    let (file, tag) = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.path == path)?;
    let limit = if path == "/" { format!("-{message_bytes_max}") } else { String::new() };
    Some((file, format!("\"{tag}{limit}\"")))
}
