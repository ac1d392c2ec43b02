use super::*;
use crate::chat::tim::{Tim, stamp};
use proptest::prelude::*;
use serde_json::Value;

/// The text for listeners without its `tim`, or the refusal.
fn sent(text: &str) -> Result<String, Refusal> {
    let message = ParsedMessage::parse(text, None)?.into_message()?;
    let mut out = b"before".to_vec();
    message.encode(&mut out);
    assert_eq!(out.len(), "before".len() + message.encoded_len());
    let out = String::from_utf8(out).unwrap();
    let members = out.strip_prefix("before").unwrap().strip_suffix(TIM_PLACEHOLDER).unwrap();
    Ok(format!("{}}}", members.strip_suffix(',').unwrap()))
}

fn check(text: &str, expected: &str) {
    let sent = sent(text).unwrap_or_else(|refusal| refusal.code().into());
    assert_eq!(sent, expected, "{text}");
}

fn check_unchanged(text: &str) {
    check(text, text);
}

#[test]
fn fields_keep_their_bytes() {
    for text in [
        r#"{"usr":"a","msg":"b"}"#,
        r#"{"msg":"b","usr":"a"}"#,
        r#"{"usr":"a","msg":""}"#,
        r#"{"usr":" a\t","msg":" b "}"#,
        r#"{"z":1,"usr":"a","y":2,"msg":"b","x":3}"#,
        r#"{"usr":"\u0061\/","msg":"\ud83d\ude00 \uD83D\uDE00 😀\\ud800"}"#,
        r#"{"\u0075sr":"a","\u006Dsg":"b","\u006bey":1}"#,
        r#"{"usr":"a","msg":"b","n":[1.50E+05,-0,0.0,1e999,123456789012345678901234567890]}"#,
        r#"{"usr":"a","msg":"b","n":{ "b" : 1, "a": [ 1 , 2 ],"b":2,"jwt":"x","tim":3}}"#,
        r#"{"usr":"a","msg":"b","":null,"t":true,"f":false,"usr ":"c","USR":"d","Jwt":0}"#,
        // A lone surrogate is an error only in `usr` and `msg`.
        r#"{"usr":"a","msg":"b","x":"\ud800","y":["\udc00"],"\ud800":1,"\udc00":2}"#,
        r#"{"usr":"a","msg":"b","$serde_json::private::RawValue":{"$serde_json::private::RawValue":1}}"#,
    ] {
        check_unchanged(text);
    }
}

#[test]
fn white_space_between_members_is_removed() {
    check(
        "\r\n\t { \"usr\" \t: \"a\"\n,\"msg\":\"b\" , \"x\" : [ 1,\n2 ] } \n",
        "{\"usr\":\"a\",\"msg\":\"b\",\"x\":[ 1,\n2 ]}",
    );
}

#[test]
fn fields_of_the_server_are_removed() {
    for text in [
        r#"{"tim":"x","usr":"a","msg":"b"}"#,
        r#"{"usr":"a","err":{"deep":[]},"msg":"b"}"#,
        r#"{"usr":"a","msg":"b","jwt":"secret"}"#,
        r#"{"usr":"a","\u0074im":1,"msg":"b","e\u0072r":null,"jw\u0074":"secret"}"#,
    ] {
        check(text, r#"{"usr":"a","msg":"b"}"#);
    }
}

#[test]
fn texts_that_are_not_json() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "{]",
        "nul",
        "[1",
        "[] []",
        "\"\\x\"",
        "\u{feff}{\"usr\":\"a\",\"msg\":\"b\"}",
        r#"{"usr":"a","msg":"b"} x"#,
        r#"{"usr":"a","msg":"b"}{}"#,
        r#"{"usr":"a","msg":"b",}"#,
        r#"{"usr":"a",,"msg":"b"}"#,
        r#"{"usr":"a" "msg":"b"}"#,
        r#"{"usr":"a","msg":"b""#,
        r#"{"usr":"a","msg":"b"#,
        r#"{usr:"a","msg":"b"}"#,
        r#"{'usr':'a','msg':'b'}"#,
        r#"{"usr":"a","msg":"b","\u":1}"#,
        r#"{"usr":"a","msg":"b"/* c */}"#,
        "{\"usr\":\"a\",\"msg\":\"b\nc\"}",
        "{\"usr\":\"a\",\"msg\":\"b\",\u{a0}\"x\":1}",
    ] {
        check(text, "bad-json");
    }
    let values = ["01", "1.", ".5", "+1", "1e", "NaN", "[1,]", r#"{"y"}"#, r#""\x""#, "\"\0\""];
    for value in values.into_iter().chain([r#""\u12g4""#]) {
        check(&format!(r#"{{"usr":"a","msg":"b","x":{value}}}"#), "bad-json");
    }
}

#[test]
fn lone_surrogates_in_usr_and_msg() {
    for text in [
        r#"{"usr":"\ud800","msg":"b"}"#,
        r#"{"usr":"a","msg":"\udc00"}"#,
        r#"{"usr":"a","msg":"\ud800\n"}"#,
        r#"{"usr":"a","msg":"\ud800\ud800"}"#,
        r#"{"usr":"a","\u006dsg":"\udfff"}"#,
        // This is checked before everything else.
        r#"{"msg":"\ud800"}"#,
        r#"{"usr":"\ud800","usr":"a"}"#,
        r#"{"usr":"a","usr":"\ud800"}"#,
    ] {
        check(text, "bad-json");
    }
    check(r#"{"usr":["\ud800"],"msg":"b"}"#, "bad-type");
}

#[test]
fn json_that_is_not_an_object() {
    for text in ["[]", " [{}] ", "null", "true", "1", "-1.5e3", "\"\"", r#""{\"usr\":1}""#] {
        check(text, "not-an-object");
    }
}

#[test]
fn the_depth_is_bounded() {
    let nested = |levels: usize, open: &str, inside: &str, close: &str| {
        [&open.repeat(levels), inside, &close.repeat(levels)].concat()
    };
    let with = |value: &str| format!(r#"{{"usr":"a","msg":"b","x":{value}}}"#);
    check_unchanged(&with(&nested(63, "[", "", "]")));
    check_unchanged(&with(&nested(63, r#"{"y":"#, "1", "}")));
    check_unchanged(&with(&format!("[{}]", ["[[]]"; 100].join(","))));
    check_unchanged(&with(&format!(r#"["{}\"{}"]"#, "[".repeat(99), "{".repeat(99))));
    check(&with(&nested(64, "[", "", "]")), "bad-json");
    check(&with(&nested(64, r#"{"y":"#, "1", "}")), "bad-json");
    check(&with(&nested(8_000, "[", "", "]")), "bad-json");
    check(&format!(r#"{{"tim":{}}}"#, nested(64, "[", "", "]")), "bad-json");
    check(&format!(r#"{{"jwt":{}}}"#, nested(64, "[", "", "]")), "bad-json");
    check(&nested(64, "[", "", "]"), "not-an-object");
    check(&nested(65, "[", "", "]"), "bad-json");
    check(&nested(100_000, "[", "", "]"), "bad-json");
    check(&"[".repeat(100_000), "bad-json");
}

#[test]
fn duplicate_names() {
    for text in [
        r#"{"usr":"a","usr":"a","msg":"b"}"#,
        r#"{"usr":"a","msg":"b","x":1,"x":2}"#,
        r#"{"usr":"a","msg":"b","x":1,"\u0078":2}"#,
        r#"{"usr":"a","msg":"b","\u0078":1,"\u0078":2}"#,
        r#"{"usr":"a","msg":"b","😀":1,"\ud83D\ude00":2}"#,
        r#"{"usr":"a","msg":"b","\ud800":1,"\uD800":2}"#,
        r#"{"usr":"a","msg":"b","/":1,"\/":2}"#,
        r#"{"usr":"a","msg":"b","tim":1,"t\u0069m":2}"#,
        r#"{"jwt":"x","jwt":"y"}"#,
        r#"{"usr":1,"usr":2}"#,
    ] {
        check(text, "duplicate-field");
    }
    for count in [14, 15, 100, 2_000] {
        let many: String = (0..count).map(|n| format!(r#","{n}":{n}"#)).collect();
        check_unchanged(&format!(r#"{{"usr":"a","msg":"b"{many}}}"#));
        check(&format!(r#"{{"usr":"a","msg":"b"{many},"\u0030":0}}"#), "duplicate-field");
    }
}

#[test]
fn usr_and_msg() {
    for (text, code) in [
        (r#"{}"#, "missing-usr"),
        (r#"{"msg":"b"}"#, "missing-usr"),
        (r#"{"usr":"","msg":"b"}"#, "missing-usr"),
        (r#"{"usr":" \t\n\u3000\u2028","msg":1}"#, "missing-usr"),
        (r#"{"usr":null,"msg":"b"}"#, "bad-type"),
        (r#"{"usr":1}"#, "bad-type"),
        (r#"{"usr":["a"],"msg":"b"}"#, "bad-type"),
        (r#"{"usr":{},"msg":"b"}"#, "bad-type"),
        (r#"{"usr":"a"}"#, "missing-msg"),
        (r#"{"usr":"wschat"}"#, "missing-msg"),
        (r#"{"usr":"a","msg":null}"#, "bad-type"),
        (r#"{"usr":"wschat","msg":false}"#, "bad-type"),
        (r#"{"usr":"wschat","msg":"b"}"#, "name-reserved"),
        (r#"{"usr":" WsChat\t","msg":"b"}"#, "name-reserved"),
        (r#"{"usr":"\u0077schat","msg":"b"}"#, "name-reserved"),
        ("{\"usr\":\"\u{2003}w\u{17f}chat\",\"msg\":\"b\"}", "name-reserved"),
        (r#"{"usr":"w schat","msg":"b"}"#, "name-reserved"),
        (r#"{"usr":"\u200b\ufff9\ufffc\u3164","msg":"b"}"#, "missing-usr"),
        (r#"{"usr":"\u0007 \u2800","msg":"b"}"#, "missing-usr"),
    ] {
        check(text, code);
    }
    check_unchanged(r#"{"usr":"wschat2","msg":"b"}"#);
    check_unchanged(r#"{"usr":"w-schat","msg":"b"}"#);
    check_unchanged(r#"{"usr":"wscha","msg":"b"}"#);
}

#[test]
fn a_message_has_its_name_its_time_and_no_debug_text() {
    let message = r#"{"usr":"\u0061nn","msg":"quiet"}"#;
    let message = ParsedMessage::parse(message, None).unwrap().into_message().unwrap();
    assert_eq!((message.usr(), message.msg()), ("ann", "quiet"));
    assert!(!format!("{message:?}").contains("quiet"));
    let mut text = Vec::new();
    message.encode(&mut text);
    stamp(&mut text, "2020-08-11T22:26:58.118678679Z".parse().unwrap());
    let stamped = br#"{"usr":"\u0061nn","msg":"quiet","tim":"2020-08-11T22:26:58.118678679Z"}"#;
    assert_eq!(text, stamped);
    for len in 0..32 {
        let mut short = vec![b'x'; len];
        stamp(&mut short, Tim::default());
        assert_eq!(short, vec![b'x'; len]);
    }
}

/// Some JSON values.
fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("[ null\t,{ \"\\u0061\" :\n[ ] , \"a\":1 }]".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        string(),
    ]
}

/// Any JSON string, with or without escapes.
fn string() -> impl Strategy<Value = String> {
    ("\\PC{0,8}", any::<bool>()).prop_map(|(text, escaped)| {
        if !escaped {
            return Value::from(text).to_string();
        }
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    })
}

proptest! {
    #[test]
    fn fields_keep_their_bytes_and_order(
        fields in prop::collection::vec((string(), json()), 0..20),
        usr_at: prop::sample::Index,
        msg_at: prop::sample::Index,
        gap in "[ \t\r\n]{0,3}",
    ) {
        let mut seen: HashSet<String> = HashSet::new();
        let mut fields: Vec<(String, String)> = fields
            .into_iter()
            .filter(|(name, _)| seen.insert(serde_json::from_str(name).unwrap()))
            .collect();
        prop_assume!(!["usr", "msg", "jwt", "tim", "err"].iter().any(|name| seen.contains(*name)));
        fields.insert(usr_at.index(fields.len() + 1), ("\"usr\"".into(), "\"ann\"".into()));
        fields.insert(msg_at.index(fields.len() + 1), ("\"msg\"".into(), "\"hi\"".into()));
        let join = |between: &str| {
            let members: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{between}{name}{between}:{between}{value}{between}"))
                .collect();
            members.join(",")
        };
        let text = format!("{gap}{{{}}}{gap}", join(&gap));
        prop_assert_eq!(sent(&text), Ok(format!("{{{}}}", join(""))));
    }
}
