//! Tokens: JSON Web Tokens (RFC 7519) that say who may speak.

use std::time::Duration;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::notice::Refusal;
use super::tim::Tim;

/// What the room's tokens are checked with.
#[derive(Clone, Copy)]
pub struct AuthSettings<'a> {
    /// The key of the HMAC algorithms; without one, everybody may speak. An
    /// empty one verifies nothing, so that it lets nobody speak.
    pub secret: Option<&'a [u8]>,
    /// The only algorithms that a token may name.
    pub algorithms: &'a [Algorithm],
    /// Whether a token must carry `exp`, and `exp` and `nbf` are looked at.
    pub check_exp: bool,
    /// How far the clocks of those who mint tokens may differ from ours.
    pub leeway: Duration,
}

/// A token that verified, as a connection remembers it: not the token itself,
/// but enough to know it again and to look at its times.
#[derive(Clone, Copy)]
pub(super) struct Verified {
    digest: [u8; 32],
    exp: Date,
    nbf: Date,
}

/// Checks tokens under one set of settings.
pub(super) struct Verifier {
    key: Option<DecodingKey>,
    algorithms: Vec<Algorithm>,
    check_exp: bool,
    leeway_secs: f64,
    /// Stands for the settings in the digest of a token, so that a token that
    /// verified under other settings is not known again.
    settings_digest: [u8; 32],
}

impl Verifier {
    /// A verifier for `settings`; none if everybody may speak.
    pub(super) fn new(settings: &AuthSettings<'_>) -> Option<Self> {
        let secret = settings.secret?;
        let algorithms = format!("{:?}", settings.algorithms);
        let times = format!("{} {}", settings.check_exp, settings.leeway.as_secs());
        Some(Self {
            key: (!secret.is_empty()).then(|| DecodingKey::from_secret(secret)),
            algorithms: settings.algorithms.into(),
            check_exp: settings.check_exp,
            leeway_secs: settings.leeway.as_secs_f64(),
            settings_digest: sha256(&[
                algorithms.as_bytes(),
                b"\n",
                times.as_bytes(),
                b"\n",
                secret,
            ]),
        })
    }

    /// Checks `token`; its signature only if it is not the one in `known`,
    /// where a token that verifies is remembered.
    ///
    /// # Errors
    ///
    /// [`Refusal::JwtInvalid`] or [`Refusal::JwtExpired`].
    pub(super) fn check(
        &self,
        token: &str,
        known: &mut Option<Verified>,
        now: Tim,
    ) -> Result<(), Refusal> {
        let digest = sha256(&[&self.settings_digest, token.as_bytes()]);
        let verified = match known {
            Some(verified) if verified.digest == digest => *verified,
            _ => {
                let claims = self.verify(token).ok_or(Refusal::JwtInvalid)?;
                let (exp, nbf) = (Date::of(claims.exp), Date::of(claims.nbf));
                *known.insert(Verified { digest, exp, nbf })
            }
        };
        if self.check_exp { self.check_times(verified, now) } else { Ok(()) }
    }

    /// The claims of `token`, if its signature is right.
    ///
    /// Not by way of `jsonwebtoken::decode`: it reads the clock, refuses claims
    /// that do not matter here for their type, and lets `crit` pass.
    fn verify(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // Nothing that `crit` can name is understood here (RFC 7515, 4.1.11).
        if header.crit.is_some() || !self.algorithms.contains(&header.alg) {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let key = self.key.as_ref()?;
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, header.alg)
            .ok()
            .filter(|&right| right)?;
        jsonwebtoken::dangerous::insecure_decode_claims(token).ok()
    }

    fn check_times(&self, token: Verified, now: Tim) -> Result<(), Refusal> {
        match token.exp {
            Date::Absent | Date::Odd => return Err(Refusal::JwtInvalid),
            Date::At(exp) if now.secs() >= exp + self.leeway_secs => {
                return Err(Refusal::JwtExpired);
            }
            Date::At(_) => {}
        }
        match token.nbf {
            Date::Odd => Err(Refusal::JwtInvalid),
            Date::At(nbf) if now.secs() + self.leeway_secs < nbf => Err(Refusal::JwtInvalid),
            Date::Absent | Date::At(_) => Ok(()),
        }
    }
}

/// The claims that matter here, of any type: whether they are looked at is the
/// settings' to say. A claim that is there twice is refused (RFC 7519, 4).
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<Box<RawValue>>,
    #[serde(default)]
    nbf: Option<Box<RawValue>>,
}

/// A time in a token (NumericDate: seconds since the Unix epoch).
#[derive(Clone, Copy)]
enum Date {
    Absent,
    At(f64),
    /// There, but not a number.
    Odd,
}

impl Date {
    fn of(claim: Option<Box<RawValue>>) -> Self {
        match claim.map(|json| json.get().parse()) {
            None => Self::Absent,
            Some(Ok(secs)) => Self::At(secs),
            Some(Err(_)) => Self::Odd,
        }
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}
