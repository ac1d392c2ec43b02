//! The chat page and its files, which are part of the binary. `build.rs` joins the page into
//! one response, and compresses what is served.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::framing::frame_ancestors;
use super::gzip;
use super::response::{FullResponse, page_response};
use crate::address::Origin;

/// The settings of the server on which the page depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSettings<'a> {
    /// The longest message in bytes.
    pub message_bytes_max: usize,
    /// The origins of pages that may use the room.
    pub origins: &'a [Origin],
    /// The claim that makes the bearer of a token a moderator.
    pub moderator_claim: Option<&'a str>,
}

impl PageSettings<'_> {
    /// What the script has to know, as attributes of an element.
    fn attributes(&self) -> String {
        let mut attributes = format!("data-bytes-max=\"{}\"", self.message_bytes_max);
        if let Some(claim) = self.moderator_claim {
            let claim = claim.replace('&', "&amp;").replace('"', "&quot;");
            attributes += &format!(" data-moderator-claim=\"{claim}\"");
        }
        attributes
    }
}

/// One file of the page.
pub(crate) struct PageFile {
    path: &'static str,
    media_type: &'static str,
    /// What stands before `text` and has the settings of the server; often nothing.
    first_lines: &'static str,
    text: &'static str,
    /// `text`, compressed.
    compressed: &'static [u8],
    /// The [`short_hash`] of the content: it changes with the file, but not with each build.
    hash: String,
    /// Restricts a page to its own script, its own style and this server's WebSocket.
    content_security_policy: String,
}

/// A file that build.rs has written, and the same compressed.
macro_rules! built {
    ($name:literal) => {
        (
            include_str!(concat!(env!("OUT_DIR"), "/", $name)),
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        )
    };
}

static FILES: LazyLock<[PageFile; 4]> = LazyLock::new(|| {
    let first_lines = include_str!(concat!(env!("OUT_DIR"), "/index-first-lines.html"));
    [
        PageFile::new("/", "text/html; charset=utf-8", first_lines, built!("index-rest.html")),
        PageFile::new(MODULE_PATH, "text/javascript; charset=utf-8", "", built!("wschat.js")),
        PageFile::new(
            TYPES_PATH,
            "application/typescript; charset=utf-8",
            "",
            built!("wschat.d.ts"),
        ),
        PageFile::new("/icon.svg", "image/svg+xml", "", built!("icon.svg")),
    ]
});

/// wschat.js, which other sites can import, and its types.
pub(crate) const MODULE_PATH: &str = "/wschat.js";
pub(crate) const TYPES_PATH: &str = "/wschat.d.ts";

/// The text in the first lines that is replaced with the settings.
const SETTINGS: &str = "data-bytes-max=\"16384\"";

/// A browser asks each time, so that it does not use an old page with a new server. A proxy
/// that changed the page would change the hash of its script.
const CACHE_CONTROL: &str = "no-cache, no-transform";

impl PageFile {
    fn new(
        path: &'static str,
        media_type: &'static str,
        first_lines: &'static str,
        (text, compressed): (&'static str, &'static [u8]),
    ) -> Self {
        let hash = short_hash(&[first_lines, text].concat());
        let content_security_policy = content_security_policy(text);
        Self { path, media_type, first_lines, text, compressed, hash, content_security_policy }
    }

    /// The file at `path`.
    pub fn find(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    /// The file, or 304 if these headers say that the client has it. The connection stays open
    /// for the next file.
    pub fn response(&self, headers: &HeaderMap, settings: PageSettings<'_>) -> FullResponse {
        let takes_gzip = gzip::is_accepted(headers);
        let first_lines = self.first_lines(&settings);
        let etag = self.etag(&first_lines, takes_gzip);
        let is_cached = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
            tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
                .any(|tag| tag == etag || tag == "*")
        });
        let mut fields: Vec<(HeaderName, &'static str)> =
            vec![(header::CACHE_CONTROL, CACHE_CONTROL), (header::VARY, "Accept-Encoding")];
        let mut response = if is_cached {
            page_response(StatusCode::NOT_MODIFIED, Bytes::new(), &fields)
        } else {
            fields.push((header::CONTENT_TYPE, self.media_type));
            let compressed = takes_gzip.then(|| self.compressed(&first_lines)).flatten();
            if compressed.is_some() {
                fields.push((header::CONTENT_ENCODING, "gzip"));
            }
            let content = compressed.unwrap_or_else(|| self.content(first_lines));
            page_response(StatusCode::OK, content, &fields)
        };
        let headers = response.headers_mut();
        let policy =
            format!("{}; {}", self.content_security_policy, frame_ancestors(settings.origins));
        // `page_response` has one that forbids everything.
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }

    /// It differs between the encodings of a file (RFC 9110, 8.8.3.3).
    fn etag(&self, first_lines: &str, is_compressed: bool) -> String {
        let settings = match first_lines {
            "" => String::new(),
            _ => format!("-{}", short_hash(first_lines)),
        };
        let encoding = if is_compressed { "-gzip" } else { "" };
        format!("\"{}{settings}{encoding}\"", self.hash)
    }

    fn first_lines(&self, settings: &PageSettings<'_>) -> String {
        self.first_lines.replacen(SETTINGS, &settings.attributes(), 1)
    }

    fn content(&self, first_lines: String) -> Bytes {
        if first_lines.is_empty() {
            return Bytes::from_static(self.text.as_bytes());
        }
        (first_lines + self.text).into()
    }

    fn compressed(&self, first_lines: &str) -> Option<Bytes> {
        if first_lines.is_empty() {
            return Some(Bytes::from_static(self.compressed));
        }
        gzip::prepend(first_lines, self.compressed, self.text.as_bytes()).map(Bytes::from)
    }
}

/// The start of the SHA-256 of a text.
fn short_hash(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The policy for this text: its scripts and its style are named by their hashes.
fn content_security_policy(text: &str) -> String {
    let source = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        let (content, _) = rest.split_once(end)?;
        let hash = digest::digest(&digest::SHA256, content.as_bytes());
        Some(format!("'sha256-{}'", BASE64_STANDARD.encode(hash)))
    };
    let [script, style] = [
        [source("<script>", "</script>"), source("<script type=\"module\">", "</script>")],
        [source("<style>", "</style>"), None],
    ]
    .map(|sources| match sources.into_iter().flatten().collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => "'none'".to_owned(),
        sources => sources,
    });
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_its_script_and_its_style_by_hash() {
        let page = PageFile::find("/").unwrap();
        let policy = &page.content_security_policy;
        assert!(policy.contains("script-src 'sha256-"), "{policy}");
        assert!(policy.contains("style-src 'sha256-"), "{policy}");
        assert!(!page.text.contains("src=\"page/main.js\""));
        let icon = PageFile::find("/icon.svg").unwrap();
        let policy = &icon.content_security_policy;
        assert!(policy.contains("script-src 'none'; style-src 'none'"), "{policy}");
    }

    #[test]
    fn the_first_lines_have_the_settings_as_text() {
        let page = PageFile::find("/").unwrap();
        let lines = |moderator_claim| {
            page.first_lines(&PageSettings { message_bytes_max: 7, origins: &[], moderator_claim })
        };
        assert!(lines(None).contains("<html lang=\"en\" data-bytes-max=\"7\">"));
        let claim = "https://example.org/?mod&\"><script>";
        let shown = "data-moderator-claim=\"https://example.org/?mod&amp;&quot;><script>\">";
        assert!(lines(Some(claim)).contains(shown), "{}", lines(Some(claim)));
        assert_ne!(page.etag(&lines(None), true), page.etag(&lines(Some("mod")), true));
    }
}
