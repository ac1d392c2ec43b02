//! Tokens: any text, and any header and claims with a valid signature.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;
use wschat::chat::{
    AuthSettings, RateLimit, Refusal, Revocation, Rules, Speaker, Tim, TokenKey, read_public_keys,
};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const JWKS: &[u8] = br#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"b","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let secret = TokenKey::secret(None, Algorithm::HS256, SECRET).expect("a secret");
    let mut keys = read_public_keys(None, None, JWKS).expect("two keys").keys;
    keys.push(secret);
    let settings = AuthSettings {
        keys,
        bind_usr: Some("sub".into()),
        moderator_claim: Some("mod".into()),
        revocations: [Revocation::Token("7".into()), Revocation::IssuedBefore("eve".into(), 5.0)]
            .into_iter()
            .collect(),
        check_exp: true,
        leeway: Duration::from_secs(30),
        ..AuthSettings::default()
    };
    Rules::new(settings, RateLimit::default())
});

fuzz_target!(|data: &str| {
    assert!(admit(data).is_err(), "the signature is valid");
    let Some((header, claims)) = data.split_once('\n') else { return };
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET);
    let Ok(signature) = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256)
    else {
        return;
    };
    if let Ok(sub) = admit(&format!("{signed}.{signature}")) {
        // Another program reads the same values in an accepted token. A claim that the
        // server does not use can be one that a Value cannot hold.
        let header: HashMap<String, &RawValue> = serde_json::from_str(header).expect("a header");
        let claims: Claims = serde_json::from_str(claims).expect("claims");
        assert_eq!(serde_json::from_str(header["alg"].get()).ok(), Some("HS256".to_owned()));
        assert!(!header.contains_key("crit"));
        assert_eq!((claims.sub.as_str(), sub.as_deref()), ("ann", Some("ann")));
        assert!(claims.exp.is_finite());
    }
});

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
}

/// The `sub` of the speaker after a message with this token.
fn admit(token: &str) -> Result<Option<String>, Refusal> {
    let token = serde_json::to_string(token).unwrap_or_default();
    let text = format!(r#"{{"usr":"ann","msg":"b","jwt":{token}}}"#);
    let mut speaker = Speaker::default();
    RULES.admit(&text, None, &mut speaker, Tim::from_nanos(1_600_000_000_000_000_000)).request?;
    Ok(speaker.sub().map(Into::into))
}
