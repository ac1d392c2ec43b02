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
        let times = format!("{} {}", settings.check_exp, settings.leeway.as_nanos());
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
        let claims: Box<RawValue> = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        // serde would take an array as well, its items in the order of the fields.
        let claims = Some(claims.get()).filter(|json| json.starts_with('{'))?;
        serde_json::from_str(claims).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::EncodingKey;

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
    const NOW_SECS: u64 = 1_600_000_000;

    fn settings() -> AuthSettings<'static> {
        AuthSettings {
            secret: Some(SECRET),
            algorithms: &[Algorithm::HS256],
            check_exp: false,
            leeway: Duration::from_secs(30),
        }
    }

    fn checking_exp() -> AuthSettings<'static> {
        AuthSettings { check_exp: true, ..settings() }
    }

    /// A token with these parts, whatever they are, signed as `alg` says.
    fn mint(header: &str, claims: &str, alg: Algorithm, secret: &[u8]) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, alg).unwrap();
        format!("{signed}.{signature}")
    }

    fn token(claims: &str) -> String {
        mint(r#"{"alg":"HS256","typ":"JWT"}"#, claims, Algorithm::HS256, SECRET)
    }

    fn verdict(settings: AuthSettings<'_>, token: &str) -> &'static str {
        let now = Tim::from_nanos(NOW_SECS * 1_000_000_000);
        let verifier = Verifier::new(&settings).unwrap();
        let mut known = None;
        let verdict = verifier.check(token, &mut known, now);
        assert_eq!(verifier.check(token, &mut known, now), verdict, "asked again");
        verdict.map_or_else(Refusal::code, |()| "ok")
    }

    #[track_caller]
    fn check(settings: AuthSettings<'_>, token: &str, expected: &str) {
        assert_eq!(verdict(settings, token), expected, "{token}");
    }

    #[test]
    fn the_vector_of_rfc_7515() {
        // Appendix A.1; its `exp` is in the year 2011.
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        check(AuthSettings { secret: Some(&key), ..settings() }, token, "ok");
        check(AuthSettings { secret: Some(&key), ..checking_exp() }, token, "jwt-expired");
        check(settings(), token, "jwt-invalid");
    }

    #[test]
    fn claims_that_do_not_matter_may_be_anything() {
        for claims in [
            "{}",
            r#"{"sub":"ann","iss":"joe","aud":"elsewhere","jti":"1","iat":1}"#,
            r#"{"aud":["a","b"],"sub":1,"iss":{"a":[]}}"#,
            r#"{"sub":["ann"],"aud":{"x":1},"sub":null}"#,
            r#"{"exp":1}"#,
            r#"{"exp":"tomorrow","nbf":[]}"#,
            r#"{"exp":1e999,"nbf":null}"#,
            r#"{"nbf":9999999999}"#,
        ] {
            check(settings(), &token(claims), "ok");
        }
    }

    #[test]
    fn times_matter_when_they_are_checked() {
        for (claims, expected) in [
            ("{}", "jwt-invalid"),
            (r#"{"exp":null}"#, "jwt-invalid"),
            (r#"{"exp":"1700000000"}"#, "jwt-invalid"),
            (r#"{"exp":true}"#, "jwt-invalid"),
            (r#"{"exp":[1700000000]}"#, "jwt-invalid"),
            (r#"{"exp":1600000001}"#, "ok"),
            (r#"{"exp":1599999971}"#, "ok"),
            (r#"{"exp":1599999970.5}"#, "ok"),
            (r#"{"exp":1599999970}"#, "jwt-expired"),
            (r#"{"exp":0}"#, "jwt-expired"),
            (r#"{"exp":-1}"#, "jwt-expired"),
            (r#"{"exp":1.7e9}"#, "ok"),
            (r#"{"exp":1e300}"#, "ok"),
            (r#"{"exp":18446744073709551616}"#, "ok"),
            (r#"{"exp":1700000000,"nbf":1600000030}"#, "ok"),
            (r#"{"exp":1700000000,"nbf":1600000031}"#, "jwt-invalid"),
            (r#"{"exp":1700000000,"nbf":"x"}"#, "jwt-invalid"),
            (r#"{"exp":1700000000,"nbf":null}"#, "ok"),
            (r#"{"exp":1,"nbf":1600000031}"#, "jwt-expired"),
        ] {
            check(checking_exp(), &token(claims), expected);
        }
    }

    #[test]
    fn only_listed_algorithms() {
        use Algorithm::{HS256, HS384, HS512};
        let of = |alg: Algorithm| mint(&format!(r#"{{"alg":"{alg:?}"}}"#), "{}", alg, SECRET);
        for listed in [&[HS256][..], &[HS384], &[HS512], &[HS256, HS512], &[HS512, HS384, HS256]] {
            for alg in [HS256, HS384, HS512] {
                let expected = if listed.contains(&alg) { "ok" } else { "jwt-invalid" };
                check(AuthSettings { algorithms: listed, ..settings() }, &of(alg), expected);
            }
        }
    }

    #[test]
    fn known_attacks() {
        let good = token("{}");
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let hs256 = |header: &str| mint(header, "{}", Algorithm::HS256, SECRET);
        for bad in [
            "x".into(),
            "..".into(),
            "...".into(),
            "\u{1f600}.\u{1f600}.\u{1f600}".into(),
            // The signature is stripped, cut, or of something else.
            signed.into(),
            format!("{signed}."),
            format!("{signed}.{}", &signature[..20]),
            format!("{signed}.{signature}="),
            format!("{signed}.{signature}.{signature}"),
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"sub":"root"}"#)),
            format!(" {good}"),
            format!("{good}\n"),
            // No algorithm, or one that is not what was signed.
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            hs256(r#"{"alg":"None"}"#),
            hs256(r#"{"alg":""}"#),
            hs256(r#"{"alg":"hs256"}"#),
            hs256(r#"{"alg":"HS384"}"#),
            hs256(r#"{"alg":"RS256"}"#),
            hs256(r#"{"alg":"EdDSA"}"#),
            hs256(r#"{"typ":"JWT"}"#),
            hs256(r#"{"alg":"HS256","alg":"HS256"}"#),
            hs256("[]"),
            hs256(""),
            // An extension that has to be understood.
            hs256(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#),
            hs256(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#),
            hs256(r#"{"alg":"HS256","crit":[]}"#),
            // Another secret, or none.
            mint(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b"another"),
            mint(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b""),
            // Claims that are none, or ambiguous.
            token(""),
            token("[]"),
            token("null"),
            token(r#"{"exp":1,"exp":9999999999}"#),
            token(r#"{"nbf":1,"nbf":1}"#),
            token(&"[".repeat(10_000)),
        ] {
            check(settings(), &bad, "jwt-invalid");
            check(checking_exp(), &bad, "jwt-invalid");
        }
        check(settings(), &good, "ok");
    }

    #[test]
    fn an_empty_secret_lets_nobody_speak() {
        let empty = AuthSettings { secret: Some(b""), ..settings() };
        let token = mint(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b"");
        check(empty, &token, "jwt-invalid");
        check(empty, "", "jwt-invalid");
    }

    #[test]
    fn huge_tokens_work() {
        check(settings(), &token(&format!(r#"{{"x":"{}"}}"#, "y".repeat(1_000_000))), "ok");
    }

    #[test]
    fn what_verified_is_not_verified_again() {
        let verifier = Verifier::new(&settings()).unwrap();
        let forged = "not even a token";
        let digest = sha256(&[&verifier.settings_digest, forged.as_bytes()]);
        let mut known = Some(Verified { digest, exp: Date::Absent, nbf: Date::Absent });
        let now = Tim::default();
        assert_eq!(verifier.check(forged, &mut known, now), Ok(()));
        // Any other token is, and so is this one once it is not the last.
        assert_eq!(verifier.check("another", &mut known, now), Err(Refusal::JwtInvalid));
        assert_eq!(verifier.check(&token("{}"), &mut known, now), Ok(()));
        assert_eq!(verifier.check(forged, &mut known, now), Err(Refusal::JwtInvalid));
    }

    #[test]
    fn other_settings_know_no_token() {
        let good = token("{}");
        let mut known = None;
        let verifier = Verifier::new(&settings()).unwrap();
        assert_eq!(verifier.check(&good, &mut known, Tim::default()), Ok(()));
        for other in [
            AuthSettings { secret: Some(b"another"), ..settings() },
            AuthSettings { secret: Some(b""), ..settings() },
            AuthSettings { algorithms: &[Algorithm::HS512], ..settings() },
            checking_exp(),
        ] {
            let verifier = Verifier::new(&other).unwrap();
            let verdict = verifier.check(&good, &mut known.clone(), Tim::default());
            assert_eq!(verdict, Err(Refusal::JwtInvalid));
        }
    }

    #[test]
    fn a_token_that_is_known_still_expires() {
        let token = token(r#"{"exp":1000,"nbf":500}"#);
        let verifier = Verifier::new(&checking_exp()).unwrap();
        let mut known = None;
        for (secs, expected) in [
            (469, Err(Refusal::JwtInvalid)),
            (470, Ok(())),
            (1029, Ok(())),
            (1030, Err(Refusal::JwtExpired)),
            (1029, Ok(())),
        ] {
            let now = Tim::from_nanos(secs * 1_000_000_000);
            assert_eq!(verifier.check(&token, &mut known, now), expected, "{secs}");
        }
    }
}
