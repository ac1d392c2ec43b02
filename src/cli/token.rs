//! `wschat token`: mints a token that the room's secret verifies.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value};

use super::{ConfigArgs, Exit, Failure, Outcome};
use crate::config::Auth;

/// The last second with a date in RFC 3339, since 1970; far from what does not
/// fit into a claim.
const LAST_SECOND: u64 = 253_402_300_799;

/// The options of `token`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The token is signed with the first secret of auth.keys, else with the configured
secret and the first of auth.algorithms. Where the room asks for an issuer or an
audience, it has those. It is printed alone, for a file that only its speaker can read:

    (umask 077; wschat token --sub ci --ttl 90days > ci.token)

The room looks at the end of a token only if auth.check_exp is on. Then it
refuses one without an end, which is what it gets without --ttl.")]
pub struct TokenArgs {
    /// Who will speak with it (the claim `sub`)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub sub: String,
    /// How long it is good: 15min, 1h, 90days (the claim `exp`); without it, for ever
    #[arg(long, value_name = "TIME", value_parser = time_to_live)]
    pub ttl: Option<Duration>,
    /// A further claim, its value in JSON: admin=true, 'role="host"'; repeatable
    #[arg(long = "claim", value_name = "KEY=JSON", value_parser = claim)]
    pub claims: Vec<(String, Value)>,
    /// Whose secret.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Prints a token.
///
/// # Errors
///
/// All problems of the configuration; no secret in it; claims that contradict
/// each other.
pub fn run(args: TokenArgs) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut claims = claims(args.sub, args.ttl, args.claims, now)?;
    let auth = args.config.load()?.config.auth;
    let key = auth.signing_key().ok_or_else(|| no_secret(&auth))?;
    for (claim, wanted) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
        if let Some(wanted) = wanted {
            claims.entry(claim).or_insert_with(|| wanted.as_str().into());
        }
    }
    let mut header = Header::new(key.algorithm());
    header.kid = key.kid().map(Into::into);
    let secret = EncodingKey::from_secret(key.secret_bytes().unwrap_or_default());
    let token = encode(&header, &claims, &secret)
        .map_err(|error| Failure::new(Exit::OsError, "token", error))?;
    writeln!(stdout(), "{token}")
        .map_err(|error| Failure::new(Exit::OsError, "standard output", error))?;
    Ok(ExitCode::SUCCESS)
}

/// Why no token can be minted: public keys verify, but do not sign.
fn no_secret(auth: &Auth) -> Failure {
    let (key, why) = if auth.keys.is_empty() {
        ("auth.jwt_secret", "no secret is configured, so the room asks for no token")
    } else {
        ("auth.keys", "only public keys are configured; whoever has the private ones mints tokens")
    };
    Failure::new(Exit::Config, key, why)
}

/// All claims of a token minted at `now`, the time since the Unix epoch.
fn claims(
    sub: String,
    ttl: Option<Duration>,
    further: Vec<(String, Value)>,
    now: Duration,
) -> Result<Map<String, Value>, Failure> {
    let mut claims = Map::new();
    claims.insert("sub".into(), sub.into());
    if let Some(ttl) = ttl {
        // `exp` and `iat` are whole seconds, and as far apart as was asked for.
        let secs = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let exp = now.as_secs().saturating_add(secs);
        if exp > LAST_SECOND {
            return Err(Failure::new(Exit::Usage, "--ttl", "that is after the year 9999"));
        }
        claims.insert("exp".into(), exp.into());
    }
    for (key, value) in further {
        let wrong = |why: &str| Failure::new(Exit::Usage, format!("--claim {key}"), why);
        if matches!(key.as_str(), "exp" | "nbf" | "iat") && !value.is_number() {
            return Err(wrong("a time is a number of seconds since 1970"));
        }
        if claims.contains_key(&key) {
            return Err(wrong("the token has that claim already"));
        }
        claims.insert(key, value);
    }
    claims.entry("iat").or_insert_with(|| now.as_secs().into());
    Ok(claims)
}

fn time_to_live(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a token that is good for no time".into()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        None | Some(("", _)) => Err("a claim is KEY=JSON".into()),
        // The usual mistake is a string without its quotes.
        Some((key, json)) => match serde_json::from_str(json) {
            Ok(value) => Ok((key.to_owned(), value)),
            Err(_) => Err(format!("the value is not JSON; a string is '{key}=\"…\"'")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1_700_000_000_250);

    #[test]
    fn claims_of_a_token() {
        let check = |ttl: Option<&str>, further: &[&str], want: &str| {
            let ttl = ttl.map(|text| time_to_live(text).unwrap());
            let further = further.iter().map(|text| claim(text).unwrap()).collect();
            let got = claims("petr".into(), ttl, further, NOW);
            let got = got.map_or_else(|failure| failure.to_string().into(), Value::Object);
            // A failure is no JSON, and is compared as the text that it is.
            let want = serde_json::from_str(want).unwrap_or_else(|_| Value::from(want));
            assert_eq!(got, want);
        };
        check(None, &[], r#"{"iat":1700000000,"sub":"petr"}"#);
        check(Some("1h"), &[], r#"{"exp":1700003600,"iat":1700000000,"sub":"petr"}"#);
        check(
            None,
            &["admin=true", "n=[1, {}]", "room=\"x=y\""],
            r#"{"admin":true,"iat":1700000000,"n":[1,{}],"room":"x=y","sub":"petr"}"#,
        );
        check(None, &["iat=5", "exp=7"], r#"{"exp":7,"iat":5,"sub":"petr"}"#);
        check(Some("1h"), &["exp=7"], "wschat: --claim exp: the token has that claim already");
        check(None, &["sub=\"x\""], "wschat: --claim sub: the token has that claim already");
        check(None, &["a=1", "a=2"], "wschat: --claim a: the token has that claim already");
        check(
            None,
            &["nbf=\"5\""],
            "wschat: --claim nbf: a time is a number of seconds since 1970",
        );
        check(Some("9000years"), &[], "wschat: --ttl: that is after the year 9999");
    }

    #[test]
    fn options_that_make_no_sense() {
        assert_eq!(claim("admin"), Err("a claim is KEY=JSON".into()));
        assert_eq!(claim("=1"), Err("a claim is KEY=JSON".into()));
        let why = "the value is not JSON; a string is 'role=\"…\"'";
        assert_eq!(claim("role=host"), Err(why.into()));
        assert!(time_to_live("0s").is_err());
        assert!(time_to_live("3600").is_err());
        assert!(time_to_live("-1h").is_err());
    }
}
