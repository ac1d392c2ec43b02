//! The claims of a token (RFC 7519, 4): read one by one, when they matter.

use std::collections::HashMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The claims, each name once, of whatever types: a claim that nobody asks for
/// does no harm.
pub(super) struct Claims<'a>(HashMap<String, &'a RawValue>);

impl<'a> Claims<'a> {
    /// The members of the object `json`. None if it is no object, or has a name
    /// twice: then others could read another one than we do.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        let mut claims = serde_json::Deserializer::from_str(json);
        let names = claims.deserialize_map(Unique).ok()?;
        claims.end().ok()?;
        Some(Self(names))
    }

    /// Whether there is a claim of this name, whatever it says.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A claim that is a string or not there; `null` is as if it were not there.
    /// None if it is anything else.
    pub(super) fn optional_text(&self, name: &str) -> Option<Option<String>> {
        self.0.get(name).map_or(Some(None), |json| serde_json::from_str(json.get()).ok())
    }

    /// A claim that is a time; `null` is as if it were not there.
    pub(super) fn date(&self, name: &str) -> Date {
        match self.0.get(name).map(|json| json.get()) {
            None | Some("null") => Date::Absent,
            // JSON has numbers that no reader can hold: other programs refuse them.
            Some(json) => match json.parse() {
                Ok(secs) if f64::is_finite(secs) => Date::At(secs),
                _ => Date::Odd,
            },
        }
    }

    /// Whether a claim is `true`, and nothing that may only mean so.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|json| json.get() == "true")
    }

    /// Whether `aud` is this audience or names it among others.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        let Some(json) = self.0.get("aud") else { return false };
        let among = || serde_json::from_str::<Vec<String>>(json.get()).unwrap_or_default();
        self.text("aud").is_some_and(|aud| aud == audience)
            || among().iter().any(|aud| aud == audience)
    }
}

/// A time in a token (NumericDate: seconds since the Unix epoch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Date {
    Absent,
    At(f64),
    /// There, but not a number, or one out of range.
    Odd,
}

struct Unique;

impl<'a> Visitor<'a> for Unique {
    type Value = HashMap<String, &'a RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("claims")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut claims = HashMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if claims.insert(name, value).is_some() {
                return Err(M::Error::custom("a claim is there twice"));
            }
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_the_members_of_one_object() {
        for (json, good) in [
            ("{}", true),
            (r#" { "a" : [ {} ] } "#, true),
            ("", false),
            ("[]", false),
            ("null", false),
            (r#""sub""#, false),
            ("{} {}", false),
            (r#"{"sub":1,"sub":1}"#, false),
            (r#"{"sub":1,"\u0073ub":1}"#, false),
            (r#"{"a":{"sub":1,"sub":1}}"#, true),
        ] {
            assert_eq!(Claims::parse(json).is_some(), good, "{json}");
        }
    }

    #[test]
    fn audiences() {
        for (json, expected) in [
            (r#"{"aud":"room"}"#, true),
            (r#"{"aud":["shop","room"]}"#, true),
            (r#"{"aud":"shop"}"#, false),
            (r#"{"aud":["shop"]}"#, false),
            (r#"{"aud":["room",1]}"#, false),
            (r#"{"aud":{"room":1}}"#, false),
            (r#"{"aud":null}"#, false),
            ("{}", false),
        ] {
            assert_eq!(Claims::parse(json).unwrap().is_for("room"), expected, "{json}");
        }
    }

    #[test]
    fn only_true_is_true() {
        for (json, expected) in [
            (r#"{"mod":true}"#, true),
            (r#"{"mod": true }"#, true),
            (r#"{"mod":"true"}"#, false),
            (r#"{"mod":1}"#, false),
            (r#"{"mod":[true]}"#, false),
            ("{}", false),
        ] {
            assert_eq!(Claims::parse(json).unwrap().is_true("mod"), expected, "{json}");
        }
    }
}
