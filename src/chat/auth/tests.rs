use super::super::revoked::Revocation;
use super::*;
use jsonwebtoken::{Algorithm, EncodingKey};

mod families;
mod files;
mod vectors;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW_SECS: u64 = 1_600_000_000;

fn secret(algorithm: Algorithm, secret: &[u8]) -> TokenKey {
    TokenKey::secret(None, algorithm, secret).unwrap()
}

fn under(keys: impl Into<Vec<TokenKey>>) -> AuthSettings {
    AuthSettings { keys: keys.into(), leeway: Duration::from_secs(30), ..AuthSettings::default() }
}

fn settings() -> AuthSettings {
    under([secret(Algorithm::HS256, SECRET)])
}

fn checking_exp() -> AuthSettings {
    AuthSettings { check_exp: true, ..settings() }
}

/// A token with these parts, whatever they are, signed as `alg` says.
fn mint(header: &str, claims: &str, alg: Algorithm, secret: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, alg).unwrap();
    format!("{signed}.{signature}")
}

fn token(claims: &str) -> String {
    mint(r#"{"alg":"HS256","typ":"JWT"}"#, claims, Algorithm::HS256, SECRET)
}

fn verdict(settings: AuthSettings, token: &str) -> &'static str {
    let now = Tim::from_nanos(NOW_SECS * 1_000_000_000);
    let verifier = Verifier::new(settings).unwrap();
    let mut known = None;
    let mut ask = || verifier.check(token, &mut known, now).map_or_else(Refusal::code, |_| "ok");
    let verdict = ask();
    assert_eq!(ask(), verdict, "asked again");
    verdict
}

#[track_caller]
fn check(settings: AuthSettings, token: &str, expected: &str) {
    assert_eq!(verdict(settings, token), expected, "{token}");
}

#[test]
fn claims_that_do_not_matter_may_be_anything() {
    for claims in [
        "{}",
        r#"{"sub":"ann","iss":"joe","aud":"elsewhere","jti":"1","iat":1}"#,
        r#"{"aud":["a","b"],"sub":1,"iss":{"a":[]}}"#,
        r#"{"sub":["ann"],"aud":{"x":1}}"#,
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
        (r#"{"exp":1e999}"#, "jwt-invalid"),
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
            let keys: Vec<_> = listed.iter().map(|alg| secret(*alg, SECRET)).collect();
            check(under(keys), &of(alg), expected);
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
        hs256(r#"{"alg":"HS256","crit":null}"#),
        // Another secret, or none.
        mint(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b"another"),
        mint(r#"{"alg":"HS256"}"#, "{}", Algorithm::HS256, b""),
        // Claims that are none, or ambiguous.
        token(""),
        token("[]"),
        token("null"),
        token(r#"{"exp":1,"exp":9999999999}"#),
        token(r#"{"nbf":1,"nbf":1}"#),
        token(r#"{"sub":"ann","sub":"bob"}"#),
        token(r#"{"sub":"ann","\u0073ub":"bob"}"#),
        token(&"[".repeat(10_000)),
    ] {
        check(settings(), &bad, "jwt-invalid");
        check(checking_exp(), &bad, "jwt-invalid");
    }
    check(settings(), &good, "ok");
}

#[test]
fn members_of_a_header_that_do_not_matter_may_be_anything() {
    for member in ["nonce", "url", "zip", "enc", "typ", "cty", "jwk", "jku", "x5u", "x5c", "x5t"] {
        for value in ["null", "7", "true", r#""DEF""#, "[1]", r#"{"a":1}"#] {
            let header = format!(r#"{{"alg":"HS256","{member}":{value}}}"#);
            check(settings(), &mint(&header, "{}", Algorithm::HS256, SECRET), "ok");
        }
    }
}

#[test]
fn huge_tokens_work() {
    check(settings(), &"x".repeat(16 * 1024), "jwt-invalid");
    check(settings(), &".".repeat(16 * 1024), "jwt-invalid");
    check(settings(), &format!("{}.e30.e30", "e30".repeat(5_000)), "jwt-invalid");
    check(settings(), &token(&format!(r#"{{"x":"{}"}}"#, "y".repeat(1_000_000))), "ok");
}

#[test]
fn what_verified_is_not_verified_again() {
    let verifier = Verifier::new(settings()).unwrap();
    let forged = "not even a token";
    let digest = sha256([&verifier.settings_digest, forged.as_bytes()]);
    let (bearer, exp, nbf) = (Bearer::default(), Date::Absent, Date::Absent);
    let mut known = Some(Verified { digest, is_revoked: false, exp, nbf, bearer });
    let now = Tim::default();
    let mut ask = |token: &str| verifier.check(token, &mut known, now).map(|_| ());
    assert_eq!(ask(forged), Ok(()));
    // Any other token is, and so is this one once it is not the last.
    assert_eq!(ask("another"), Err(Refusal::JwtInvalid));
    assert_eq!(ask(&token("{}")), Ok(()));
    assert_eq!(ask(forged), Err(Refusal::JwtInvalid));
}

#[test]
fn other_settings_know_no_token() {
    let named = |kid| TokenKey::secret(kid, Algorithm::HS256, SECRET).unwrap();
    let some = || Some("x".to_owned());
    let revoked = |revocation| [revocation].into_iter().collect();
    let all = [
        settings(),
        checking_exp(),
        under([secret(Algorithm::HS256, b"another")]),
        under([secret(Algorithm::HS512, SECRET)]),
        under([secret(Algorithm::HS256, SECRET), secret(Algorithm::HS512, SECRET)]),
        under([named(Some("a"))]),
        AuthSettings { issuer: some(), ..settings() },
        AuthSettings { audience: some(), ..settings() },
        AuthSettings { bind_usr: some(), ..settings() },
        AuthSettings { moderator_claim: some(), ..settings() },
        AuthSettings { leeway: Duration::ZERO, ..settings() },
        AuthSettings { revoked: revoked(Revocation::Token("x".into())), ..settings() },
        AuthSettings { revoked: revoked(Revocation::Speaker("x".into())), ..settings() },
        AuthSettings { revoked: revoked(Revocation::IssuedBefore("x".into(), 0.0)), ..settings() },
    ];
    let mut digests: Vec<_> = all.iter().map(digest_of).collect();
    assert_eq!(digests.first(), Some(&digest_of(&settings())), "the same settings know it");
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), all.len());
}

#[test]
fn a_token_that_is_known_still_expires() {
    let token = token(r#"{"exp":1000,"nbf":500}"#);
    let verifier = Verifier::new(checking_exp()).unwrap();
    let mut known = None;
    for (secs, expected) in [
        (469, Err(Refusal::JwtInvalid)),
        (470, Ok(())),
        (1029, Ok(())),
        (1030, Err(Refusal::JwtExpired)),
        (1029, Ok(())),
    ] {
        let now = Tim::from_nanos(secs * 1_000_000_000);
        assert_eq!(verifier.check(&token, &mut known, now).map(|_| ()), expected, "{secs}");
    }
}

#[test]
fn issuer_and_audience_are_asked_for_where_they_are_set() {
    let asking = || AuthSettings {
        issuer: Some("https://id.example".into()),
        audience: Some("room".into()),
        ..settings()
    };
    for (claims, expected) in [
        (r#"{"iss":"https://id.example","aud":"room"}"#, "ok"),
        (r#"{"iss":"https:\/\/id.example","aud":["room","shop"]}"#, "ok"),
        (r#"{"iss":"https://id.example"}"#, "jwt-invalid"),
        (r#"{"aud":"room"}"#, "jwt-invalid"),
        (r#"{"iss":"https://id.example/","aud":"room"}"#, "jwt-invalid"),
        (r#"{"iss":["https://id.example"],"aud":"room"}"#, "jwt-invalid"),
        (r#"{"iss":"https://id.example","aud":"Room"}"#, "jwt-invalid"),
        (r#"{"iss":"https://id.example","aud":[]}"#, "jwt-invalid"),
    ] {
        check(asking(), &token(claims), expected);
    }
}

#[test]
fn a_revoked_token_says_so() {
    let revoking = || AuthSettings {
        revoked: [
            Revocation::Token("7".into()),
            Revocation::IssuedBefore("bob".into(), NOW_SECS as f64),
        ]
        .into_iter()
        .collect(),
        ..checking_exp()
    };
    for (claims, expected) in [
        (r#"{"exp":1700000000,"jti":"8"}"#, "ok"),
        (r#"{"exp":1700000000,"jti":"7"}"#, "jwt-revoked"),
        (r#"{"exp":1,"jti":"7"}"#, "jwt-revoked"),
        (r#"{"exp":1700000000,"sub":"bob","iat":1599999999}"#, "jwt-revoked"),
        (r#"{"exp":1700000000,"sub":"bob","iat":1600000000}"#, "ok"),
    ] {
        check(revoking(), &token(claims), expected);
    }
    // Whoever has no right token learns nothing of what is revoked.
    let claims = r#"{"jti":"7"}"#;
    let forged = mint(r#"{"alg":"HS256"}"#, claims, Algorithm::HS256, b"another");
    check(revoking(), &forged, "jwt-invalid");
}

#[test]
fn a_revoked_token_still_says_who_bears_it_and_makes_no_moderator() {
    let revoked = [Revocation::Speaker("u7".into())].into_iter().collect();
    let asking = AuthSettings { revoked, moderator_claim: Some("mod".into()), ..settings() };
    let verifier = Verifier::new(asking).unwrap();
    let (token, mut known) = (token(r#"{"sub":"u7","mod":true}"#), None);
    for _ in 0..2 {
        let refused = verifier.check(&token, &mut known, Tim::default()).map(|_| ());
        assert_eq!(refused, Err(Refusal::JwtRevoked));
        let Some(Verified { bearer, .. }) = &known else { panic!("it verified") };
        assert_eq!((bearer.sub.as_deref(), bearer.is_moderator), (Some("u7"), false));
    }
}

#[test]
fn thousands_of_revocations_are_as_quick_as_one() {
    let names = (0..50_000).map(|n| Revocation::Speaker(format!("speaker {n}")));
    let revoking = AuthSettings { revoked: names.collect(), ..settings() };
    let verifier = Verifier::new(revoking).unwrap();
    for (sub, expected) in [("speaker 49999", Err(Refusal::JwtRevoked)), ("ann", Ok(()))] {
        let token = token(&format!(r#"{{"sub":"{sub}"}}"#));
        let verdict = verifier.check(&token, &mut None, Tim::default()).map(|_| ());
        assert_eq!(verdict, expected);
    }
}

#[test]
fn a_bearer_is_known_by_the_claims_that_the_settings_name() {
    let asking = AuthSettings {
        bind_usr: Some("nick".into()),
        moderator_claim: Some("mod".into()),
        ..settings()
    };
    let verifier = Verifier::new(asking).unwrap();
    let bearer = |claims: &str| {
        let mut known = None;
        let bearer = verifier.check(&token(claims), &mut known, Tim::default())?;
        let text = |claim: &Option<Box<str>>| claim.as_deref().unwrap_or("-").to_owned();
        Ok((text(&bearer.sub), text(&bearer.usr), bearer.is_moderator))
    };
    let of = |sub: &str, usr: &str, is_moderator| Ok((sub.into(), usr.into(), is_moderator));
    assert_eq!(bearer(r#"{"sub":"u7","nick":"Ann","mod":true}"#), of("u7", "Ann", true));
    assert_eq!(bearer(r#"{"nick":"Ann","mod":"yes"}"#), of("-", "Ann", false));
    assert_eq!(bearer(r#"{"sub":7,"nick":""}"#), of("-", "", false));
    for claims in [r#"{"sub":"u7"}"#, r#"{"nick":null}"#, r#"{"nick":["Ann"]}"#] {
        assert_eq!(bearer(claims), Err(Refusal::JwtInvalid), "{claims}");
    }
}
