use super::*;
use crate::chat::tokens::revocation::Revocation;
use jsonwebtoken::{Algorithm, EncodingKey};

mod claims;
mod families;
mod files;
mod vectors;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW_SECS: u64 = 1_600_000_000;

fn secret(algorithm: Algorithm, secret: &[u8]) -> TokenKey {
    TokenKey::secret(None, algorithm, secret).unwrap()
}

fn with_keys(keys: impl Into<Vec<TokenKey>>) -> AuthSettings {
    AuthSettings { keys: keys.into(), leeway: Duration::from_secs(30), ..AuthSettings::default() }
}

fn settings() -> AuthSettings {
    with_keys([secret(Algorithm::HS256, SECRET)])
}

fn checking_exp() -> AuthSettings {
    AuthSettings { check_exp: true, ..settings() }
}

fn revoking(entries: impl IntoIterator<Item = Revocation>) -> AuthSettings {
    AuthSettings { revocations: entries.into_iter().collect(), ..checking_exp() }
}

/// Any header and claims with a valid signature of this algorithm.
fn sign(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

fn hmac(header: &str, claims: &str, algorithm: Algorithm, secret: &[u8]) -> String {
    sign(header, claims, algorithm, &EncodingKey::from_secret(secret))
}

fn token(claims: &str) -> String {
    hmac(r#"{"alg":"HS256","typ":"JWT"}"#, claims, Algorithm::HS256, SECRET)
}

fn with_header(header: &str) -> String {
    hmac(header, "{}", Algorithm::HS256, SECRET)
}

/// Checks the result for a token, twice: the second time it is the last token.
#[track_caller]
fn check(settings: AuthSettings, token: &str, want: &str) {
    let now = Tim::from_nanos(NOW_SECS * 1_000_000_000);
    let verifier = Verifier::new(settings).unwrap();
    let mut last = None;
    for _ in 0..2 {
        let result = verifier.check(token, &mut last, now).map_or_else(Refusal::code, |_| "ok");
        assert_eq!(result, want, "{token}");
    }
}

#[track_caller]
fn check_claims(settings: &AuthSettings, cases: &[(&str, &str)]) {
    for (claims, want) in cases {
        check(settings.clone(), &token(claims), want);
    }
}

#[test]
fn only_the_algorithms_of_the_keys() {
    use Algorithm::{HS256, HS384, HS512};
    for keys in [&[HS256][..], &[HS384], &[HS512], &[HS256, HS512], &[HS512, HS384, HS256]] {
        for algorithm in [HS256, HS384, HS512] {
            let want = if keys.contains(&algorithm) { "ok" } else { "jwt-invalid" };
            let keys: Vec<_> = keys.iter().map(|algorithm| secret(*algorithm, SECRET)).collect();
            let header = format!(r#"{{"alg":"{algorithm:?}"}}"#);
            check(with_keys(keys), &hmac(&header, "{}", algorithm, SECRET), want);
        }
    }
}

#[test]
fn headers() {
    for (header, is_valid) in [
        (r#"{"alg":"HS256"}"#, true),
        (r#"{"alg":"HS256","kid":"a"}"#, true),
        (r#"{"alg":"HS256","kid":""}"#, true),
        (r#"{"alg":"HS256","kid":null}"#, true),
        (r#"{"alg":"HS256","nonce":1,"url":{},"zip":[],"enc":true}"#, true),
        (r#"{"alg":"HS256","typ":1,"cty":[],"jku":{},"jwk":"x","x5u":0}"#, true),
        (r#"{"alg":"HS256","x5c":"x","x5t":[1],"x5t#S256":{},"other":1e999}"#, true),
        (r#"{"alg":"HS256","nonce":null,"jwk":null,"b64":false}"#, true),
        (r#"{"alg":"HS256","kid":7}"#, false),
        (r#"{"alg":"HS256","kid":["a"]}"#, false),
        (r#"{"alg":"HS256","kid":"a","kid":"a"}"#, false),
        (r#"{"alg":"HS256","url":1,"url":1}"#, false),
        (r#"{"alg":"HS256","alg":"HS256"}"#, false),
        // Extensions that the server must support.
        (r#"{"alg":"HS256","crit":null}"#, false),
        (r#"{"alg":"HS256","crit":[]}"#, false),
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, false),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, false),
        (r#"{"alg":"HS256","\u0063rit":null}"#, false),
        // No algorithm, or not the one of the signature.
        (r#"{"typ":"JWT"}"#, false),
        (r#"{"Alg":"HS256"}"#, false),
        (r#"{"alg":null}"#, false),
        (r#"{"alg":["HS256"]}"#, false),
        (r#"{"alg":"none"}"#, false),
        (r#"{"alg":"None"}"#, false),
        (r#"{"alg":""}"#, false),
        (r#"{"alg":"hs256"}"#, false),
        (r#"{"alg":"HS384"}"#, false),
        (r#"{"alg":"RS256"}"#, false),
        (r#"{"alg":"EdDSA"}"#, false),
        ("{}", false),
        ("[]", false),
        ("", false),
    ] {
        check(settings(), &with_header(header), if is_valid { "ok" } else { "jwt-invalid" });
    }
}

#[test]
fn known_attacks() {
    let good = token("{}");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for bad in [
        "x".into(),
        "..".into(),
        "...".into(),
        "\u{1f600}.\u{1f600}.\u{1f600}".into(),
        // The signature is missing, truncated or of something else.
        signed.into(),
        format!("{signed}."),
        format!("{signed}.{}", &signature[..20]),
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}.{signature}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"sub":"root"}"#)),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        // Another secret, or none.
        hmac(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b"another"),
        hmac(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b""),
        // Huge tokens.
        "x".repeat(16 * 1024),
        ".".repeat(16 * 1024),
        format!("{}.e30.e30", "e30".repeat(5_000)),
        token(&"[".repeat(10_000)),
    ] {
        check(settings(), &bad, "jwt-invalid");
        check(checking_exp(), &bad, "jwt-invalid");
    }
    check(settings(), &good, "ok");
    check(settings(), &token(&format!(r#"{{"x":"{}"}}"#, "y".repeat(1_000_000))), "ok");
}

#[test]
fn the_signature_of_the_last_token_is_not_verified_again() {
    let verifier = Verifier::new(settings()).unwrap();
    let forged = "not a token";
    let mut last = Some(VerifiedToken {
        digest: sha256([&verifier.settings_digest, forged.as_bytes()]),
        is_revoked: false,
        exp: NumericDate::Missing,
        nbf: NumericDate::Missing,
        bearer: Bearer::default(),
    });
    let mut is_new =
        |token: &str| verifier.check(token, &mut last, Tim::default()).map(|(_, is_new)| is_new);
    assert_eq!(is_new(forged), Ok(false));
    // Every other token is verified, and then this one is not the last any more.
    assert_eq!(is_new("another"), Err(Refusal::JwtInvalid));
    assert_eq!(is_new(&token("{}")), Ok(true));
    assert_eq!(is_new(&token("{}")), Ok(false));
    assert_eq!(is_new(forged), Err(Refusal::JwtInvalid));
}

#[test]
fn different_settings_have_different_digests() {
    let named = |kid| TokenKey::secret(kid, Algorithm::HS256, SECRET).unwrap();
    let some = || Some("x".to_owned());
    let all = [
        settings(),
        checking_exp(),
        with_keys([secret(Algorithm::HS256, b"another")]),
        with_keys([secret(Algorithm::HS512, SECRET)]),
        with_keys([secret(Algorithm::HS256, SECRET), secret(Algorithm::HS512, SECRET)]),
        with_keys([named(Some("a"))]),
        AuthSettings { issuer: some(), ..settings() },
        AuthSettings { audience: some(), ..settings() },
        AuthSettings { bind_usr: some(), ..settings() },
        AuthSettings { moderator_claim: some(), ..settings() },
        AuthSettings { leeway: Duration::ZERO, ..settings() },
        revoking([Revocation::Token("x".into())]),
        revoking([Revocation::Speaker("x".into())]),
        revoking([Revocation::IssuedBefore("x".into(), 0.0)]),
    ];
    let mut digests: Vec<_> = all.iter().map(digest_of).collect();
    assert_eq!(digests.first(), Some(&digest_of(&settings())));
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), all.len());
}
