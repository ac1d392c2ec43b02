//! `[auth]` beside the secret: keys, claims, revocations.

use super::super::*;
use super::messages::check;
use super::{LONG, Scene};
use crate::chat::Revocation;

/// The public key of RFC 8037, A.2, in both forms.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";
const JWKS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"b","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

fn scene(toml: &str) -> Scene {
    Scene::new(toml).file("ed.pem", PEM).file("keys.json", JWKS)
}

#[test]
fn keys_of_all_kinds() {
    for (toml, keys, signing) in [
        ("", "", None),
        ("keys = []", "", None),
        ("keys = [{ alg = 'HS512', secret_file = 'key' }]", "(-, HS512)", Some("(-, HS512)")),
        ("keys = [{ kid = 'x', alg = 'EdDSA', file = 'ed.pem' }]", "(x, EdDSA)", None),
        ("keys = [{ file = 'keys.json' }]", "(a, EdDSA) (b, ES256)", None),
        ("keys = [{ kid = 'b', file = 'keys.json' }]", "(b, ES256)", None),
        (
            "jwt_secret = 'x'\nalgorithms = ['HS384', 'HS256']\n\
             keys = [{ alg = 'EdDSA', file = 'ed.pem' }]",
            "(-, HS384) (-, HS256) (-, EdDSA)",
            Some("(-, HS384)"),
        ),
        // The first secret among the keys signs.
        (
            "jwt_secret = 'x'\n[[auth.keys]]\nkid = 'c'\nalg = 'EdDSA'\nfile = 'ed.pem'\n\
             [[auth.keys]]\nkid = 'b'\nalg = 'HS512'\nsecret_file = 'key'",
            "(-, HS256) (c, EdDSA) (b, HS512)",
            Some("(b, HS512)"),
        ),
    ] {
        let auth = scene(&format!("[auth]\n{toml}")).config().auth;
        let show = |key: &TokenKey| format!("{key:?}").replace("TokenKey", "");
        let shown: Vec<_> = auth.token_keys().iter().map(show).collect();
        assert_eq!(shown.join(" "), keys, "{toml}");
        assert_eq!(auth.signing_key().as_ref().map(show).as_deref(), signing, "{toml}");
    }
    let toml = "auth.keys = [{ file = 'keys.json' }, { secret_file = 'key', alg = 'HS256' }]";
    let shown = r#"auth.keys = [{ file = "keys.json" }, { alg = "HS256", secret_file = "key" }]"#;
    assert_eq!(scene(toml).value("auth.keys"), format!("{shown}  # wschat.toml:1"));
    assert!(!format!("{:?}", scene(toml).load()).contains(LONG));
}

#[test]
fn invalid_keys() {
    let cases = "
auth.keys = 'x'  > 1:13: auth.keys: expected array, found string
auth.keys = ['x', {}, { alg = 'HS256' }, { secret_file = 'key' }]
> 1:14: auth.keys: expected table, found string
> 1:19: auth.keys: file or secret_file is missing
> 1:23: auth.keys: file or secret_file is missing
> 1:42: auth.keys: alg is missing
auth.keys = [{ alg = 'HS256', file = 'x', secret_file = 'key' }]  > 1:57: auth.keys.secret_file: file is set too
auth.keys = [{ alg = 'HS265', secret_file = 'key' }]  > 1:22: auth.keys.alg: not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA; did you mean HS256?
auth.keys = [{ alg = 'none', secret_file = 'key' }]  > 1:22: auth.keys.alg: not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA
auth.keys = [{ alg = 'HS256', file = 'ed.pem' }]  > 1:22: auth.keys.alg: a public key is not for HS256, HS384 or HS512, which need a secret_file
auth.keys = [{ alg = 'EdDSA', secret_file = 'key' }]  > 1:22: auth.keys.alg: a secret is for HS256, HS384 or HS512
auth.keys = [{ kid = '', alg = 'HS256', secret_file = 'key' }]  > 1:22: auth.keys.kid: empty; leave it out
auth.keys = [{ kid = 7, alg = 'HS256', secret_file = 'key' }]  > 1:22: auth.keys.kid: expected string, found integer
auth.keys = [{ secret = 'hunter2', alg = 'HS256' }]  > 1:16: auth.keys.secret: unknown key; did you mean secret_file?
# The files of good rows are read nevertheless.
auth.keys = [{ kidd = 'a', alg = '' },
 {}, { file = 'none' }]
> 2:16: auth.keys.kidd: unknown key; did you mean kid?
> 2:34: auth.keys.alg: empty; leave it out
> 3:2: auth.keys: file or secret_file is missing
> 3:15: auth.keys.file: the file cannot be read: No such file or directory (os error 2)
auth.keys = [{ alg = 'HS256', secret_file = 'hunter2' }]  > 1:45: auth.keys.secret_file: the file cannot be read: No such file or directory (os error 2)
auth.keys = [{ alg = 'HS256', secret_file = 'empty' }]  > 1:45: auth.keys.secret_file: the secret is empty
auth.keys = [{ alg = 'HS256', secret_file = 'weak' }]
> 1:45: auth.keys.secret_file: warning: all users of this machine can read the secret; chmod o= the file
> 1:45: auth.keys.secret_file: warning: the secret is shorter than 32 bytes and may be guessed
auth.keys = [{ file = 'ed.pem' }]  > 1:23: auth.keys.file: alg is missing; a PEM file and an RSA key without alg need it
auth.keys = [{ alg = 'ES256', file = 'ed.pem' }]  > 1:38: auth.keys.file: it is not a public key for ES256
auth.keys = [{ alg = 'ES256', file = 'key' }]  > 1:38: auth.keys.file: the file contains neither public keys in PEM nor a JWKS
auth.keys = [{ kid = 'z', file = 'keys.json' }]  > 1:34: auth.keys.file: the JWKS has no public key for signatures with this kid and alg
";
    check(scene, cases);
    scene("auth.keys = [{ alg = 'HS256', secret_file = 'key' }]").mode("key", 0o640).gives(&[]);
    let many = "{ alg = 'EdDSA', file = 'ed.pem' },".repeat(65);
    scene(&format!("auth.keys = [{many}]"))
        .gives(&["wschat.toml:1:13: auth.keys: 65 keys are more than 64"]);
}

#[test]
fn unusable_keys_are_named() {
    let bad = r#"{"kty":"EC","crv":"P-256","kid":"bad","x":"","y":""}"#;
    let scene = |more: &str| {
        let set = JWKS.replace("\n]}", &format!(",{more}]}}"));
        scene("auth.keys = [{ file = 'set.json' }]").file("set.json", set)
    };
    let at = "wschat.toml:1:23: auth.keys.file: warning";
    scene(bad)
        .gives(&[&format!(r#"{at}: key "bad" cannot be used: it is not a public key for ES256"#)]);
    assert_eq!(scene(bad).config().auth.token_keys().len(), 2, "the others are used");
    let many = scene(&[bad; 1_000].join(",")).messages();
    let more = format!("{at}: 980 more keys cannot be used");
    assert_eq!((many.len(), many.last()), (21, Some(&more)));
}

#[test]
fn claims_of_tokens() {
    let toml = "[auth]\njwt_secret_file = 'key'\nissuer = 'i'\naudience = 'a'\n\
        bind_usr = 'sub'\nmoderator_claim = 'mod'";
    let auth = scene(toml).config().auth;
    let claims = [auth.issuer, auth.audience, auth.bind_usr, auth.moderator_claim];
    assert_eq!(claims.map(Option::unwrap), ["i", "a", "sub", "mod"]);
    assert_eq!(scene(toml).value("auth.bind_usr"), r#"auth.bind_usr = "sub"  # wschat.toml:5"#);
    scene("auth.jwt_secret_file = 'key'\nauth.bind_usr = 'sub'").gives(&[]);
    scene("auth.keys = [{ file = 'keys.json' }]\nauth.bind_usr = 'sub'").gives(&[]);
    let warning = "auth.bind_usr: warning: it has no effect without a secret or a key";
    scene("auth.bind_usr = 'sub'").gives(&[&format!("wschat.toml:1:17: {warning}")]);
}

#[test]
fn revocations() {
    let toml = "[auth]\nrevoked_file = 'f.toml'\nrevoked = [\n{ jti = '7' },\n{ sub = 'eve' },\n\
        { sub = 'bob', issued_before = 2026-11-22T10:00:00+01:00 }]";
    let file = "[[revoked]]\njti = '8'\n[[revoked]]\nsub = 'bob'\n\
        issued_before = 2026-11-22 09:30:00.25Z\n";
    let scene = scene(toml).file("f.toml", file);
    assert_eq!(scene.messages(), [""; 0]);
    let before = |secs| Revocation::IssuedBefore("bob".into(), secs);
    let [seven, eight] = ["7", "8"].map(|jti| Revocation::Token(jti.into()));
    let eve = Revocation::Speaker("eve".into());
    let all = [seven, eve, before(1795338000.0), eight, before(1795339800.25)];
    assert_eq!(scene.config().auth.revoked, all);
    let shown = r#"[{ jti = "7" }, { sub = "eve" }, { sub = "bob", issued_before = 2026-11-22T09:00:00Z }]"#;
    assert_eq!(scene.value("auth.revoked"), format!("auth.revoked = {shown}  # wschat.toml:3"));
}

#[test]
fn invalid_revocations() {
    let cases = "
auth.revoked = [{}, 'bob', { jti = '' }]
> 1:17: auth.revoked: jti or sub is missing
> 1:21: auth.revoked: expected table, found string
> 1:36: auth.revoked.jti: empty; leave it out
auth.revoked = [{ jti = '7', sub = 'bob' }]  > 1:36: auth.revoked.sub: jti is set too; make it two entries
auth.revoked = [{ jti = '7', issued_before = 2026-11-22T10:00:00Z }]  > 1:46: auth.revoked.issued_before: it takes a sub
auth.revoked = [{ sub = 'bob', issued_before = 2026-11-22T10:00:00 }]  > 1:48: auth.revoked.issued_before: a time without its date or offset
auth.revoked = [{ sub = 'bob', issued_before = 1795338000 }]  > 1:48: auth.revoked.issued_before: expected datetime, found integer
auth.revoked_file = 'gone.toml'  > 1:21: auth.revoked_file: the file cannot be read: No such file or directory (os error 2)
auth.revoked_file = ''  > 1:21: auth.revoked_file: empty; leave it out
";
    check(scene, cases);
    let file = |content: &str| scene("auth.revoked_file = 'f.toml'").file("f.toml", content);
    file("").gives(&[]);
    file("# nobody\nrevoked = []").gives(&[]);
    file("revoked = [").gives(&["f.toml:1:12: unclosed array, expected `]`"]);
    let only = "the file is to hold only revoked = […]";
    file("revokd = []\nrevoked = 'bob'")
        .gives(&[&format!("f.toml:1:1: revokd: {only}"), &format!("f.toml:2:1: revoked: {only}")]);
    file("[[revoked]]\nsub = 'eve'\n[[revoked]]\nsubject = 'bob'")
        .gives(&["f.toml:4:1: revoked.subject: unknown key; did you mean sub?"]);
    let thousands: String = (0..20_000).map(|n| format!("[[revoked]]\nsub = 'u{n}'\n")).collect();
    assert_eq!(file(&thousands).config().auth.revoked.len(), 20_000);
}
