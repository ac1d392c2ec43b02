use proptest::prelude::*;

use super::*;
use crate::chat::{Actor, AddressBlock, LoggedSpeaker, ModAction, announcement};

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    any::<String>().prop_map(|text| {
        let mut out = Vec::new();
        announcement(&text, &mut out);
        out
    })
}

fn any_speaker() -> impl Strategy<Value = LoggedSpeaker> {
    (any::<String>(), any::<Option<String>>(), any::<[u8; 16]>(), any::<bool>()).prop_map(
        |(usr, sub, address, is_moderator)| LoggedSpeaker {
            usr,
            sub,
            address: AddressBlock(address),
            is_moderator,
        },
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    let message = (any_text(), prop::option::of(any_speaker()))
        .prop_map(|(text, speaker)| LoggedMessage { text, speaker });
    let action = prop_oneof![
        Just(ModAction::Lock),
        "[a-z ]{1,9}[a-z]"
            .prop_map(|name| ModAction::Mute { target: Target::Name(name), secs: Some(60) }),
        ".{0,9}[a-z]".prop_map(|text| ModAction::Say { text }),
        any::<u32>().prop_map(|nanos| ModAction::Retract(Retracted::Tim(Tim::from_nanos(
            u64::from(nanos)
        )))),
    ];
    let actor = prop_oneof![
        any::<u32>().prop_map(Actor::operator),
        (any::<String>(), any::<Option<String>>())
            .prop_map(|(usr, sub)| Actor::Moderator { usr, sub }),
    ];
    prop_oneof![
        Just(Body::Empty),
        prop::collection::vec(message, 1..9).prop_map(Body::Messages),
        (action, actor).prop_map(|(action, actor)| Body::Act(LoggedAct { action, actor })),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let publisher = ("[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}", any::<u64>(), any::<u64>())
        .prop_map(|(node, incarnation, number)| Publisher { node, incarnation, number });
    let after = any::<[u64; 4]>().prop_map(|[created, sequence, tim, newest]| StreamMark {
        position: Position { created, sequence },
        tim: Tim::from_nanos(tim),
        newest: Tim::from_nanos(newest),
    });
    (publisher, prop::option::of(after), any::<u64>(), any_body()).prop_map(
        |(publisher, after, by, body)| Record { publisher, after, by: Tim::from_nanos(by), body },
    )
}

fn owned(headers: Headers) -> Vec<(String, String)> {
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in any_record()) {
        let (headers, payload) = encode(&record);
        prop_assert_eq!(decode(&owned(headers), &payload), Ok(record));
    }

    #[test]
    fn a_damaged_payload_is_a_record_or_an_error(
        record in any_record(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let (headers, payload) = encode(&record);
        let (headers, mut payload) = (owned(headers), payload.to_vec());
        if !payload.is_empty() {
            let at = at.index(payload.len());
            payload[at] = byte;
            let _ = decode(&headers, &payload);
            payload.truncate(cut.index(payload.len()));
            let _ = decode(&headers, &payload);
        }
        payload.push(byte);
        let _ = decode(&headers, &payload);
    }
}

const GOOD: [(&str, &str); 5] = [
    ("Wschat-Version", "1"),
    ("Wschat-Node", "a.b 18446744073709551615 1"),
    ("Wschat-After", "1 2 3 4"),
    ("Wschat-By", "5"),
    ("Wschat-Kind", "empty"),
];

#[test]
fn every_bad_header_field_is_an_error() {
    let check = |headers: &[(&str, &str)], want| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(decode(&headers, b"").map(|_| ()), want, "{headers:?}");
    };
    check(&GOOD, Ok(()));
    check(&[&GOOD[..], &[("Nats-Msg-Id", "x")]].concat(), Ok(()));
    check(&[&GOOD[..], &[("Wschat-Other", "x")]].concat(), Err(BadRecord::UnknownField));
    for (at, error) in [
        (0, Err(BadRecord::Version)),
        (1, Err(BadRecord::Missing("Wschat-Node"))),
        (2, Ok(())),
        (3, Err(BadRecord::Missing("Wschat-By"))),
        (4, Err(BadRecord::Missing("Wschat-Kind"))),
    ] {
        let mut headers = GOOD.to_vec();
        headers.remove(at);
        check(&headers, error);
        let twice = [&GOOD[..], &GOOD[at..=at]].concat();
        check(&twice, Err(BadRecord::Twice(GOOD[at].0)));
    }
    let long = format!("{} 1 1", "a".repeat(256));
    for (at, values) in [
        (0, &["", "0", "2", "01", "1 ", "+1"][..]),
        (
            1,
            &["", "a", "a 1", "a 1 1 1", "a  1 1", " 1 1", "a 1 -1", "a +1 1", "a 01 1", "a 1 1\n"],
        ),
        (1, &["ä 1 1", "a\tb 1 1", "a 18446744073709551616 1", &long]),
        (2, &["", "1 2 3", "1 2 3 4 5", "1 2 3 x", "1,2,3,4", "1 2 3 18446744073709551616"]),
        (3, &["", "x", "-1", "+5", "05", "5.0", "1e3", "18446744073709551616"]),
        (4, &["", "Empty", "empty ", "messages,act"]),
    ] {
        for value in values {
            let mut headers = GOOD;
            headers[at].1 = value;
            let error = if at == 0 { BadRecord::Version } else { BadRecord::Field(GOOD[at].0) };
            check(&headers, Err(error));
        }
    }
}

/// The outcome for a payload of this kind.
fn payload_of(kind: &str, payload: &[u8]) -> Result<Body, BadRecord> {
    let mut headers = GOOD.map(|(name, value)| (name.to_owned(), value.to_owned()));
    headers[4].1 = kind.to_owned();
    decode(&headers, payload).map(|record| record.body)
}

#[test]
fn every_bad_message_is_an_error() {
    const TIM: &str = "\"tim\":\"0000-00-00T00:00:00.000000000Z\"}";
    let payload = |text: &[u8]| {
        let message = LoggedMessage { text: text.to_owned(), speaker: None };
        postcard::to_stdvec(&[message].as_slice()).unwrap()
    };
    let check = |text: &[u8], want: Result<(), BadRecord>| {
        let got = payload_of("messages", &payload(text)).map(|_| ());
        assert_eq!(got, want, "{}", String::from_utf8_lossy(text));
    };
    check(format!("{{\"usr\":\"a\",{TIM}").as_bytes(), Ok(()));
    for text in [
        "",
        "{}",
        TIM,
        &format!("{{{TIM} "),
        &format!("[{TIM}"),
        &format!("{{\"a\":1}}{{{TIM}"),
        &format!("{{\"usr\":\"a\"{TIM}"),
        &format!(" {{{TIM}"),
        &format!("{{\"msg\":\"\n\",{TIM}"),
        "{\"usr\":\"a\",\"tim\":\"2020-08-11T22:26:58.118678679Z\"}",
    ] {
        check(text.as_bytes(), Err(BadRecord::Text));
    }
    check(&[b"{\"usr\":\"\xff\",", TIM.as_bytes()].concat(), Err(BadRecord::Text));
    let text = |bytes| format!("{{\"msg\":\"{}\",{TIM}", "a".repeat(bytes)).into_bytes();
    check(&text(1_048_576), Ok(()));
    check(&text(1_048_577 + 64), Err(BadRecord::TooLong));
    let deep = format!("{{\"msg\":{}{},{TIM}", "[".repeat(100_000), "]".repeat(100_000));
    check(deep.as_bytes(), Ok(()));
}

#[test]
fn every_bad_payload_is_an_error() {
    let check = |kind, payload: &[u8], want: BadRecord| {
        assert_eq!(payload_of(kind, payload), Err(want), "{kind} {payload:?}");
    };
    check("empty", b"x", BadRecord::Payload);
    check("messages", b"", BadRecord::Payload);
    check("messages", &[0], BadRecord::NoMessage);
    check("messages", &[0, 0], BadRecord::Payload);
    let giant = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    check("messages", &giant, BadRecord::Payload);
    check("messages", &[&[1][..], &giant].concat(), BadRecord::Payload);
    check("messages", &[1, 0xff, 0xff, 0xff, 0xff, 0x0f], BadRecord::Payload);
    let act = |json: &str, want| check("act", json.as_bytes(), want);
    act("", BadRecord::Payload);
    act("{}", BadRecord::Payload);
    act(r#"{"action":"lock","actor":{"operator":{"uid":0}}}x"#, BadRecord::Payload);
    act(&"[".repeat(100_000), BadRecord::Payload);
    act(&format!(r#"{{"action":{}"#, r#"{"a":"#.repeat(100_000)), BadRecord::Payload);
    let by = r#""actor":{"operator":{"uid":0}}}"#;
    assert!(payload_of("act", format!(r#"{{"action":"lock",{by}"#).as_bytes()).is_ok());
    for action in [
        r#"{"kick":{"whom":{"id":1}}}"#,
        r#"{"mute":{"whom":{"id":1}}}"#,
        r#"{"mute":{"whom":{"name":" "}}}"#,
        r#"{"mute":{"whom":{"name":"a"},"secs":0}}"#,
        r#"{"slow":{"secs":4294967295}}"#,
        r#"{"say":{"msg":" "}}"#,
    ] {
        act(&format!(r#"{{"action":{action},{by}"#), BadRecord::Act);
    }
}

#[test]
fn the_bytes_of_header_fields_are_those_of_nats() {
    assert_eq!(headers_bytes(&[("A", "b".into())]), "NATS/1.0\r\nA: b\r\n\r\n".len());
}
