//! Tokens: JSON Web Tokens (RFC 7519) that say who may speak.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{Claims, Date};
use super::header::Header;
use super::keys::TokenKey;
use super::refusal::Refusal;
use super::revoked::Revoked;
use super::tim::Tim;

/// What the room's tokens are checked with.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// What tokens may be signed with; without any, everybody may speak.
    pub keys: Vec<TokenKey>,
    /// The `iss` that a token must carry, if one is wanted.
    pub issuer: Option<String>,
    /// The audience that a token must be meant for (`aud`), if one is wanted.
    pub audience: Option<String>,
    /// The claim that is the only name under which one may speak.
    pub bind_usr: Option<String>,
    /// The claim that makes a moderator, where it is `true`.
    pub moderator_claim: Option<String>,
    /// Tokens that are no longer good.
    pub revoked: Revoked,
    /// Whether a token must carry `exp`, and `exp` and `nbf` are looked at.
    pub check_exp: bool,
    /// How far the clocks of those who mint tokens may differ from ours.
    pub leeway: Duration,
}

/// A token that verified, as a connection remembers it: not the token itself,
/// but enough to know it again and to look at its times.
pub(super) struct Verified {
    digest: [u8; 32],
    /// It has been taken back: it still says who bears it.
    is_revoked: bool,
    exp: Date,
    nbf: Date,
    pub(super) bearer: Bearer,
}

impl Verified {
    /// Stands for the token and the settings under which it verified.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Who a token speaks for.
#[derive(Default)]
pub(super) struct Bearer {
    /// The claim `sub`, if it is a string.
    pub(super) sub: Option<Box<str>>,
    /// The only name that a message may have, if one is prescribed.
    pub(super) usr: Option<Box<str>>,
    pub(super) is_moderator: bool,
}

/// Checks tokens under one set of settings.
pub(super) struct Verifier {
    settings: AuthSettings,
    /// Stands for the settings in the digest of a token, so that a token that
    /// verified under other settings is not known again.
    settings_digest: [u8; 32],
}

impl Verifier {
    /// A verifier for `settings`; none if everybody may speak.
    pub(super) fn new(settings: AuthSettings) -> Option<Self> {
        let settings_digest = digest_of(&settings);
        (!settings.keys.is_empty()).then_some(Self { settings, settings_digest })
    }

    /// Whether a token can make its bearer a moderator.
    pub(super) const fn knows_moderators(&self) -> bool {
        self.settings.moderator_claim.is_some()
    }

    /// How many keys there are, and how many revocations.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.settings.keys.len(), self.settings.revoked.len())
    }

    /// Checks `token`; its signature only if it is not the one in `known`,
    /// where a token that verifies is remembered.
    ///
    /// # Errors
    ///
    /// [`Refusal::JwtInvalid`], [`Refusal::JwtRevoked`] or
    /// [`Refusal::JwtExpired`].
    pub(super) fn check<'k>(
        &self,
        token: &str,
        known: &'k mut Option<Verified>,
        now: Tim,
    ) -> Result<&'k Bearer, Refusal> {
        let digest = sha256([&self.settings_digest, token.as_bytes()]);
        let verified = match known.take_if(|verified| verified.digest == digest) {
            Some(verified) => known.insert(verified),
            None => known.insert(self.verify(token, digest)?),
        };
        if verified.is_revoked {
            return Err(Refusal::JwtRevoked);
        }
        if self.settings.check_exp {
            self.check_times(verified, now)?;
        }
        Ok(&verified.bearer)
    }

    /// Checks all of `token` that does not depend on the time.
    ///
    /// Not by way of `jsonwebtoken::decode`: it reads the clock, refuses members of
    /// the header and claims that do not matter here for their type, and lets `crit`
    /// pass.
    fn verify(&self, token: &str, digest: [u8; 32]) -> Result<Verified, Refusal> {
        let claims = self.signed_claims(token).ok_or(Refusal::JwtInvalid)?;
        let claims = Claims::parse(&claims).ok_or(Refusal::JwtInvalid)?;
        let AuthSettings { issuer, audience, bind_usr, moderator_claim, .. } = &self.settings;
        let is_issued = issuer.as_ref().is_none_or(|iss| claims.text("iss").as_ref() == Some(iss));
        if !is_issued || audience.as_ref().is_some_and(|aud| !claims.is_for(aud)) {
            return Err(Refusal::JwtInvalid);
        }
        let usr = match bind_usr {
            Some(claim) => Some(claims.text(claim).ok_or(Refusal::JwtInvalid)?.into()),
            None => None,
        };
        let is_revoked = self.settings.revoked.covers(&claims);
        let moderates = |claim: &String| !is_revoked && claims.is_true(claim);
        let bearer = Bearer {
            sub: claims.text("sub").map(Into::into),
            usr,
            is_moderator: moderator_claim.as_ref().is_some_and(moderates),
        };
        let (exp, nbf) = (claims.date("exp"), claims.date("nbf"));
        Ok(Verified { digest, is_revoked, exp, nbf, bearer })
    }

    /// The claims of `token` if one of the keys signed it: one for its algorithm,
    /// which the key decides on and the token only names.
    fn signed_claims(&self, token: &str) -> Option<String> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let Header { algorithm, kid } = Header::parse(&decode(header)?)?;
        let mut keys = self.settings.keys.iter();
        let is_signed =
            keys.any(|key| key.fits(algorithm, kid.as_deref()) && key.verifies(signed, signature));
        if is_signed { decode(claims) } else { None }
    }

    fn check_times(&self, token: &Verified, now: Tim) -> Result<(), Refusal> {
        let leeway_secs = self.settings.leeway.as_secs_f64();
        match token.exp {
            Date::Absent | Date::Odd => return Err(Refusal::JwtInvalid),
            Date::At(exp) if now.secs() >= exp + leeway_secs => return Err(Refusal::JwtExpired),
            Date::At(_) => {}
        }
        match token.nbf {
            Date::Odd => Err(Refusal::JwtInvalid),
            Date::At(nbf) if now.secs() + leeway_secs < nbf => Err(Refusal::JwtInvalid),
            Date::Absent | Date::At(_) => Ok(()),
        }
    }
}

/// A part of a token: text in base64url (RFC 7515, 7.1).
fn decode(part: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A digest that any change of the settings changes.
fn digest_of(settings: &AuthSettings) -> [u8; 32] {
    let AuthSettings { keys, issuer, audience, bind_usr, moderator_claim, .. } = settings;
    let words = (issuer, audience, bind_usr, moderator_claim);
    let times = (settings.check_exp, settings.leeway);
    // Debug texts are quoted, so that no two settings run into the same bytes.
    let rest = sha256([format!("{words:?}{times:?}{:?}", settings.revoked.sorted()).as_bytes()]);
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
