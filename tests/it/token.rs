//! `wschat token`, the real program.

use std::fs;
use std::process::{Command, Output};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tempfile::TempDir;

const SECRET: &str = "a secret of thirty-two bytes, yes";

#[test]
fn the_token_is_printed_alone_and_verifies() {
    let output = token("algorithms = [\"HS384\", \"HS256\"]", &["--claim", "admin=true"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stderr, b"");
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace));

    assert_eq!(decode_header(token).unwrap().alg, Algorithm::HS384);
    let claims = claims(token, Algorithm::HS384);
    assert_eq!(claims["sub"], "petr");
    assert_eq!(claims["admin"], true);
    assert!(claims["iat"].is_u64());
    assert!(claims.get("exp").is_none());
}

#[test]
fn a_lifetime_sets_the_expiry() {
    let output = token("", &["--ttl", "1h"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let claims = claims(text.trim_end(), Algorithm::HS256);
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!((3600..=3601).contains(&(exp - iat)), "{claims}");
}

#[test]
fn without_a_secret_there_is_no_token() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wschat.toml");
    fs::write(&file, "").unwrap();
    let output = command(&file, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(output.stdout, b"");
    let why = "wschat: auth.jwt_secret: there is no secret in the files, in a credential or in \
        JWT_SECRET; if the unit is not wschat.service, run this as root with \
        CREDENTIALS_DIRECTORY=/run/credentials/UNIT\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), why);
}

#[test]
fn the_first_secret_signs_and_its_kid_is_used() {
    let auth = "issuer = \"id\"\naudience = \"room\"\n\
        keys = [{ kid = \"new\", alg = \"HS512\", secret_file = \"new\" }]";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wschat.toml");
    fs::write(&file, format!("[auth]\njwt_secret = \"old\"\n{auth}\n")).unwrap();
    fs::write(folder.path().join("new"), format!("{SECRET}\n")).unwrap();
    let output = command(&file, &["--claim", "aud=[\"room\"]"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let header = decode_header(text.trim_end()).unwrap();
    assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::HS512, Some("new")));
    let claims = claims(text.trim_end(), Algorithm::HS512);
    assert_eq!((&claims["iss"], &claims["aud"]), (&"id".into(), &serde_json::json!(["room"])));
}

#[test]
fn public_keys_cannot_sign() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wschat.toml");
    fs::write(&file, "auth.keys = [{ file = 'keys.json' }]").unwrap();
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    fs::write(folder.path().join("keys.json"), jwk).unwrap();
    let output = command(&file, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let why = "wschat: auth.keys: only public keys are configured; \
        tokens are signed with the private keys\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), why);
}

#[test]
fn invalid_options_are_usage_errors() {
    let check = |args: &[&str]| {
        let output = token("", args);
        assert_eq!(output.status.code(), Some(64), "{args:?} {output:?}");
        assert_eq!(output.stdout, b"");
    };
    check(&["--ttl", "soon"]);
    check(&["--claim", "role=host"]);
    check(&["--claim", "sub=\"other\""]);
    check(&["--ttl", "1h", "--claim", "exp=1"]);
}

fn token(auth: &str, args: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wschat.toml");
    fs::write(&file, format!("[auth]\njwt_secret = \"{SECRET}\"\n{auth}\n")).unwrap();
    command(&file, args).output().unwrap()
}

fn command(file: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wschat"));
    command.args(["token", "--sub", "petr", "--config"]).arg(file).args(args);
    command.env_remove("JWT_SECRET").env_remove("CREDENTIALS_DIRECTORY");
    command
}

fn claims(token: &str, algorithm: Algorithm) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    decode(token, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).unwrap().claims
}
