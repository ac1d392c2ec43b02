//! Keys of all algorithms, and attacks that confuse them.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::chat::tokens::{KeyError, read_public_keys};

/// The bytes before an RSA key of 2048 bits in PKCS #8.
const PKCS8_HEADER_BYTES: usize = 26;

/// A key pair: the private key, and the public key in PEM.
#[derive(Clone)]
struct Pair {
    private: EncodingKey,
    pem: String,
}

impl Pair {
    fn new(private: EncodingKey, public: &impl AsDer<PublicKeyX509Der<'static>>) -> Self {
        Self { private, pem: pem(public.as_der().unwrap().as_ref()) }
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // PKCS #8 ends with the key itself (RFC 5958).
        let private = EncodingKey::from_rsa_der(&private.as_ref()[PKCS8_HEADER_BYTES..]);
        Self::new(private, pair.public_key())
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Self::new(EncodingKey::from_ec_der(private.as_ref()), pair.public_key())
    }

    fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Self::new(EncodingKey::from_ed_der(private.as_ref()), pair.public_key())
    }

    fn sign(&self, algorithm: Algorithm, kid: Option<&str>) -> String {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = kid.map(Into::into);
        jsonwebtoken::encode(&header, &serde_json::json!({"sub": "ann"}), &self.private).unwrap()
    }

    fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> TokenKey {
        self.keys(kid, algorithm).unwrap().remove(0)
    }

    fn keys(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<TokenKey>, KeyError> {
        read_public_keys(kid, Some(algorithm), self.pem.as_bytes()).map(|found| found.keys)
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// A key pair for each algorithm.
fn pairs() -> Vec<(Algorithm, Pair)> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = [RS256, RS384, RS512, PS256, PS384, PS512];
    // One pair for all six, so that their keys differ only in the algorithm.
    let pair = Pair::rsa();
    let mut pairs: Vec<_> = rsa.map(|alg| (alg, pair.clone())).into();
    pairs.push((ES256, Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING)));
    pairs.push((ES384, Pair::ec(&ECDSA_P384_SHA384_FIXED_SIGNING)));
    pairs.push((EdDSA, Pair::ed()));
    pairs
}

#[test]
fn a_key_verifies_its_algorithm_and_no_other() {
    let pairs = pairs();
    let all: Vec<_> = pairs.iter().map(|(alg, pair)| pair.key(None, *alg)).collect();
    for (signed, pair) in &pairs {
        let token = pair.sign(*signed, None);
        check(with_keys(all.clone()), &token, "ok");
        for (key, expected) in pairs.iter().zip(&all) {
            let want = if key.0 == *signed { "ok" } else { "jwt-invalid" };
            check(with_keys([expected.clone()]), &token, want);
        }
    }
}

#[test]
fn a_public_key_is_not_a_secret() {
    for (algorithm, pair) in pairs() {
        let der =
            STANDARD.decode(pair.pem.lines().filter(|l| !l.starts_with('-')).collect::<String>());
        let key = pair.key(None, algorithm);
        let [material, _] = key.material();
        for known in [pair.pem.as_bytes(), pair.pem.trim().as_bytes(), &der.unwrap(), material] {
            for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = format!(r#"{{"alg":"{alg:?}","kid":"a"}}"#);
                let forged = hmac(&header, "{}", alg, known);
                check(with_keys([key.clone()]), &forged, "jwt-invalid");
                let both = [pair.key(Some("a"), algorithm), secret(alg, SECRET)];
                check(with_keys(both), &forged, "jwt-invalid");
            }
        }
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(pair.keys(None, alg), Err(KeyError::NotForPublic));
        }
    }
}

#[test]
fn keys_are_chosen_by_kid_and_algorithm() {
    let (old, new) = (Pair::ed(), Pair::ed());
    let ec = Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = || {
        with_keys([
            old.key(Some("old"), Algorithm::EdDSA),
            new.key(Some("new"), Algorithm::EdDSA),
            ec.key(Some("ec"), Algorithm::ES256),
            secret(Algorithm::HS256, SECRET),
        ])
    };
    for (pair, algorithm, kid, expected) in [
        (&old, Algorithm::EdDSA, Some("old"), "ok"),
        (&new, Algorithm::EdDSA, Some("new"), "ok"),
        (&new, Algorithm::EdDSA, None, "ok"),
        (&ec, Algorithm::ES256, Some("ec"), "ok"),
        (&old, Algorithm::EdDSA, Some("new"), "jwt-invalid"),
        (&old, Algorithm::EdDSA, Some("ec"), "jwt-invalid"),
        (&old, Algorithm::EdDSA, Some("gone"), "jwt-invalid"),
        (&old, Algorithm::EdDSA, Some(""), "jwt-invalid"),
        (&ec, Algorithm::ES256, Some("old"), "jwt-invalid"),
        (&Pair::ed(), Algorithm::EdDSA, Some("new"), "jwt-invalid"),
    ] {
        check(keys(), &pair.sign(algorithm, kid), expected);
    }
    // A key without a kid is for every kid.
    let hs256 = |kid: &str| with_header(&format!(r#"{{"alg":"HS256","kid":{kid}}}"#));
    check(keys(), &hs256(r#""whatever""#), "ok");
    check(keys(), &hs256(r#""old""#), "ok");
}

#[test]
fn keys_in_a_token_are_ignored() {
    let own = Pair::ed();
    let raw = own.key(None, Algorithm::EdDSA);
    let x = URL_SAFE_NO_PAD.encode(raw.material()[0]);
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    let header = format!(r#"{{"alg":"EdDSA","jwk":{jwk},"jku":"https://evil.example"}}"#);
    let token = sign(&header, "{}", Algorithm::EdDSA, &own.private);
    check(with_keys([Pair::ed().key(None, Algorithm::EdDSA)]), &token, "jwt-invalid");
    check(with_keys([raw]), &token, "ok");
}

#[test]
fn invalid_signatures() {
    let pair = Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let key = || with_keys([pair.key(None, Algorithm::ES256)]);
    let good = pair.sign(Algorithm::ES256, None);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    check(key(), &good, "ok");
    for bad in [
        String::new(),
        // With zeros for r and s a careless verifier accepts everything.
        URL_SAFE_NO_PAD.encode([0; 64]),
        URL_SAFE_NO_PAD.encode([0; 63]),
        URL_SAFE_NO_PAD.encode([0xff; 64]),
        signature[..signature.len() - 2].into(),
        format!("{signature}AA"),
    ] {
        check(key(), &format!("{signed}.{bad}"), "jwt-invalid");
    }
}

#[test]
fn files_without_a_key_that_fits() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, RS256};
    let (rsa, p256) = (Pair::rsa().pem, Pair::ec(&ECDSA_P256_SHA256_FIXED_SIGNING).pem);
    let cut: String = rsa.lines().take(4).collect::<Vec<_>>().join("\n");
    let private = p256.replace("PUBLIC", "PRIVATE");
    for (algorithm, content, want) in [
        (Some(ES256), "", KeyError::Form),
        (Some(ES256), "hunter2", KeyError::Form),
        (None, "[]", KeyError::Form),
        (None, "// keys\n{}", KeyError::Form),
        (None, &p256, KeyError::AlgorithmMissing),
        (Some(ES384), &p256, KeyError::Other(ES384)),
        (Some(RS256), &p256, KeyError::Other(RS256)),
        (Some(EdDSA), &p256, KeyError::Other(EdDSA)),
        (Some(ES256), &rsa, KeyError::Other(ES256)),
        (Some(HS256), &rsa, KeyError::NotForPublic),
        (Some(RS256), &cut, KeyError::Damaged),
        (Some(ES256), &private, KeyError::Private),
        (Some(ES256), &private.replace("PRIVATE", "EC PRIVATE"), KeyError::Private),
        (None, "{", KeyError::Json(1, 1)),
        (None, "{}", KeyError::Malformed),
        (None, r#"{"keys":[]}"#, KeyError::NoneFits),
    ] {
        let keys = read_public_keys(None, algorithm, content.as_bytes());
        assert_eq!(keys.map(|found| found.keys.len()), Err(want), "{content}");
    }
}

#[test]
fn the_keys_of_a_jwks_that_fit() {
    let jwk = |kid: &str, more: &str| {
        let pair = Pair::ed();
        let x = URL_SAFE_NO_PAD.encode(pair.key(None, Algorithm::EdDSA).material()[0]);
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}",{more}"kid":"{kid}"}}"#)
    };
    let set = format!(
        r#" {{"keys":[{},{},{},{{"kty":"oct","k":"c2VjcmV0","kid":"b"}}]}}"#,
        jwk("a", r#""alg":"EdDSA","use":"sig","#),
        jwk("b", ""),
        jwk("c", r#""use":"enc","#),
    );
    let kids = |kid, algorithm| {
        let keys = read_public_keys(kid, algorithm, set.as_bytes());
        let kids = |keys: Vec<TokenKey>| keys.iter().filter_map(TokenKey::kid).collect::<String>();
        keys.map(|found| kids(found.keys))
    };
    assert_eq!(kids(None, None), Ok("ab".into()));
    assert_eq!(kids(Some("b"), None), Ok("b".into()));
    assert_eq!(kids(None, Some(Algorithm::EdDSA)), Ok("ab".into()));
    assert_eq!(kids(None, Some(Algorithm::ES256)), Err(KeyError::NoneFits));
    assert_eq!(kids(Some("c"), None), Err(KeyError::NoneFits));
    assert_eq!(kids(Some("d"), None), Err(KeyError::NoneFits));
}

#[test]
fn the_debug_text_and_the_secret_of_a_key() {
    let pair = Pair::ed();
    let key = pair.key(Some("a"), Algorithm::EdDSA);
    assert_eq!(format!("{key:?}"), "TokenKey(a, EdDSA)");
    assert_eq!(key.secret_bytes(), None);
    assert_eq!(secret(Algorithm::HS256, b"x").secret_bytes(), Some(&b"x"[..]));
}
