//! Files of public keys: which of their keys are used, and which are reported.

use super::*;
use crate::chat::tokens::{KeyError, PublicKeys, read_public_keys};

/// Made by openssl(1) with `-algorithm RSA-PSS`, for every hash.
const PSS: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBALGbZA0sZ3vP6j3bPNVkzrgY\n\
    N+Mqpw+qUklfxcCCeGR1P+XJnStwLonjaIYMcyKqHFT4lBtMIpLmisV7FEHN+7dI\n\
    xT2vdL7paUNB/+7984UB1P5XAVqFlqgr5cMRkDijGdse7meKbu9LzZjxEagQhb1L\n\
    76uzdCAAGIhKc8A3uXzLqWSfa7XAcAkRsDUmBpHYlyMiRa6f2vM3b3RqBDHwHRbb\n\
    AS9AmhDacK75Er3TNLmOOZuQhKudDvTplhj5yz/gYUGDJ5FTboIv7+FwBkXqJtV4\n\
    xtwNrVGmk2CyaPnakaBPEGZKsxaBD5xyXOvR3UmycwpnYxsblPVQ2EUvOjyu5TkC\n\
    AwEAAQ==\n\
    -----END PUBLIC KEY-----\n";
/// The same, for SHA-256 only.
const PSS_SHA256: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBVjBBBgkqhkiG9w0BAQowNKAPMA0GCWCGSAFlAwQCAQUAoRwwGgYJKoZIhvcN\n\
    AQEIMA0GCWCGSAFlAwQCAQUAogMCASADggEPADCCAQoCggEBAN4Jkwcs0cJSqA2r\n\
    jJ9Mqsk05Yvkf5kRP2WJ4Gkt4gtEDmjQPDhOZXIbUP1eg7Zc6tsZXJmM4G2dZ8VG\n\
    ceu/3ljpVQeOthjmvdm1PwoeSL2/8uiFz0Yw5GNwriom8i3QY2hRCv3wwnf9xaSB\n\
    aHEV5kmzsWYsspe4rsX8V6PfWeKuJ6ofaFzErXyB3QRTSgBbwzGXoiuZPR9WFwh+\n\
    rwYyIwxLw35t9V1PBEE/QTvkGl/39oP49I4PE9v80SE9pHCIxwzMxezGQq1w4b8v\n\
    f4p2W6bTh0Jd2jR+dZ3piMQhHfShppH+WOpMVbyphzn2szbIyKnloTp9DFuNKsoM\n\
    BY37NCECAwEAAQ==\n\
    -----END PUBLIC KEY-----\n";
/// Signed by openssl(1) with these two.
const PS384_TOKEN: &str = "eyJhbGciOiJQUzM4NCJ9.e30.nXwpJkvD9vOz0kdehM2sps4V-XR7mZsWC9hLUHO8o5oZlOoNJzDJSvX7wHGtNufdtcmvfoxZGzddqBDbyhmUsbpkjXEesBbihodSV7uAyDLadbguMl-AWfzxH01iW0Q_WAhh5AgImrNltyuYfOVvznXD2t4fpXQ2r020QLRuryq6ricgpTokyCDHear9-gpu1yn0ZxdLuVTefnNSdzjqbmT3ZzXgkrcO61YmAX8I_tP6DkZ-I0qhC3th0TI_tG1UDenQ7ioRG8_JeQYzCmGgdHdNHk9YqFX55PJEb_18YSvTKhziLf3Cnggu-PjzBYbITaRuOzYxeFT5jKT3I9uW2Q";
const PS256_TOKEN: &str = "eyJhbGciOiJQUzI1NiJ9.e30.xRh4nvTvm8AWEgG_3j-QG_OnrM-dxIiR-QXenUFel5OSzPvBS3yVXVEf-ZtVhcjp6iV8BtFwR6HYkoq_yOkjd6984UqzeVU8I2dSqJzTmnPMmvPgQTHrxD055WpRAmxzOFk5k-y2D2qdNoTUjeXAXI-PXrYPtmZM3POGQdz1D3hdokbtSPI8t-s_GmEC5OyeuBk-uugqu6BfAXHsrMpzZYoGKh3YAC2WF1j5lxARhFTAidUETe8eKWaHYlPn2jwETsgaZnYdhmOvQ5e3r_cvZI6Z8yKWt0N5IVf9-zXMRx8W4pqIhfQs6-GjMn1Gu6CquqRFBod33rX4_msTSJvJfQ";

/// Keys of RFC 8037, A.2, and RFC 7515, A.3.
const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
const ED_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

/// The keys of a file, then those that cannot be used, as text.
fn found(algorithm: Option<Algorithm>, content: impl AsRef<[u8]>) -> String {
    match read_public_keys(None, algorithm, content.as_ref()) {
        Ok(PublicKeys { keys, unusable }) => {
            let keys = keys.iter().map(|key| key.kid().unwrap_or("-").to_owned());
            let unusable = unusable.iter().map(ToString::to_string);
            keys.chain(unusable).collect::<Vec<_>>().join("; ")
        }
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check_set(keys: &[String], want: &str) {
    assert_eq!(found(None, format!(r#"{{"keys":[{}]}}"#, keys.join(","))), want);
}

fn jwk(members: &str, more: &str) -> String {
    format!("{{{members},{more}}}")
}

#[test]
fn keys_for_other_uses_are_ignored() {
    let good = || jwk(EC, r#""kid":"good""#);
    for (more, is_used) in [
        (r#""use":"sig""#, true),
        (r#""use":"enc""#, false),
        (r#""use":"other""#, false),
        (r#""use":"""#, false),
        (r#""key_ops":["verify"]"#, true),
        (r#""key_ops":["sign","verify"]"#, true),
        (r#""key_ops":["sign"]"#, false),
        (r#""key_ops":["encrypt","wrapKey"]"#, false),
        (r#""key_ops":["Verify"]"#, false),
        (r#""key_ops":[]"#, false),
        (r#""use":"sig","key_ops":["verify"]"#, true),
        (r#""use":"sig","key_ops":["sign"]"#, false),
        (r#""use":"enc","key_ops":["verify"]"#, false),
        (r#""use":null,"key_ops":null"#, true),
    ] {
        let key = jwk(ED, &format!(r#""kid":"a",{more}"#));
        check_set(&[key.clone(), good()], if is_used { "a; good" } else { "good" });
        let alone = read_public_keys(None, None, key.as_bytes());
        assert_eq!(alone.is_ok(), is_used, "{more}");
        assert!(is_used || alone == Err(KeyError::NoneFits), "{more}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_reported() {
    let short = URL_SAFE_NO_PAD.encode([0xa5; 128]);
    let long = URL_SAFE_NO_PAD.encode([0xa5; 256]);
    let malformed = "it is not a JWK: a member is missing or has the wrong type";
    let unsupported = "its kty, crv and alg are not supported or do not fit together";
    for (bad, why) in [
        (
            format!(r#""kty":"RSA","alg":"RS256","e":"AQAB","n":"{short}""#),
            "an RSA key must have at least 2048 bits",
        ),
        (
            format!(r#""kty":"RSA","e":"AQAB","n":"{long}""#),
            "alg is missing; a PEM file and an RSA key without alg need it",
        ),
        (
            r#""kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA""#.into(),
            "it is not a public key for ES256",
        ),
        (
            r#""kty":"EC","crv":"P-256","x":"*","y":"AAAA""#.into(),
            "it is not a public key for ES256",
        ),
        (r#""kty":"EC","crv":"P-521","x":"","y":"""#.into(), unsupported),
        (r#""kty":"new""#.into(), unsupported),
        (EC.replace(r#""crv":"P-256","#, ""), unsupported),
        (format!(r#""kty":"RSA","alg":"RSA-OAEP","e":"AQAB","n":"{long}""#), unsupported),
        (format!(r#""kty":"RSA","alg":"ES256","e":"AQAB","n":"{long}""#), unsupported),
        (format!(r#"{EC},"alg":"ES512""#), unsupported),
        (format!(r#"{EC},"alg":"HS256""#), unsupported),
        (ED.replace(r#""x""#, r#""z""#), malformed),
        (format!(r#"{ED},"use":7"#), malformed),
        (format!(r#"{ED},"key_ops":"verify""#), malformed),
        (format!(r#"{ED},"alg":["EdDSA"]"#), malformed),
        (
            r#""kty":"oct","alg":"HS256","k":"c2VjcmV0""#.into(),
            "a secret must not be in a JWKS; use a secret_file",
        ),
    ] {
        let bad = jwk(&bad, r#""kid":"bad \u001b[31m""#);
        let named = format!(r#"key "bad \u{{1b}}[31m" cannot be used: {why}"#);
        let (ed, ec) = (jwk(ED, r#""kid":"a""#), jwk(EC, r#""kid":"b""#));
        check_set(&[ed, bad.clone(), ec], &format!("a; b; {named}"));
        // Without another key it is an error.
        check_set(std::slice::from_ref(&bad), why);
        check_set(&[bad.clone(), bad], &format!("no key of the file can be used; {named}"));
    }
    // Without a kid it has a number.
    check_set(
        &["7".into(), format!("{{{ED}}}"), jwk(EC, r#""kid":7"#)],
        &format!("-; key 1 cannot be used: {malformed}; key 3 cannot be used: {malformed}"),
    );
    // Other members may have any type.
    let more = r#""kid":"a","x5c":7,"x5t":[],"x5u":{},"iat":"x","n":null"#;
    check_set(&[jwk(ED, more)], "a");
    // A private key is always an error.
    let private = [jwk(ED, r#""kid":"a""#), jwk(ED, r#""d":"AAAA""#)];
    check_set(&private, &KeyError::Private.to_string());
}

#[test]
fn only_keys_that_fit_are_reported() {
    let set = format!(
        r#"{{"keys":[{},{},{}]}}"#,
        jwk(EC, r#""kid":"a""#),
        jwk(r#""kty":"new""#, r#""kid":"b""#),
        jwk(r#""kty":"RSA","alg":"RS256","e":"AQAB","n":"AAAA""#, r#""kid":"a""#),
    );
    let unusable = |kid, algorithm| {
        read_public_keys(kid, algorithm, set.as_bytes()).map(|found| found.unusable.len())
    };
    assert_eq!(unusable(None, None), Ok(2));
    assert_eq!(unusable(Some("a"), None), Ok(1));
    assert_eq!(unusable(Some("a"), Some(Algorithm::ES256)), Ok(0));
    assert_eq!(unusable(Some("c"), None), Err(KeyError::NoneFits));
}

#[test]
fn byte_order_marks_are_ignored() {
    let set = format!(r#"{{"keys":[{}]}}"#, jwk(ED, r#""kid":"a""#));
    assert_eq!(found(None, format!("\u{feff}{set}")), "a");
    assert_eq!(found(None, format!("\u{feff}\r\n {set}\r\n")), "a");
    let algorithm = Some(Algorithm::EdDSA);
    assert_eq!(found(algorithm, format!("\u{feff}{}", ED_PEM.replace('\n', "\r\n"))), "-");
    let utf16 = |bytes: fn(u16) -> [u8; 2]| {
        format!("\u{feff}{set}").encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    for content in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        assert_eq!(found(None, &content), "the file is in UTF-16; save it as UTF-8");
        assert_eq!(found(algorithm, &content), "the file is in UTF-16; save it as UTF-8");
    }
}

#[test]
fn every_key_of_a_pem_file_counts() {
    let other = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    let ed = Some(Algorithm::EdDSA);
    let both =
        read_public_keys(Some("a"), ed, format!("# old\n{ED_PEM}\n# new\n{other}").as_bytes());
    let both = both.unwrap();
    assert_eq!((both.keys.len(), both.unusable.len()), (2, 0));
    assert_ne!(both.keys[0], both.keys[1]);
    assert!(both.keys.iter().all(|key| key.kid() == Some("a")));
    // A key that cannot be used has a number.
    let second = "key 2 cannot be used: it is not a public key for EdDSA";
    assert_eq!(found(ed, format!("{ED_PEM}{PSS}")), format!("-; {second}"));
    // A damaged block is an error, also beside a valid one.
    for damaged in [&other[..60], &other.replace("MCow", "M*ow"), &other.replace("END", "AND")] {
        let damaged = format!("{ED_PEM}{damaged}");
        assert_eq!(found(ed, damaged), "a block of the PEM file is damaged");
    }
    let private = other.replace("PUBLIC", "PRIVATE");
    assert_eq!(found(ed, format!("{ED_PEM}{private}")), KeyError::Private.to_string());
    let certificate = other.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(found(ed, certificate), KeyError::Certificate.to_string());
}

#[test]
fn keys_only_for_rsassa_pss() {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    for (pem, good) in [(PSS, &[PS256, PS384, PS512][..]), (PSS_SHA256, &[PS256])] {
        for algorithm in [PS256, PS384, PS512, RS256, RS384, RS512] {
            let key = read_public_keys(None, Some(algorithm), pem.as_bytes());
            let want = !good.contains(&algorithm);
            assert_eq!(key.err(), want.then_some(KeyError::Other(algorithm)), "{algorithm:?}");
        }
    }
    let key = |pem: &str, algorithm| {
        with_keys(read_public_keys(None, Some(algorithm), pem.as_bytes()).unwrap().keys)
    };
    check(key(PSS, PS384), PS384_TOKEN, "ok");
    check(key(PSS, PS256), PS384_TOKEN, "jwt-invalid");
    check(key(PSS_SHA256, PS256), PS256_TOKEN, "ok");
    check(key(PSS, PS256), PS256_TOKEN, "jwt-invalid");
}
