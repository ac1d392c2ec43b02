//! Which sites may show the chat page in a frame.

use crate::address::Origin;

/// The directive `frame-ancestors` for the origins of pages that may use the room. If the list
/// is empty, no site may: a site that nobody has named could cover the page with its own, so
/// that a moderator clicks on what they do not see.
pub(crate) fn frame_ancestors(origins: &[Origin]) -> String {
    let sources: Vec<_> = origins.iter().filter_map(source).collect();
    if sources.is_empty() {
        return "frame-ancestors 'none'".to_owned();
    }
    format!("frame-ancestors {}", sources.join(" "))
}

/// The origin as a source (CSP 3, 2.3.1); `None` if it would mean something else there, such as
/// the wildcard `*` or the end of the directive.
fn source(origin: &Origin) -> Option<String> {
    let text = origin.to_string();
    let (_, host) = text.split_once("://")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    host.chars().all(is_plain).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_may_embed_the_page() {
        for (origins, want) in [
            (&[][..], "'none'"),
            (&["https://chat.example"], "https://chat.example"),
            (
                &["https://chat.example", "HTTP://www.example:8080/"],
                "https://chat.example http://www.example:8080",
            ),
            (
                &["http://127.0.0.1:80", "https://b\u{fc}cher.example"],
                "http://127.0.0.1 https://xn--bcher-kva.example",
            ),
            // In a list of sources these have another meaning, or none.
            (&["https://*.example"], "'none'"),
            (&["https://*", "https://a.example"], "https://a.example"),
            (&["https://a;script-src.example"], "'none'"),
            (&["https://a,b.example"], "'none'"),
            (&["https://'self'"], "'none'"),
            (&["http://[::1]:8080"], "'none'"),
        ] {
            let origins: Vec<Origin> = origins.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(frame_ancestors(&origins), format!("frame-ancestors {want}"));
        }
    }
}
