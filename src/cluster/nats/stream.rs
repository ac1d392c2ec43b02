//! What a server and a stream have to be like, so that the room can rely on them.

use serde_json::{Value, json};

use super::super::options::EngineOptions;
use super::api::StreamInfo;

/// The first version that keeps a stream after `kill -9`.
const VERSION_MIN: [u64; 3] = [2, 10, 23];

/// The stream holds at least this many times what a node keeps, so that a node that starts or
/// was away finds what it lacks.
const TAILS_MIN: u64 = 4;

/// What a record has beside one message: header fields, and who has sent it.
const RECORD_OVERHEAD_BYTES: u64 = 8 * 1024;

/// The shortest `max_age`, in nanoseconds: an hour. A node that is away for longer loses its
/// place anyway.
const AGE_NANOS_MIN: u64 = 3_600_000_000_000;

/// One way in which a stream is not as it has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// How it is, and how it has to be.
    pub text: String,
    /// The field of the configuration of the stream, and its value.
    pub mend: (&'static str, Value),
}

/// The bytes that a stream holds at least.
pub fn stream_bytes_min(options: &EngineOptions) -> u64 {
    TAILS_MIN.saturating_mul(options.feed_tail_bytes as u64)
}

/// The longest record with one message: its text, the name in it once more, and the rest.
fn record_bytes_max(options: &EngineOptions) -> u64 {
    (options.message_bytes_max as u64).saturating_mul(2).saturating_add(RECORD_OVERHEAD_BYTES)
}

/// What is wrong with a server of this version and with this `max_payload`.
pub fn check_server(
    version: &str,
    max_payload: u64,
    options: &EngineOptions,
) -> Result<(), String> {
    if !is_recent(version) {
        let [major, minor, patch] = VERSION_MIN;
        return Err(format!(
            "its version is {version}, and must be at least {major}.{minor}.{patch}: older ones \
             can lose a stream; install a newer nats-server"
        ));
    }
    let needed = record_bytes_max(options);
    if max_payload < needed {
        return Err(format!(
            "its max_payload is {max_payload}, and must be at least {needed} for messages of \
             {} bytes; raise max_payload in the configuration of the servers, or lower \
             limits.message_bytes_max",
            options.message_bytes_max
        ));
    }
    Ok(())
}

/// Whether a server of this version is new enough. A pre-release comes before its version.
fn is_recent(version: &str) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    // What follows a plus sign is only about the build.
    let version = version.split('+').next().unwrap_or(version);
    let (numbers, is_pre_release) = match version.split_once('-') {
        Some((numbers, _)) => (numbers, true),
        None => (version, false),
    };
    let numbers: Option<Vec<u64>> = numbers.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref().map(<[u64; 3]>::try_from) {
        Some(Ok(numbers)) => numbers > VERSION_MIN || (numbers == VERSION_MIN && !is_pre_release),
        _ => false,
    }
}

/// What is wrong with a stream, in one sentence that says what to do.
pub fn check_stream(info: &StreamInfo, options: &EngineOptions) -> Result<(), String> {
    let found = differences(&info.config, options);
    if found.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = found.iter().map(|difference| difference.text.as_str()).collect();
    Err(format!(
        "the stream {} cannot be used: {}; 'wschat cluster init --update' changes what can be \
         changed",
        options.stream,
        texts.join("; ")
    ))
}

/// In which ways the configuration of a stream is not as it has to be.
///
/// `max_age` may be set: a room may have to forget. So may replicas, storage, placement and
/// compression.
pub fn differences(config: &Value, options: &EngineOptions) -> Vec<Difference> {
    let name = options.stream.as_str();
    let mut found = Vec::new();
    let mut must = |is_right: bool, field: &'static str, value: Value, rule: &str| {
        if !is_right {
            let is = config.get(field).unwrap_or(&Value::Null);
            found.push(Difference {
                text: format!("its {field} is {is}, and must be {rule}"),
                mend: (field, value),
            });
        }
    };
    let number = |field: &str| config.get(field).and_then(Value::as_i64).unwrap_or_default();
    let is_on = |field: &str| config.get(field).and_then(Value::as_bool).unwrap_or_default();
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    let has = |field: &str| config.get(field).is_some_and(|value| *value != json!([]));

    let subjects = json!([name]);
    must(
        config.get("subjects") == Some(&subjects),
        "subjects",
        subjects.clone(),
        &subjects.to_string(),
    );
    must(!has("sources"), "sources", json!([]), "missing");
    must(!has("subject_transform"), "subject_transform", Value::Null, "missing");
    must(text("retention") == "limits", "retention", json!("limits"), "\"limits\"");
    must(text("discard") == "old", "discard", json!("old"), "\"old\"");
    let bytes_min = stream_bytes_min(options);
    // It is negative without a limit.
    let is_enough = u64::try_from(number("max_bytes")).is_ok_and(|bytes| bytes >= bytes_min);
    let rule = format!("at least {bytes_min}, {TAILS_MIN} x limits.feed_tail_bytes");
    must(is_enough, "max_bytes", json!(bytes_min), &rule);
    for field in ["max_msgs", "max_msgs_per_subject"] {
        must(number(field) <= 0, field, json!(-1), "-1: max_bytes limits the stream");
    }
    let age = u64::try_from(number("max_age")).unwrap_or_default();
    must(age == 0 || age >= AGE_NANOS_MIN, "max_age", json!(0), "0, or an hour or more");
    let (size, needed) = (number("max_msg_size"), record_bytes_max(options));
    let is_enough = size <= 0 || size.unsigned_abs() >= needed;
    let rule = format!("-1, or at least {needed} for limits.message_bytes_max");
    must(is_enough, "max_msg_size", json!(-1), &rule);
    must(is_on("deny_delete"), "deny_delete", json!(true), "true");
    for field in ["no_ack", "sealed", "allow_rollup_hdrs"] {
        must(!is_on(field), field, json!(false), "false");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> EngineOptions {
        EngineOptions {
            servers: Vec::new(),
            stream: "room".parse().unwrap(),
            credentials: None,
            tls_ca_file: None,
            node: "n".parse().unwrap(),
            feed_tail_bytes: 1_000_000,
            message_bytes_max: 16_384,
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in [
            "2.10.23",
            "2.10.27",
            "v2.11.0",
            "2.11.0-RC.1",
            "10.0.0",
            "2.10.100",
            "2.10.24-beta.1",
            "2.10.23+build",
            "3.0.0-dev+x",
        ] {
            assert!(is_recent(version), "{version}");
        }
        for version in [
            "2.10.22",
            "2.9.100",
            "2.9.10",
            "1.99.99",
            "2.10.23-RC.1",
            "",
            "2.10",
            "latest",
            "2.10.x",
            "2.10.23.1",
            "-1.0.0",
            "99999999999999999999.0.0",
        ] {
            assert!(!is_recent(version), "{version}");
        }
    }

    #[test]
    fn servers_that_do_not_do() {
        assert_eq!(check_server("2.10.27", 1_048_576, &options()), Ok(()));
        assert_eq!(check_server("2.10.27", 40_960, &options()), Ok(()));
        let why = check_server("2.10.27", 40_959, &options()).unwrap_err();
        assert!(why.starts_with("its max_payload is 40959, and must be at least 40960"), "{why}");
        let why = check_server("2.9.10", 1_048_576, &options()).unwrap_err();
        assert!(why.starts_with("its version is 2.9.10, and must be at least 2.10.23"), "{why}");
    }

    /// The configuration that a server reports for a stream that `wschat cluster init` has made.
    fn good() -> Value {
        json!({
            "name": "room", "subjects": ["room"], "retention": "limits", "max_consumers": -1,
            "max_msgs": -1, "max_bytes": 4_000_000, "max_age": 0, "max_msgs_per_subject": -1,
            "max_msg_size": -1, "discard": "old", "storage": "file", "num_replicas": 1,
            "duplicate_window": 120_000_000_000_u64, "compression": "none",
            "allow_direct": false, "mirror_direct": false, "sealed": false, "deny_delete": true,
            "deny_purge": false, "allow_rollup_hdrs": false, "consumer_limits": {},
        })
    }

    #[test]
    fn each_difference_is_found_and_mended() {
        assert_eq!(differences(&good(), &options()), []);
        for (field, value, text) in [
            (
                "subjects",
                json!(["room", "x"]),
                r#"its subjects is ["room","x"], and must be ["room"]"#,
            ),
            ("subjects", json!(["room.>"]), r#"its subjects is ["room.>"], and must be ["room"]"#),
            ("subjects", Value::Null, r#"its subjects is null, and must be ["room"]"#),
            ("discard", json!("new"), r#"its discard is "new", and must be "old""#),
            (
                "retention",
                json!("workqueue"),
                r#"its retention is "workqueue", and must be "limits""#,
            ),
            (
                "max_bytes",
                json!(3_999_999),
                "its max_bytes is 3999999, and must be at least 4000000, 4 x limits.feed_tail_bytes",
            ),
            (
                "max_bytes",
                json!(-1),
                "its max_bytes is -1, and must be at least 4000000, 4 x limits.feed_tail_bytes",
            ),
            (
                "max_msgs",
                json!(10),
                "its max_msgs is 10, and must be -1: max_bytes limits the stream",
            ),
            ("max_age", json!(1), "its max_age is 1, and must be 0, or an hour or more"),
            (
                "max_msg_size",
                json!(40_959),
                "its max_msg_size is 40959, and must be -1, or at least 40960 for limits.message_bytes_max",
            ),
            ("deny_delete", json!(false), "its deny_delete is false, and must be true"),
            ("no_ack", json!(true), "its no_ack is true, and must be false"),
            ("sealed", json!(true), "its sealed is true, and must be false"),
            (
                "sources",
                json!([{"name": "x"}]),
                r#"its sources is [{"name":"x"}], and must be missing"#,
            ),
        ] {
            let mut config = good();
            config[field] = value;
            let found = differences(&config, &options());
            assert_eq!(found.len(), 1, "{field}");
            assert_eq!(found[0].text, text);
            let (field, value) = found[0].mend.clone();
            config[field] = value;
            assert_eq!(differences(&config, &options()), [], "{field}");
        }
        assert_eq!(differences(&json!({}), &options()).len(), 5);
    }

    #[test]
    fn what_is_harmless_is_allowed() {
        let mut config = good();
        for (field, value) in [
            ("max_bytes", json!(1_u64 << 40)),
            ("max_age", json!(AGE_NANOS_MIN)),
            ("storage", json!("memory")),
            ("num_replicas", json!(5)),
            ("max_msg_size", json!(40_960)),
            ("compression", json!("s2")),
            ("deny_purge", json!(true)),
            ("metadata", json!({"a": "b"})),
            ("placement", json!({"tags": ["x"]})),
            ("allow_direct", json!(true)),
        ] {
            config[field] = value;
        }
        assert_eq!(differences(&config, &options()), []);
    }

    #[test]
    fn the_sentence_says_what_to_do() {
        let mut info =
            StreamInfo { config: good(), created: 1, state: Default::default(), time: 1 };
        assert_eq!(check_stream(&info, &options()), Ok(()));
        info.config["deny_delete"] = json!(false);
        info.config["max_msgs"] = json!(1);
        assert_eq!(
            check_stream(&info, &options()).unwrap_err(),
            "the stream room cannot be used: its max_msgs is 1, and must be -1: max_bytes limits \
             the stream; its deny_delete is false, and must be true; 'wschat cluster init \
             --update' changes what can be changed"
        );
    }
}
