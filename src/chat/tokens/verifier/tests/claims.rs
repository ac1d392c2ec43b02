//! What the claims of a token decide.

use super::*;

#[test]
fn claims_are_one_object_with_unique_names() {
    check_claims(
        &settings(),
        &[
            ("{}", "ok"),
            (r#" { "a" : [ {} ] } "#, "ok"),
            (r#"{"a":{"sub":1,"sub":1}}"#, "ok"),
            ("", "jwt-invalid"),
            ("[]", "jwt-invalid"),
            ("null", "jwt-invalid"),
            (r#""sub""#, "jwt-invalid"),
            ("{} {}", "jwt-invalid"),
            (r#"{"exp":1,"exp":9999999999}"#, "jwt-invalid"),
            (r#"{"sub":"ann","\u0073ub":"bob"}"#, "jwt-invalid"),
            // Claims that are not used may have any value.
            (r#"{"sub":"ann","iss":"joe","aud":"elsewhere","jti":"1","iat":1}"#, "ok"),
            (r#"{"aud":["a","b"],"sub":1,"iss":{"a":[]}}"#, "ok"),
            (r#"{"sub":["ann"],"aud":{"x":1}}"#, "ok"),
            (r#"{"exp":1}"#, "ok"),
            (r#"{"exp":"tomorrow","nbf":[]}"#, "ok"),
            (r#"{"exp":1e999,"nbf":null}"#, "ok"),
            (r#"{"nbf":9999999999}"#, "ok"),
        ],
    );
}

#[test]
fn times() {
    check_claims(
        &checking_exp(),
        &[
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
        ],
    );
    // The times of the last token are checked again.
    let token = token(r#"{"exp":1000,"nbf":500}"#);
    let verifier = Verifier::new(checking_exp()).unwrap();
    let mut last = None;
    for (secs, want) in [
        (469, Err(Refusal::JwtInvalid)),
        (470, Ok(())),
        (1029, Ok(())),
        (1030, Err(Refusal::JwtExpired)),
        (1029, Ok(())),
    ] {
        let now = Tim::from_nanos(secs * 1_000_000_000);
        assert_eq!(verifier.check(&token, &mut last, now).map(drop), want, "{secs}");
    }
}

#[test]
fn issuers_and_audiences() {
    let of_issuer = AuthSettings { issuer: Some("https://id.example".into()), ..settings() };
    check_claims(
        &of_issuer,
        &[
            (r#"{"iss":"https://id.example"}"#, "ok"),
            (r#"{"iss":"https:\/\/id.example"}"#, "ok"),
            (r#"{"aud":"room"}"#, "jwt-invalid"),
            (r#"{"iss":"https://id.example/"}"#, "jwt-invalid"),
            (r#"{"iss":["https://id.example"]}"#, "jwt-invalid"),
        ],
    );
    let for_room = AuthSettings { audience: Some("room".into()), ..settings() };
    check_claims(
        &for_room,
        &[
            (r#"{"aud":"room"}"#, "ok"),
            (r#"{"aud":["shop","room"]}"#, "ok"),
            (r#"{"aud":"shop"}"#, "jwt-invalid"),
            (r#"{"aud":"Room"}"#, "jwt-invalid"),
            (r#"{"aud":["shop"]}"#, "jwt-invalid"),
            (r#"{"aud":[]}"#, "jwt-invalid"),
            (r#"{"aud":["room",1]}"#, "jwt-invalid"),
            (r#"{"aud":{"room":1}}"#, "jwt-invalid"),
            (r#"{"aud":null}"#, "jwt-invalid"),
            ("{}", "jwt-invalid"),
        ],
    );
    let both = AuthSettings { audience: Some("room".into()), ..of_issuer };
    check_claims(
        &both,
        &[
            (r#"{"iss":"https://id.example","aud":"room"}"#, "ok"),
            (r#"{"iss":"https://id.example"}"#, "jwt-invalid"),
            (r#"{"aud":"room"}"#, "jwt-invalid"),
        ],
    );
}

#[test]
fn revocations() {
    let settings = revoking([
        Revocation::Token("7".into()),
        Revocation::Speaker("eve".into()),
        Revocation::IssuedBefore("bob".into(), 100.0),
        Revocation::IssuedBefore("bob".into(), 50.0),
    ]);
    for (claims, want) in [
        (r#""sub":"ann","jti":"8","iat":1"#, "ok"),
        (r#""sub":"ann","jti":"7""#, "jwt-revoked"),
        (r#""jti":"\u0037""#, "jwt-revoked"),
        (r#""jti":7"#, "ok"),
        (r#""sub":"eve""#, "jwt-revoked"),
        (r#""sub":"Eve""#, "ok"),
        (r#""sub":["eve"]"#, "ok"),
        (r#""sub":"bob","iat":99.9"#, "jwt-revoked"),
        (r#""sub":"bob","iat":100"#, "ok"),
        (r#""sub":"bob","iat":"100""#, "jwt-revoked"),
        (r#""sub":"bob","iat":null"#, "jwt-revoked"),
        (r#""sub":"bob""#, "jwt-revoked"),
    ] {
        check(settings.clone(), &token(&format!(r#"{{"exp":1700000000,{claims}}}"#)), want);
    }
    check(settings.clone(), &token(r#"{"exp":1,"jti":"7"}"#), "jwt-revoked");
    // Without a valid token, a client does not learn what is revoked.
    let forged = hmac(r#"{"alg":"HS256"}"#, r#"{"jti":"7"}"#, Algorithm::HS256, b"another");
    check(settings, &forged, "jwt-invalid");
    // The time to look up a token does not depend on their number.
    let many = revoking((0..50_000).map(|n| Revocation::Speaker(format!("speaker {n}"))));
    let many = AuthSettings { check_exp: false, ..many };
    check_claims(&many, &[(r#"{"sub":"speaker 49999"}"#, "jwt-revoked"), (r#"{"sub":"a"}"#, "ok")]);
}

#[test]
fn bearers() {
    let settings = AuthSettings {
        bind_usr: Some("nick".into()),
        moderator_claim: Some("mod".into()),
        ..settings()
    };
    let verifier = Verifier::new(settings.clone()).unwrap();
    for (claims, want) in [
        (r#"{"sub":"u7","nick":"Ann","mod":true}"#, Ok((Some("u7"), "Ann", true))),
        (r#"{"nick":"Ann","mod": true }"#, Ok((None, "Ann", true))),
        (r#"{"nick":"Ann","mod":"true"}"#, Ok((None, "Ann", false))),
        (r#"{"nick":"Ann","mod":1}"#, Ok((None, "Ann", false))),
        (r#"{"nick":"Ann","mod":[true]}"#, Ok((None, "Ann", false))),
        (r#"{"sub":7,"nick":""}"#, Ok((None, "", false))),
        (r#"{"sub":"u7"}"#, Err(Refusal::JwtInvalid)),
        (r#"{"nick":null}"#, Err(Refusal::JwtInvalid)),
        (r#"{"nick":["Ann"]}"#, Err(Refusal::JwtInvalid)),
    ] {
        let mut last = None;
        let result = verifier.check(&token(claims), &mut last, Tim::default());
        let result = result.map(|(bearer, _)| {
            (bearer.sub.as_deref(), bearer.usr.as_deref().unwrap(), bearer.is_moderator)
        });
        assert_eq!(result, want, "{claims}");
    }
    // A revoked token still tells who the bearer is, but makes no moderator.
    let revocations = [Revocation::Speaker("u7".into())].into_iter().collect();
    let verifier = Verifier::new(AuthSettings { revocations, bind_usr: None, ..settings }).unwrap();
    let (token, mut last) = (token(r#"{"sub":"u7","mod":true}"#), None);
    for _ in 0..2 {
        let result = verifier.check(&token, &mut last, Tim::default()).map(drop);
        assert_eq!(result, Err(Refusal::JwtRevoked));
        let bearer = &last.as_ref().unwrap().bearer;
        assert_eq!((bearer.sub.as_deref(), bearer.is_moderator), (Some("u7"), false));
    }
}
