//! The two JSON objects of a token: its header (RFC 7515, 4) and its claims
//! (RFC 7519, 4). Only members that are asked for are checked.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm;
use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of the header that decide how the signature is verified.
pub(super) struct TokenHeader {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl TokenHeader {
    /// Reads a header. Returns `None` if it is not an object with unique names, if its
    /// `alg` is not supported, or if it has `crit`: no extension is supported here
    /// (RFC 7515, 4.1.11), and the list of extensions must not be `null` either.
    pub(super) fn parse(json: &str) -> Option<Self> {
        let members = Claims::parse(json)?;
        if members.0.contains_key("crit") {
            return None;
        }
        let kid = match members.0.get("kid") {
            None => None,
            // `null` counts as missing.
            Some(json) => serde_json::from_str(json.get()).ok()?,
        };
        Some(Self { algorithm: Algorithm::from_str(&members.text("alg")?).ok()?, kid })
    }
}

/// The claims of a token, each as JSON.
pub(super) struct Claims<'a>(HashMap<String, &'a RawValue>);

impl<'a> Claims<'a> {
    /// Reads the object `json`. Returns `None` if it is not an object or if a name
    /// occurs twice: other programs could use the other value.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        let mut claims = serde_json::Deserializer::from_str(json);
        let members = claims.deserialize_map(UniqueMembers).ok()?;
        claims.end().ok()?;
        Some(Self(members))
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A claim that is a time.
    pub(super) fn date(&self, name: &str) -> NumericDate {
        match self.0.get(name).map(|json| json.get()) {
            None | Some("null") => NumericDate::Missing,
            // A JSON number can be too large for a float; other programs refuse it.
            Some(json) => match json.parse() {
                Ok(secs) if f64::is_finite(secs) => NumericDate::At(secs),
                _ => NumericDate::Invalid,
            },
        }
    }

    /// Whether a claim is the JSON value `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|json| json.get() == "true")
    }

    /// Whether `aud` is this audience or a list that contains it.
    pub(super) fn has_audience(&self, audience: &str) -> bool {
        let Some(json) = self.0.get("aud") else { return false };
        let list = || serde_json::from_str::<Vec<String>>(json.get()).unwrap_or_default();
        self.text("aud").is_some_and(|aud| aud == audience)
            || list().iter().any(|aud| aud == audience)
    }
}

/// A time in a token: seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NumericDate {
    /// Missing or `null`.
    Missing,
    At(f64),
    /// Not a number, or out of range.
    Invalid,
}

struct UniqueMembers;

impl<'a> Visitor<'a> for UniqueMembers {
    type Value = HashMap<String, &'a RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = HashMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(M::Error::custom("a name occurs twice"));
            }
        }
        Ok(members)
    }
}
