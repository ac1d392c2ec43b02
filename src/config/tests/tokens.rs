//! `[auth]` beside the secret: keys, claims, revocations.

use super::super::*;
use super::{LONG, Scene};

/// The public key of RFC 8037, A.2, in both forms.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";
const JWKS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"b","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

fn keys(toml: &str) -> Scene {
    Scene::new(toml).file("key", LONG).file("ed.pem", PEM).file("keys.json", JWKS)
}

/// `toml` gives exactly the lines `want`, none of them if it is good.
#[track_caller]
fn check(toml: &str, want: &[&str]) {
    assert_eq!(keys(toml).messages(), want, "{toml}");
}

#[track_caller]
fn has(toml: &str, want: &str) {
    let auth = keys(toml).load().unwrap().config.auth;
    let shown: Vec<_> = auth.token_keys().iter().map(|key| format!("{key:?}")).collect();
    assert_eq!(shown.join(" "), want, "{toml}");
}

#[test]
fn keys_of_all_kinds() {
    has("auth.keys = []", "");
    has("auth.keys = [{ alg = 'HS512', secret_file = 'key' }]", "TokenKey(-, HS512)");
    has("auth.keys = [{ kid = 'x', alg = 'EdDSA', file = 'ed.pem' }]", "TokenKey(x, EdDSA)");
    has("auth.keys = [{ file = 'keys.json' }]", "TokenKey(a, EdDSA) TokenKey(b, ES256)");
    has("auth.keys = [{ kid = 'b', file = 'keys.json' }]", "TokenKey(b, ES256)");
    has(
        "[auth]\njwt_secret = 'x'\nalgorithms = ['HS384', 'HS256']\n\
         [[auth.keys]]\nkid = 'b'\nalg = 'HS256'\nsecret_file = 'key'\n\
         [[auth.keys]]\nkid = 'c'\nalg = 'EdDSA'\nfile = 'ed.pem'",
        "TokenKey(-, HS384) TokenKey(-, HS256) TokenKey(b, HS256) TokenKey(c, EdDSA)",
    );
}

#[test]
fn the_first_secret_among_the_keys_signs() {
    let signing = |toml: &str| {
        let key = keys(toml).load().unwrap().config.auth.signing_key();
        key.map(|key| format!("{key:?}"))
    };
    let secret = "auth.jwt_secret = 'x'\nauth.algorithms = ['HS512', 'HS256']\n";
    let public = "auth.keys = [{ alg = 'EdDSA', file = 'ed.pem' }]";
    let both = "auth.keys = [{ alg = 'EdDSA', file = 'ed.pem' }, \
        { kid = 'n', alg = 'HS256', secret_file = 'key' }]";
    assert_eq!(signing(""), None);
    assert_eq!(signing(public), None);
    assert_eq!(signing(secret).as_deref(), Some("TokenKey(-, HS512)"));
    assert_eq!(signing(&format!("{secret}{public}")).as_deref(), Some("TokenKey(-, HS512)"));
    assert_eq!(signing(&format!("{secret}{both}")).as_deref(), Some("TokenKey(n, HS256)"));
}

#[test]
fn keys_are_shown_without_what_they_are() {
    let toml = "auth.keys = [{ file = 'keys.json' }, { secret_file = 'key', alg = 'HS256' }]";
    let shown = r#"auth.keys = [{ file = "keys.json" }, { alg = "HS256", secret_file = "key" }]"#;
    assert_eq!(keys(toml).value("auth.keys"), format!("{shown}  # wschat.toml:1"));
    assert!(!format!("{:?}", keys(toml).load()).contains(LONG));
}

#[test]
fn rows_that_are_no_keys() {
    let row = |row: &str, want: &str| {
        check(&format!("auth.keys = [{row}]"), &[&format!("wschat.toml:1:{want}")]);
    };
    check(
        "auth.keys = 'x'",
        &["wschat.toml:1:13: auth.keys: expected an array of tables, found a string"],
    );
    row("'x'", "14: auth.keys: expected a table, found a string");
    row("{}", "14: auth.keys: file or secret_file is missing");
    row("{ alg = 'HS256' }", "14: auth.keys: file or secret_file is missing");
    row("{ secret_file = 'key' }", "14: auth.keys: alg is missing");
    row(
        "{ alg = 'HS256', file = 'x', secret_file = 'key' }",
        "57: auth.keys.secret_file: file is set too",
    );
    row(
        "{ alg = 'HS265', secret_file = 'key' }",
        "22: auth.keys.alg: not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, \
         PS512, ES256, ES384, EdDSA; did you mean HS256?",
    );
    row(
        "{ alg = 'none', secret_file = 'key' }",
        "22: auth.keys.alg: not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, \
         PS512, ES256, ES384, EdDSA",
    );
    row(
        "{ alg = 'HS256', file = 'ed.pem' }",
        "22: auth.keys.alg: a public key is not for HS256, HS384 or HS512, which take a secret_file",
    );
    row(
        "{ alg = 'EdDSA', secret_file = 'key' }",
        "22: auth.keys.alg: a secret is for HS256, HS384 or HS512",
    );
    row("{ kid = '', alg = 'HS256', secret_file = 'key' }", "22: auth.keys.kid: empty");
    row(
        "{ kid = 7, alg = 'HS256', secret_file = 'key' }",
        "22: auth.keys.kid: expected a string, found an integer",
    );
    row(
        "{ secret = 'hunter2', alg = 'HS256' }",
        "16: auth.keys.secret: unknown key; did you mean secret_file?",
    );
    check(
        "auth.keys = [{ kidd = 'a', alg = '' },\n {}]",
        &[
            "wschat.toml:1:16: auth.keys.kidd: unknown key; did you mean kid?",
            "wschat.toml:1:34: auth.keys.alg: empty",
            "wschat.toml:2:2: auth.keys: file or secret_file is missing",
        ],
    );
}

#[test]
fn files_that_are_no_keys() {
    let row = |row: &str, want: &str| {
        check(&format!("auth.keys = [{row}]"), &[&format!("wschat.toml:1:{want}")]);
    };
    row(
        "{ alg = 'HS256', secret_file = 'hunter2' }",
        "45: auth.keys.secret_file: the file cannot be read: No such file or directory (os error 2)",
    );
    row(
        "{ file = 'ed.pem' }",
        "23: auth.keys.file: alg is missing, which a PEM file and an RSA key without it need",
    );
    row("{ alg = 'ES256', file = 'ed.pem' }", "38: auth.keys.file: it is no public key for ES256");
    row(
        "{ alg = 'ES256', file = 'key' }",
        "38: auth.keys.file: the file holds neither public keys in PEM nor a JWKS",
    );
    row(
        "{ kid = 'z', file = 'keys.json' }",
        "34: auth.keys.file: no key of the JWKS fits: a public key to verify with, of that kid and alg",
    );
    let scene = |content: &str, mode| {
        Scene::new("auth.keys = [{ alg = 'HS256', secret_file = 'key' }]")
            .file("key", content)
            .mode("key", mode)
            .messages()
    };
    let at = "wschat.toml:1:45: auth.keys.secret_file";
    assert_eq!(scene("\n", 0o600), [format!("{at}: the secret is empty")]);
    assert_eq!(
        scene("short", 0o604),
        [
            format!(
                "{at}: warning: everybody on this machine may read the secret; chmod o= the file"
            ),
            format!("{at}: warning: the secret is shorter than 32 bytes and may be guessed"),
        ]
    );
    assert!(scene(LONG, 0o640).is_empty());
    let many = "{ alg = 'EdDSA', file = 'ed.pem' },".repeat(65);
    check(
        &format!("auth.keys = [{many}]"),
        &["wschat.toml:1:13: auth.keys: 65 keys are more than 64"],
    );
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let bad = r#"{"kty":"EC","crv":"P-256","kid":"bad","x":"","y":""}"#;
    let scene = |more: &str| {
        let set = JWKS.replace("\n]}", &format!(",{more}]}}"));
        keys("auth.keys = [{ file = 'set.json' }]").file("set.json", set)
    };
    let at = "wschat.toml:1:23: auth.keys.file: warning";
    let named = format!(r#"{at}: key "bad" cannot be used: it is no public key for ES256"#);
    assert_eq!(scene(bad).messages(), [named.as_str()]);
    let count = scene(bad).load().unwrap().config.auth.token_keys().len();
    assert_eq!(count, 2, "the others are used");
    let many = scene(&[bad; 1_000].join(",")).messages();
    assert_eq!(
        (many.len(), many[20].as_str()),
        (21, format!("{at}: 980 more keys cannot be used").as_str())
    );
}

#[test]
fn a_secret_ends_before_its_newline() {
    for (content, want) in [
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\r\n\r\n", "a\r\n"),
        ("a\n\r\n", "a\n"),
        ("a\r", "a\r"),
        ("\ra", "\ra"),
    ] {
        let key = keys("auth.keys = [{ alg = 'HS256', secret_file = 'key' }]").file("key", content);
        let key = key.load().unwrap().config.auth.signing_key().unwrap();
        assert_eq!(key.secret_bytes(), Some(want.as_bytes()), "{content:?}");
        let scenes = [
            Scene::new("auth.jwt_secret_file = 'key'").file("key", content),
            Scene::new("").credential(content),
        ];
        for scene in scenes {
            assert_eq!(scene.secret().as_deref(), Some(want.as_bytes()), "{content:?}");
        }
    }
    let empty = keys("auth.jwt_secret_file = 'key'").file("key", "\r\n").messages();
    assert_eq!(empty, ["wschat.toml:1:24: auth.jwt_secret_file: the secret is empty"]);
}

#[test]
fn what_is_asked_of_tokens() {
    let toml = "[auth]\njwt_secret_file = 'key'\nissuer = 'i'\naudience = 'a'\n\
        bind_usr = 'sub'\nmoderator_claim = 'mod'";
    check(toml, &[]);
    let auth = keys(toml).load().unwrap().config.auth;
    let asked = [auth.issuer, auth.audience, auth.bind_usr, auth.moderator_claim];
    assert_eq!(asked.map(Option::unwrap), ["i", "a", "sub", "mod"]);
    assert_eq!(keys(toml).value("auth.bind_usr"), r#"auth.bind_usr = "sub"  # wschat.toml:5"#);
    check("auth.issuer = ''", &["wschat.toml:1:15: auth.issuer: empty; leave the key out"]);
    let idle = "warning: it has no effect without a secret or a key";
    check("auth.bind_usr = 'sub'", &[&format!("wschat.toml:1:17: auth.bind_usr: {idle}")]);
    check("auth.bind_usr = 'sub'\nauth.keys = [{ file = 'keys.json' }]", &[]);
}

#[test]
fn revocations() {
    let toml = "[auth]\nrevoked_file = 'revoked.toml'\nrevoked = [\n{ jti = '7' },\n{ sub = 'eve' },\n\
        { sub = 'bob', issued_before = 2026-11-22T10:00:00+01:00 }]";
    let file = "[[revoked]]\njti = '8'\n[[revoked]]\nsub = 'bob'\n\
        issued_before = 2026-11-22 09:30:00.25Z\n";
    let scene = || keys(toml).file("revoked.toml", file);
    assert!(scene().messages().is_empty(), "{:?}", scene().messages());
    let auth = scene().load().unwrap().config.auth;
    let before = |secs| Revocation::IssuedBefore("bob".into(), secs);
    let [seven, eight] = ["7", "8"].map(|jti| Revocation::Token(jti.into()));
    assert_eq!(auth.revoked, [seven, Revocation::Speaker("eve".into()), before(1795338000.0)]);
    assert_eq!(auth.revoked_in_file, [eight, before(1795339800.25)]);
    assert_eq!(auth.revocations().len(), 4);
    assert_eq!(
        scene().value("auth.revoked"),
        r#"auth.revoked = [{ jti = "7" }, { sub = "eve" }, { sub = "bob", issued_before = 2026-11-22T09:00:00Z }]  # wschat.toml:3"#
    );
}

#[test]
fn rows_that_revoke_nothing() {
    let row = |row: &str, want: &str| {
        check(&format!("auth.revoked = [{row}]"), &[&format!("wschat.toml:1:{want}")]);
    };
    row("{}", "17: auth.revoked: jti or sub is missing");
    row("'bob'", "17: auth.revoked: expected a table, found a string");
    row("{ jti = '7', sub = 'bob' }", "36: auth.revoked.sub: jti is set too; make it two entries");
    row(
        "{ jti = '7', issued_before = 2026-11-22T10:00:00Z }",
        "46: auth.revoked.issued_before: it takes a sub",
    );
    row(
        "{ sub = 'bob', issued_before = 2026-11-22T10:00:00 }",
        "48: auth.revoked.issued_before: a time without its date or offset",
    );
    row(
        "{ sub = 'bob', issued_before = 1795338000 }",
        "48: auth.revoked.issued_before: expected a time, found an integer",
    );
    row("{ jti = '' }", "25: auth.revoked.jti: empty");
}

#[test]
fn files_of_revocations() {
    let file = |content: &str| {
        keys("auth.revoked_file = 'revoked.toml'").file("revoked.toml", content).messages()
    };
    assert!(file("").is_empty());
    assert!(file("# nobody\nrevoked = []").is_empty());
    assert_eq!(file("revoked = ["), ["revoked.toml:1:12: unclosed array, expected `]`"]);
    assert_eq!(
        file("revokd = []\nrevoked = 'bob'"),
        [
            "revoked.toml:1:1: revokd: the file is to hold revoked = […]",
            "revoked.toml:2:1: revoked: the file is to hold revoked = […]",
        ]
    );
    assert_eq!(
        file("[[revoked]]\nsub = 'eve'\n[[revoked]]\nsubject = 'bob'"),
        ["revoked.toml:4:1: revoked.subject: unknown key; did you mean sub?"]
    );
    check(
        "auth.revoked_file = 'gone.toml'",
        &[
            "wschat.toml:1:21: auth.revoked_file: the file cannot be read: No such file or directory (os error 2)",
        ],
    );
    check(
        "auth.revoked_file = ''",
        &["wschat.toml:1:21: auth.revoked_file: empty; leave the key out"],
    );
    // A list of the wrong form altogether is not shown line by line.
    let wrong: String = (0..200_000).map(|n| format!("[[revoked]]\nuser = 'u{n}'\n")).collect();
    let messages = file(&wrong);
    assert_eq!(messages.len(), 21);
    assert_eq!(messages[20], "revoked.toml:42:1: and 199980 more mistakes from here on");

    let thousands: String = (0..20_000).map(|n| format!("[[revoked]]\nsub = 'u{n}'\n")).collect();
    let scene = keys("auth.revoked_file = 'many.toml'").file("many.toml", thousands);
    assert_eq!(scene.load().unwrap().config.auth.revocations().len(), 20_000);
}
