//! The header of a token (RFC 7515, 4): what of it decides how it is verified.

use std::str::FromStr;

use jsonwebtoken::Algorithm;

use super::claims::Claims;

/// What a token says of its own signature. All other members are ignored, of
/// whatever type they are (RFC 7515, 4).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What the token claims to be signed with.
    pub(super) algorithm: Algorithm,
    /// The name of the key, if it gives one.
    pub(super) kid: Option<String>,
}

impl Header {
    /// The header `json`. None if it is no object with each name once, names no
    /// algorithm that is known here, or asks with `crit` for an extension: none is
    /// understood here (RFC 7515, 4.1.11), and `null` is no list of them either.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let members = Claims::parse(json)?;
        if members.is_there("crit") {
            return None;
        }
        let algorithm = Algorithm::from_str(&members.text("alg")?).ok()?;
        Some(Self { algorithm, kid: members.optional_text("kid")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alg_kid_and_crit_matter() {
        let of = |kid: Option<&str>| Some((Algorithm::HS256, kid.map(str::to_owned)));
        for (json, want) in [
            (r#"{"alg":"HS256"}"#, of(None)),
            (r#"{"alg":"HS256","kid":"a"}"#, of(Some("a"))),
            (r#"{"alg":"HS256","kid":""}"#, of(Some(""))),
            (r#"{"alg":"HS256","kid":null}"#, of(None)),
            (r#"{"alg":"HS256","nonce":1,"url":{},"zip":[],"enc":true}"#, of(None)),
            (r#"{"alg":"HS256","typ":1,"cty":[],"jku":{},"jwk":"x","x5u":0}"#, of(None)),
            (r#"{"alg":"HS256","x5c":"x","x5t":[1],"x5t#S256":{},"other":1e999}"#, of(None)),
            (r#"{"alg":"HS256","nonce":null,"jwk":null,"b64":false}"#, of(None)),
            (r#"{"alg":"HS256","kid":7}"#, None),
            (r#"{"alg":"HS256","kid":["a"]}"#, None),
            (r#"{"alg":"HS256","kid":"a","kid":"a"}"#, None),
            (r#"{"alg":"HS256","url":1,"url":1}"#, None),
            (r#"{"alg":"HS256","crit":null}"#, None),
            (r#"{"alg":"HS256","crit":[]}"#, None),
            (r#"{"alg":"HS256","crit":["b64"],"b64":true}"#, None),
            (r#"{"alg":"HS256","\u0063rit":null}"#, None),
            (r#"{"alg":null}"#, None),
            (r#"{"alg":"none"}"#, None),
            (r#"{"alg":["HS256"]}"#, None),
            (r#"{"Alg":"HS256"}"#, None),
            ("{}", None),
            ("[]", None),
        ] {
            let got = Header::parse(json).map(|header| (header.algorithm, header.kid));
            assert_eq!(got, want, "{json}");
        }
    }
}
