//! New keys, revocations and the claim for the name take effect with a reload, while
//! all clients stay connected.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::harness::{Client, Daemon};

const SECRET: &str = "a secret of thirty-two bytes, yes";

/// A token with these claims, signed with `secret`.
fn token(secret: &str, kid: Option<&str>, claims: Value) -> String {
    let header = Header { kid: kid.map(Into::into), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The result of a message with this name and token: `sent`, or the code of the notice.
fn answer(client: &mut Client, usr: &str, token: &str) -> String {
    client.send(&json!({ "usr": usr, "msg": "hi", "jwt": token }).to_string());
    let text = client.text();
    assert!(!text.contains(token), "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer.get("err").map_or("sent", |code| code.as_str().unwrap()).to_owned()
}

#[test]
fn a_reload_replaces_a_secret() {
    let daemon = Daemon::start(&format!("auth.jwt_secret = '{SECRET}'"));
    let folder = daemon.config_file();
    fs::write(folder.with_file_name("new.secret"), "another secret of thirty-two bytes\n").unwrap();
    let old = token(SECRET, None, json!({}));
    let new = token("another secret of thirty-two bytes", Some("new"), json!({}));
    let mut ann = daemon.connect();
    assert_eq!(answer(&mut ann, "ann", &old), "sent");
    assert_eq!(answer(&mut ann, "ann", &new), "jwt-invalid");

    let key = "keys = [{ kid = 'new', alg = 'HS256', secret_file = 'new.secret' }]";
    daemon.reload(&format!("[auth]\njwt_secret = '{SECRET}'\n{key}"));
    assert_eq!(answer(&mut ann, "ann", &old), "sent");
    assert_eq!(answer(&mut ann, "ann", &new), "sent");

    daemon.reload(&format!("[auth]\n{key}"));
    assert_eq!(answer(&mut ann, "ann", &old), "jwt-invalid");
    assert_eq!(answer(&mut ann, "ann", &new), "sent");
}

#[test]
fn a_reload_revokes_tokens() {
    let config = format!("[auth]\njwt_secret = '{SECRET}'\nrevoked_file = 'revoked.toml'");
    let daemon = Daemon::start(&format!("auth.jwt_secret = '{SECRET}'"));
    let revoked = daemon.config_file().with_file_name("revoked.toml");
    let bob = token(SECRET, None, json!({ "sub": "bob", "iat": 1_600_000_000 }));
    let mut client = daemon.connect();
    assert_eq!(answer(&mut client, "bob", &bob), "sent");

    let before = |time| format!("[[revoked]]\nsub = 'bob'\nissued_before = {time}\n");
    fs::write(&revoked, before("2020-09-13T12:26:41Z")).unwrap();
    daemon.reload(&config);
    assert_eq!(answer(&mut client, "bob", &bob), "jwt-revoked");
    let newer = token(SECRET, None, json!({ "sub": "bob", "iat": 1_600_000_001 }));
    assert_eq!(answer(&mut client, "bob", &newer), "sent");

    fs::write(&revoked, "").unwrap();
    daemon.reload(&config);
    assert_eq!(answer(&mut client, "bob", &bob), "sent");
}

#[test]
fn a_reload_binds_the_name_to_a_claim() {
    let daemon = Daemon::start(&format!("auth.jwt_secret = '{SECRET}'"));
    let ann = token(SECRET, None, json!({ "sub": "ann" }));
    let mut client = daemon.connect();
    assert_eq!(answer(&mut client, "eve", &ann), "sent");
    daemon.reload(&format!("[auth]\njwt_secret = '{SECRET}'\nbind_usr = 'sub'"));
    assert_eq!(answer(&mut client, "eve", &ann), "name-mismatch");
    assert_eq!(answer(&mut client, "ann", &ann), "sent");
    let without_sub = token(SECRET, None, json!({}));
    assert_eq!(answer(&mut client, "ann", &without_sub), "jwt-invalid");
}

#[test]
fn a_token_of_the_maximum_length_is_invalid_and_no_more() {
    let daemon = Daemon::start(&format!("auth.jwt_secret = '{SECRET}'"));
    let mut client = daemon.connect();
    let huge = "x".repeat(16_384 - 64);
    assert_eq!(answer(&mut client, "ann", &huge), "jwt-invalid");
    assert_eq!(answer(&mut client, "ann", &token(SECRET, None, json!({}))), "sent");
}
