//! Revocations: tokens that are refused although they verify.

use std::collections::{HashMap, HashSet};

use super::claims::{Claims, NumericDate};

/// One entry of the list of revocations.
#[derive(Clone, Debug, PartialEq)]
pub enum Revocation {
    /// The token with this `jti`.
    Token(String),
    /// All tokens with this `sub`.
    Speaker(String),
    /// The tokens with this `sub` and an `iat` before this time, in seconds since
    /// the Unix epoch.
    IssuedBefore(String, f64),
}

/// All revocations. The time to look up a token does not depend on their number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revocations {
    tokens: HashSet<String>,
    speakers: HashSet<String>,
    issued_before: HashMap<String, f64>,
}

impl Revocations {
    /// The number of different tokens and speakers.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.speakers.len() + self.issued_before.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token with these claims is revoked.
    pub(super) fn contains(&self, claims: &Claims<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        if claims.text("jti").is_some_and(|jti| self.tokens.contains(&jti)) {
            return true;
        }
        let Some(sub) = claims.text("sub") else { return false };
        let is_too_old = |before: &f64| match claims.date("iat") {
            NumericDate::At(iat) => iat < *before,
            // Without a valid `iat` nothing shows that the token is newer.
            NumericDate::Missing | NumericDate::Invalid => true,
        };
        self.speakers.contains(&sub) || self.issued_before.get(&sub).is_some_and(is_too_old)
    }

    /// All entries in a fixed order, for a digest.
    pub(super) fn sorted(&self) -> Vec<(&str, u8, u64)> {
        let tokens = self.tokens.iter().map(|jti| (jti.as_str(), 0, 0));
        let speakers = self.speakers.iter().map(|sub| (sub.as_str(), 1, 0));
        let before = self.issued_before.iter().map(|(sub, end)| (sub.as_str(), 2, end.to_bits()));
        let mut all: Vec<_> = tokens.chain(speakers).chain(before).collect();
        all.sort_unstable();
        all
    }
}

impl FromIterator<Revocation> for Revocations {
    fn from_iter<I: IntoIterator<Item = Revocation>>(entries: I) -> Self {
        let mut revocations = Self::default();
        for entry in entries {
            match entry {
                Revocation::Token(jti) => drop(revocations.tokens.insert(jti)),
                Revocation::Speaker(sub) => drop(revocations.speakers.insert(sub)),
                Revocation::IssuedBefore(sub, before) => {
                    let latest = revocations.issued_before.entry(sub).or_insert(before);
                    *latest = latest.max(before);
                }
            }
        }
        revocations
    }
}
