//! The content coding gzip (RFC 1952), for content that was compressed when the program was
//! built.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// The length of a header without optional fields, and of the trailer.
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
/// A block of DEFLATE (RFC 1951, 3.2.4) that is stored and not the last one.
const STORED: u8 = 0;

/// Whether a client with these headers takes gzip (RFC 9110, 12.5.3).
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| {
            name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip")
        });
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        is_gzip && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

/// `compressed`, which is gzip of a text, as gzip of `first_lines` and that text. `None` if
/// `compressed` is no gzip without optional fields, or the first lines exceed a block.
pub(crate) fn prepend(first_lines: &str, compressed: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let end = compressed.len().checked_sub(TRAILER_BYTES)?;
    let header = compressed.get(..HEADER_BYTES)?;
    let deflated = compressed.get(HEADER_BYTES..end)?;
    let stored_bytes = u16::try_from(first_lines.len()).ok()?;
    let all_bytes = u32::try_from(first_lines.len() + text.len()).ok()?;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(first_lines.as_bytes());
    checksum.update(text);
    let parts: [&[u8]; 8] = [
        header,
        &[STORED],
        &stored_bytes.to_le_bytes(),
        &(!stored_bytes).to_le_bytes(),
        first_lines.as_bytes(),
        deflated,
        &checksum.finalize().to_le_bytes(),
        &all_bytes.to_le_bytes(),
    ];
    Some(parts.concat())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_accepted_if_it_is_named_and_not_refused() {
        let accepted = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            is_accepted(&headers)
        };
        for values in [
            &["gzip"][..],
            &["gzip, deflate, br, zstd"],
            &["br;q=1.0,GZIP ; q=0.5"],
            &["x-gzip"],
            &["br", "gzip"],
            &["gzip;q=0.001"],
        ] {
            assert!(accepted(values), "{values:?}");
        }
        for values in [
            &[][..],
            &[""],
            &["br"],
            &["*"],
            &["identity"],
            &["gzip;q=0"],
            &["gzip; Q=0.000"],
            &["gzip;q=x"],
            &["gzip;q=NaN"],
            &["notgzip"],
            &["gzi"],
            &[";,;q=1"],
        ] {
            assert!(!accepted(values), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_gzip_is_not_prepended_to() {
        assert_eq!(prepend("a", &[], b""), None);
        assert_eq!(prepend("a", &[0; HEADER_BYTES + TRAILER_BYTES - 1], b""), None);
        assert_eq!(prepend(&"a".repeat(65_536), &[0; 20], b""), None);
        assert!(prepend(&"a".repeat(65_535), &[0; 20], b"").is_some());
    }
}
