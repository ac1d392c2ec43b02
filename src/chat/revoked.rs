//! Tokens that are no longer good although they verify.

use std::collections::{HashMap, HashSet};

use super::claims::{Claims, Date};

/// One reason why tokens are no longer good.
#[derive(Clone, Debug, PartialEq)]
pub enum Revocation {
    /// The token with this `jti`.
    Token(String),
    /// Every token of this `sub`.
    Speaker(String),
    /// The tokens of this `sub` whose `iat` is before the time, in seconds
    /// since the Unix epoch.
    IssuedBefore(String, f64),
}

/// All revocations. Looking a token up costs the same however many there are.
///
/// # Examples
///
/// ```
/// use wschat::chat::{Revocation, Revoked};
/// let revoked: Revoked = [
///     Revocation::Token("4711".into()),
///     Revocation::IssuedBefore("bob".into(), 1_600_000_000.0),
/// ]
/// .into_iter()
/// .collect();
/// assert_eq!(revoked.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revoked {
    tokens: HashSet<String>,
    speakers: HashSet<String>,
    issued_before: HashMap<String, f64>,
}

impl Revoked {
    /// How many tokens and speakers are named.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.speakers.len() + self.issued_before.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token with these claims is revoked.
    pub(super) fn covers(&self, claims: &Claims<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        if claims.text("jti").is_some_and(|jti| self.tokens.contains(&jti)) {
            return true;
        }
        let Some(sub) = claims.text("sub") else { return false };
        let is_too_old = |end: &f64| match claims.date("iat") {
            Date::At(iat) => iat < *end,
            // Who cannot show that a token is newer has an old one.
            Date::Absent | Date::Odd => true,
        };
        self.speakers.contains(&sub) || self.issued_before.get(&sub).is_some_and(is_too_old)
    }

    /// All of it in one order, to tell it from another.
    pub(super) fn sorted(&self) -> Vec<(&str, u8, u64)> {
        let tokens = self.tokens.iter().map(|jti| (jti.as_str(), 0, 0));
        let speakers = self.speakers.iter().map(|sub| (sub.as_str(), 1, 0));
        let before = self.issued_before.iter().map(|(sub, end)| (sub.as_str(), 2, end.to_bits()));
        let mut all: Vec<_> = tokens.chain(speakers).chain(before).collect();
        all.sort_unstable();
        all
    }
}

impl Extend<Revocation> for Revoked {
    fn extend<I: IntoIterator<Item = Revocation>>(&mut self, revocations: I) {
        for revocation in revocations {
            match revocation {
                Revocation::Token(jti) => drop(self.tokens.insert(jti)),
                Revocation::Speaker(sub) => drop(self.speakers.insert(sub)),
                Revocation::IssuedBefore(sub, end) => {
                    let latest = self.issued_before.entry(sub).or_insert(end);
                    *latest = latest.max(end);
                }
            }
        }
    }
}

impl FromIterator<Revocation> for Revoked {
    fn from_iter<I: IntoIterator<Item = Revocation>>(revocations: I) -> Self {
        let mut revoked = Self::default();
        revoked.extend(revocations);
        revoked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_revoked_by_id_by_speaker_and_by_age() {
        let revoked: Revoked = [
            Revocation::Token("7".into()),
            Revocation::Speaker("eve".into()),
            Revocation::IssuedBefore("bob".into(), 100.0),
            Revocation::IssuedBefore("bob".into(), 50.0),
        ]
        .into_iter()
        .collect();
        for (claims, expected) in [
            ("{}", false),
            (r#"{"sub":"ann","jti":"8","iat":1}"#, false),
            (r#"{"sub":"ann","jti":"7"}"#, true),
            (r#"{"jti":"\u0037"}"#, true),
            (r#"{"jti":7}"#, false),
            (r#"{"sub":"eve"}"#, true),
            (r#"{"sub":"Eve"}"#, false),
            (r#"{"sub":["eve"]}"#, false),
            (r#"{"sub":"bob","iat":99.9}"#, true),
            (r#"{"sub":"bob","iat":100}"#, false),
            (r#"{"sub":"bob","iat":"100"}"#, true),
            (r#"{"sub":"bob","iat":null}"#, true),
            (r#"{"sub":"bob"}"#, true),
        ] {
            assert_eq!(revoked.covers(&Claims::parse(claims).unwrap()), expected, "{claims}");
        }
    }
}
