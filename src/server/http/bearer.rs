//! The token in `Authorization` (RFC 6750, 2.1).

use hyper::header::{AUTHORIZATION, HeaderMap};

/// The fields have two different tokens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TwoTokens;

/// The token of the scheme `Bearer`, if it is not empty. Other schemes count as no token.
///
/// # Errors
///
/// There are two different tokens.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<String>, TwoTokens> {
    let fields = headers.get_all(AUTHORIZATION).iter();
    let mut tokens = fields.filter_map(|field| {
        // Bytes that no token contains must not make it disappear.
        let credentials = String::from_utf8_lossy(field.as_bytes());
        let (scheme, token) = credentials.trim().split_once([' ', '\t'])?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim().to_owned())
    });
    let first = tokens.next();
    if tokens.any(|token| Some(&token) != first.as_ref()) { Err(TwoTokens) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn one_token_of_the_scheme_bearer() {
        let check = |fields: &[&[u8]], want: Result<Option<&str>, TwoTokens>| {
            let values = fields.iter().map(|field| HeaderValue::from_bytes(field).unwrap());
            let headers = values.map(|value| (AUTHORIZATION, value)).collect();
            assert_eq!(bearer(&headers), want.map(|token| token.map(str::to_owned)), "{fields:?}");
        };
        check(&[], Ok(None));
        for none in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearerx y", "Digest Bearer x"] {
            check(&[none.as_bytes()], Ok(None));
        }
        for one in ["Bearer x.y.z", "bearer  x.y.z", "BEARER\tx.y.z "] {
            check(&[one.as_bytes()], Ok(Some("x.y.z")));
            check(&[b"Basic YTpi", one.as_bytes(), b"Bearer x.y.z"], Ok(Some("x.y.z")));
            check(&[one.as_bytes(), b"Bearer"], Ok(Some("x.y.z")));
            check(&[one.as_bytes(), b"Bearer x.y.Z"], Err(TwoTokens));
        }
        check(&[b"Bearer x y"], Ok(Some("x y")));
        check(&[b"Bearer \xff"], Ok(Some("\u{fffd}")));
    }
}
