//! Verification: whether a token is valid now, and who its bearer is.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{Claims, NumericDate, TokenHeader};
use super::keys::TokenKey;
use super::revocation::Revocations;
use crate::chat::notices::Refusal;
use crate::chat::tim::Tim;

/// How tokens are verified.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// The keys; without keys every client can send messages, and tokens are ignored, unless a
    /// token is required.
    pub keys: Vec<TokenKey>,
    /// Whether a token is required even without keys: then nobody can send messages.
    pub is_required: bool,
    /// The `iss` that a token must have.
    pub issuer: Option<String>,
    /// The audience that the `aud` of a token must contain.
    pub audience: Option<String>,
    /// The claim that contains the only `usr` that the bearer may use.
    pub bind_usr: Option<String>,
    /// The claim that makes the bearer a moderator if it is `true`.
    pub moderator_claim: Option<String>,
    /// The tokens that are revoked.
    pub revocations: Revocations,
    /// Whether a token must have `exp`, and `exp` and `nbf` are checked.
    pub check_exp: bool,
    /// How far the clock of the issuer may differ from ours.
    pub leeway: Duration,
}

/// A token whose signature is valid, as a connection remembers it: without the token
/// itself, but with what is needed to recognise it and to check its times again.
pub(crate) struct VerifiedToken {
    /// Of the token and the settings.
    digest: [u8; 32],
    /// A revoked token still tells who the bearer is.
    is_revoked: bool,
    exp: NumericDate,
    nbf: NumericDate,
    pub(crate) bearer: Bearer,
}

/// The bearer of a token.
#[derive(Default)]
pub(crate) struct Bearer {
    /// The claim `sub`, if it is a string.
    pub(crate) sub: Option<Box<str>>,
    /// The only `usr` that the bearer may use, if there is one.
    pub(crate) usr: Option<Box<str>>,
    pub(crate) is_moderator: bool,
}

/// Verifies tokens with one set of settings.
pub(crate) struct Verifier {
    settings: AuthSettings,
    /// Part of the digest of a token, so that a token is verified again when the
    /// settings have changed.
    settings_digest: [u8; 32],
}

impl Verifier {
    /// A verifier for `settings`; `None` if no token is needed.
    pub(crate) fn new(settings: AuthSettings) -> Option<Self> {
        let settings_digest = digest_of(&settings);
        (settings.is_required || !settings.keys.is_empty())
            .then_some(Self { settings, settings_digest })
    }

    /// The claim that makes the bearer of a token a moderator.
    pub(crate) fn moderator_claim(&self) -> Option<&str> {
        self.settings.moderator_claim.as_deref()
    }

    /// The numbers of keys and of revocations.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.settings.keys.len(), self.settings.revocations.len())
    }

    /// Checks `token`. Its signature is only verified if `last` is not the same token;
    /// `last` then becomes this token if the signature is valid. Returns the bearer, and
    /// whether the signature was verified.
    ///
    /// # Errors
    ///
    /// [`Refusal::JwtInvalid`], [`Refusal::JwtRevoked`] or
    /// [`Refusal::JwtExpired`].
    pub(crate) fn check<'t>(
        &self,
        token: &str,
        last: &'t mut Option<VerifiedToken>,
        now: Tim,
    ) -> Result<(&'t Bearer, bool), Refusal> {
        let digest = sha256([&self.settings_digest, token.as_bytes()]);
        let (verified, is_new) = match last.take_if(|verified| verified.digest == digest) {
            Some(verified) => (last.insert(verified), false),
            None => (last.insert(self.verify(token, digest)?), true),
        };
        if verified.is_revoked {
            return Err(Refusal::JwtRevoked);
        }
        if self.settings.check_exp {
            self.check_times(verified, now)?;
        }
        Ok((&verified.bearer, is_new))
    }

    /// Checks everything that does not depend on the time.
    ///
    /// `jsonwebtoken::decode` is not used: it reads the clock, checks the types of
    /// members that do not matter here, and ignores `crit`.
    fn verify(&self, token: &str, digest: [u8; 32]) -> Result<VerifiedToken, Refusal> {
        let claims = self.signed_claims(token).ok_or(Refusal::JwtInvalid)?;
        let claims = Claims::parse(&claims).ok_or(Refusal::JwtInvalid)?;
        let AuthSettings { issuer, audience, bind_usr, moderator_claim, .. } = &self.settings;
        let is_issued = issuer.as_ref().is_none_or(|iss| claims.text("iss").as_ref() == Some(iss));
        if !is_issued || audience.as_ref().is_some_and(|aud| !claims.has_audience(aud)) {
            return Err(Refusal::JwtInvalid);
        }
        let usr = match bind_usr {
            Some(claim) => Some(claims.text(claim).ok_or(Refusal::JwtInvalid)?.into()),
            None => None,
        };
        let is_revoked = self.settings.revocations.contains(&claims);
        let is_moderator = |claim: &String| !is_revoked && claims.is_true(claim);
        let bearer = Bearer {
            sub: claims.text("sub").map(Into::into),
            usr,
            is_moderator: moderator_claim.as_ref().is_some_and(is_moderator),
        };
        let (exp, nbf) = (claims.date("exp"), claims.date("nbf"));
        Ok(VerifiedToken { digest, is_revoked, exp, nbf, bearer })
    }

    /// The claims of `token` if its signature is valid for one of the keys. The key
    /// decides the algorithm; the token only selects keys with it.
    fn signed_claims(&self, token: &str) -> Option<String> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let TokenHeader { algorithm, kid } = TokenHeader::parse(&decode(header)?)?;
        let mut keys = self.settings.keys.iter();
        let is_signed =
            keys.any(|key| key.fits(algorithm, kid.as_deref()) && key.verifies(signed, signature));
        if is_signed { decode(claims) } else { None }
    }

    fn check_times(&self, token: &VerifiedToken, now: Tim) -> Result<(), Refusal> {
        let leeway_secs = self.settings.leeway.as_secs_f64();
        match token.exp {
            NumericDate::Missing | NumericDate::Invalid => return Err(Refusal::JwtInvalid),
            NumericDate::At(exp) if now.secs() >= exp + leeway_secs => {
                return Err(Refusal::JwtExpired);
            }
            NumericDate::At(_) => {}
        }
        match token.nbf {
            NumericDate::Invalid => Err(Refusal::JwtInvalid),
            NumericDate::At(nbf) if now.secs() + leeway_secs < nbf => Err(Refusal::JwtInvalid),
            NumericDate::Missing | NumericDate::At(_) => Ok(()),
        }
    }
}

/// Decodes a part of a token, which is text in base64url (RFC 7515, 7.1).
fn decode(part: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A digest of the settings; different settings have different digests.
fn digest_of(settings: &AuthSettings) -> [u8; 32] {
    let AuthSettings { keys, issuer, audience, bind_usr, moderator_claim, .. } = settings;
    let words = (issuer, audience, bind_usr, moderator_claim);
    let times = (settings.check_exp, settings.leeway);
    // Debug texts are quoted, so that different settings have different bytes.
    let rest =
        sha256([format!("{words:?}{times:?}{:?}", settings.revocations.sorted()).as_bytes()]);
    keys.iter().fold(rest, |digest, key| {
        let [one, other] = key.material();
        let [one, other] = [sha256([one]), sha256([other])];
        let named = format!("{:?}{:?}", key.kid(), key.algorithm());
        sha256([&digest, &one, &other, named.as_bytes()])
    })
}

fn sha256<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
