//! The examples of the RFCs.

use super::*;
use crate::chat::tokens::read_public_keys;

/// The claims of RFC 7515, A.1 to A.3 and A.5, and of RFC 7519, 3.1 and 6.1;
/// their `exp` is in the year 2011.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RS256_KEY: &str = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;

const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

const ED25519_KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn jwk(json: &str, algorithm: Algorithm) -> TokenKey {
    read_public_keys(None, Some(algorithm), json.as_bytes()).unwrap().keys.remove(0)
}

#[test]
fn hs256_of_rfc_7515_a_1_and_rfc_7519_3_1() {
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let token = format!("{header}.{CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let key = || with_keys([secret(Algorithm::HS256, &key)]);
    check(key(), &token, "ok");
    check(AuthSettings { check_exp: true, ..key() }, &token, "jwt-expired");
    check(AuthSettings { issuer: Some("joe".into()), ..key() }, &token, "ok");
    check(settings(), &token, "jwt-invalid");
}

#[test]
fn rs256_of_rfc_7515_a_2() {
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{signature}");
    check(with_keys([jwk(RS256_KEY, Algorithm::RS256)]), &token, "ok");
    // The same key with another algorithm is another key.
    check(with_keys([jwk(RS256_KEY, Algorithm::RS512)]), &token, "jwt-invalid");
    check(with_keys([jwk(RS256_KEY, Algorithm::PS256)]), &token, "jwt-invalid");
}

#[test]
fn es256_of_rfc_7515_a_3() {
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{signature}");
    check(with_keys([jwk(ES256_KEY, Algorithm::ES256)]), &token, "ok");
    check(settings(), &token, "jwt-invalid");
}

#[test]
fn es512_of_rfc_7515_a_4_is_not_supported() {
    let token = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    check(settings(), token, "jwt-invalid");
}

#[test]
fn unsecured_tokens_of_rfc_7515_a_5_and_rfc_7519_6_1() {
    let token = format!("eyJhbGciOiJub25lIn0.{CLAIMS}.");
    check(settings(), &token, "jwt-invalid");
    check(with_keys([jwk(ES256_KEY, Algorithm::ES256)]), &token, "jwt-invalid");
}

#[test]
fn eddsa_of_rfc_8037_a_4() {
    // Its payload is not JSON, so only the signature is valid.
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let verifier = Verifier::new(with_keys([jwk(ED25519_KEY, Algorithm::EdDSA)])).unwrap();
    assert!(verifier.signed_claims(token).is_some());
    assert_eq!(verifier.signed_claims(&token.replace("hgyY", "hgyZ")), None);
    check(with_keys([jwk(ED25519_KEY, Algorithm::EdDSA)]), token, "jwt-invalid");
}
