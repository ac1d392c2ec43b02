//! `wschat token`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Map, Value};

use super::args::ConfigArgs;
use super::failure::{CommandResult, Exit, Failure};
use super::output::print;
use super::own_unit::load_or_run;
use crate::config::Auth;

/// The end of the year 9999 in seconds since 1970, the last time that RFC 3339 can
/// express.
const EXP_MAX: u64 = 253_402_300_799;

#[derive(Debug, Args)]
#[command(after_help = "\
The token is signed with the first secret in auth.keys or, if there is none, with
the configured secret and the first of auth.algorithms. It contains the configured
issuer and audience. Store it in a file that only its user can read:

    (umask 077; wschat token --sub ci --ttl 90days > ci.token)

The room checks the expiration time only if auth.check_exp is true. Then it rejects
tokens without one, which are made without --ttl.")]
pub struct TokenArgs {
    /// The user of the token (the claim `sub`)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    sub: String,
    /// The time until the token expires: 15min, 1h, 90days (the claim `exp`) [default: never]
    #[arg(long, value_name = "TIME", value_parser = time_to_live)]
    ttl: Option<Duration>,
    /// Another claim, its value in JSON: admin=true, 'role="host"'; repeatable
    #[arg(long = "claim", value_name = "KEY=JSON", value_parser = claim)]
    claims: Vec<(String, Value)>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Prints a new token.
pub fn run(args: TokenArgs) -> CommandResult {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut claims = claims(args.sub, args.ttl, args.claims, now)?;
    let auth = match load_or_run(&args.config)? {
        Ok(loaded) => loaded.with_usable_keys()?.config.auth,
        Err(code) => return Ok(code),
    };
    let key = auth.signing_key().ok_or_else(|| no_secret(&auth))?;
    for (claim, value) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
        if let Some(value) = value {
            claims.entry(claim).or_insert_with(|| value.as_str().into());
        }
    }
    let token = key.sign(&claims);
    let token = token.ok_or_else(|| Failure::new(Exit::OsError, "token", "it cannot be signed"))?;
    print(&format!("{token}\n"))
}

/// Why no token can be signed; public keys can only verify.
fn no_secret(auth: &Auth) -> Failure {
    let (key, why) = if auth.keys.is_empty() {
        (
            "auth.jwt_secret",
            "there is no secret in the files, in a credential or in JWT_SECRET; if the unit is not \
             wschat.service, run this as root with CREDENTIALS_DIRECTORY=/run/credentials/UNIT",
        )
    } else {
        ("auth.keys", "only public keys are configured; tokens are signed with the private keys")
    };
    Failure::new(Exit::Config, key, why)
}

/// All claims of a token that is signed at `now`, the time since the Unix epoch.
fn claims(
    sub: String,
    ttl: Option<Duration>,
    others: Vec<(String, Value)>,
    now: Duration,
) -> Result<Map<String, Value>, Failure> {
    let mut claims = Map::new();
    claims.insert("sub".into(), sub.into());
    if let Some(ttl) = ttl {
        // `exp` and `iat` are whole seconds; their difference is `ttl`, rounded up.
        let secs = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let exp = now.as_secs().saturating_add(secs);
        if exp > EXP_MAX {
            return Err(Failure::new(
                Exit::Usage,
                "--ttl",
                "the token would expire after the year 9999",
            ));
        }
        claims.insert("exp".into(), exp.into());
    }
    for (key, value) in others {
        let failure = |why: &str| Failure::new(Exit::Usage, format!("--claim {key}"), why);
        if matches!(key.as_str(), "exp" | "nbf" | "iat") && !value.is_number() {
            return Err(failure("the value must be a number of seconds since 1970"));
        }
        if claims.contains_key(&key) {
            return Err(failure("the token already has this claim"));
        }
        claims.insert(key, value);
    }
    claims.entry("iat").or_insert_with(|| now.as_secs().into());
    Ok(claims)
}

fn time_to_live(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the token would expire at once".into()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        None | Some(("", _)) => Err("a claim has the form KEY=JSON".into()),
        // The usual mistake is a string without quotes.
        Some((key, json)) => match serde_json::from_str(json) {
            Ok(value) => Ok((key.to_owned(), value)),
            Err(_) => Err(format!("the value is not JSON; write a string as '{key}=\"…\"'")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1_700_000_000_250);

    #[test]
    fn claims_of_a_token() {
        let check = |ttl: Option<&str>, others: &[&str], want: &str| {
            let ttl = ttl.map(|text| time_to_live(text).unwrap());
            let others = others.iter().map(|text| claim(text).unwrap()).collect();
            let got = claims("petr".into(), ttl, others, NOW);
            let got = got.map_or_else(|failure| failure.to_string().into(), Value::Object);
            // The text of a failure is not JSON, so it is compared as a string.
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
        check(Some("1h"), &["exp=7"], "wschat: --claim exp: the token already has this claim");
        check(None, &["sub=\"x\""], "wschat: --claim sub: the token already has this claim");
        check(None, &["a=1", "a=2"], "wschat: --claim a: the token already has this claim");
        let why = "wschat: --claim nbf: the value must be a number of seconds since 1970";
        check(None, &["nbf=\"5\""], why);
        let why = "wschat: --ttl: the token would expire after the year 9999";
        check(Some("9000years"), &[], why);
    }

    #[test]
    fn invalid_options() {
        for text in ["admin", "=1"] {
            assert_eq!(claim(text), Err("a claim has the form KEY=JSON".into()));
        }
        let why = "the value is not JSON; write a string as 'role=\"…\"'";
        assert_eq!(claim("role=host"), Err(why.into()));
        for text in ["0s", "3600", "-1h"] {
            assert!(time_to_live(text).is_err(), "{text}");
        }
    }
}
