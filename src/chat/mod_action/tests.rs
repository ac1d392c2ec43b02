use super::*;
use crate::chat::Tim;

fn bob() -> Target {
    Target::name("bob")
}

#[test]
fn actions_in_the_form_of_a_message() {
    let mute = |name, secs| Some(ModAction::Mute { target: Target::name(name), secs });
    let retract = ModAction::Retract(Retracted::Tim(Tim::from_nanos(7)));
    for (json, want) in [
        (r#"{"mute":"bob"}"#, mute("bob", None)),
        (r#"{"secs":1,"mute":" bob "}"#, mute(" bob ", Some(1))),
        (r#"{"mute":"bob","secs":0}"#, None),
        (r#"{"mute":"bob","secs":-1}"#, None),
        (r#"{"mute":"bob","secs":"60"}"#, None),
        (r#"{"mute":"bob","secs":31622401}"#, None),
        (r#"{"mute":" "}"#, None),
        (r#"{"mute":7}"#, None),
        (r#"{"mute":"bob","why":"spam"}"#, None),
        (r#"{"mute":"bob","kick":"bob"}"#, None),
        (r#"{"unmute":"bob"}"#, Some(ModAction::Unmute { target: bob() })),
        (r#"{"kick":"bob"}"#, Some(ModAction::Kick { target: bob() })),
        (r#"{"kick":"bob","secs":5}"#, None),
        (r#"{"lock":true}"#, Some(ModAction::Lock)),
        (r#"{"lock":false}"#, None),
        (r#"{"unlock":true}"#, Some(ModAction::Unlock)),
        (r#"{"slow":30}"#, Some(ModAction::Slow { secs: Some(30) })),
        (r#"{"slow":0}"#, Some(ModAction::Slow { secs: Some(0) })),
        (r#"{"slow":null}"#, Some(ModAction::Slow { secs: None })),
        (r#"{"slow":1.5}"#, None),
        (r#"{"retract":"1970-01-01T00:00:00.000000007Z"}"#, Some(retract)),
        (r#"{"retract":"yesterday"}"#, None),
        (r#"{"retract":{"name":"bob"}}"#, Some(ModAction::Retract(Retracted::Name("bob".into())))),
        (r#"{"retract":{"name":" "}}"#, None),
        (r#"{"retract":{"name":"bob","tim":"1970-01-01T00:00:00.000000007Z"}}"#, None),
        (r#"{"retract":{"found":{"name":"bob","tims":["1970-01-01T00:00:00.000000007Z"]}}}"#, None),
        (r#"{"retract":7}"#, None),
        (r#"{"say":"hi"}"#, None),
        ("{}", None),
        ("[]", None),
        (r#""lock""#, None),
        ("null", None),
    ] {
        assert_eq!(ModAction::from_command(json), want, "{json}");
    }
}

#[test]
fn actions_in_the_form_of_the_control_socket() {
    let address = |ip: &str| Target::Address(ip.parse::<core::net::IpAddr>().unwrap().into());
    let mute = |target, secs| ModAction::Mute { target, secs };
    for (json, want) in [
        (r#"{"mute":{"whom":{"name":"bob"},"secs":600}}"#, mute(bob(), Some(600))),
        (r#"{"mute":{"whom":{"name":" bob "}}}"#, mute(Target::name(" bob "), None)),
        (r#"{"mute":{"whom":{"address":"192.0.2.7"}}}"#, mute(address("192.0.2.7"), None)),
        (r#"{"mute":{"whom":{"address":"2001:db8::7"}}}"#, mute(address("2001:db8::"), None)),
        (r#"{"unmute":{"whom":{"name":"bob"}}}"#, ModAction::Unmute { target: bob() }),
        (r#"{"kick":{"whom":{"id":7}}}"#, ModAction::Kick { target: Target::Connection(7) }),
        (r#""lock""#, ModAction::Lock),
        (r#""unlock""#, ModAction::Unlock),
        (r#"{"slow":{"secs":30}}"#, ModAction::Slow { secs: Some(30) }),
        (r#"{"slow":{}}"#, ModAction::Slow { secs: None }),
        (
            r#"{"retract":{"tim":"1970-01-01T00:00:00.000000007Z"}}"#,
            ModAction::Retract(Retracted::Tim(Tim::from_nanos(7))),
        ),
        (r#"{"retract":{"name":"bob"}}"#, ModAction::Retract(Retracted::Name("bob".into()))),
        (r#"{"say":{"msg":"hi"}}"#, ModAction::Say { text: "hi".into() }),
    ] {
        let action: ModAction = serde_json::from_str(json).unwrap();
        assert_eq!((&action, action.check()), (&want, Ok(())), "{json}");
        let again = serde_json::to_string(&action).unwrap();
        assert_eq!(serde_json::from_str::<ModAction>(&again).unwrap(), want, "{json}");
    }
}

#[test]
fn values_that_are_not_actions_for_the_control_socket() {
    for json in [
        r#""dance""#,
        r#"{"mute":{}}"#,
        r#"{"mute":{"whom":{}}}"#,
        r#"{"mute":{"whom":{"name":"bob","id":7}}}"#,
        r#"{"mute":{"whom":{"sub":"bob"}}}"#,
        r#"{"mute":{"whom":{"name":" "}}}"#,
        r#"{"mute":{"whom":{"address":"bob"}}}"#,
        r#"{"mute":{"whom":{"name":"bob"},"secs":0}}"#,
        r#"{"mute":{"whom":{"name":"bob"},"secs":31622401}}"#,
        r#"{"mute":{"whom":{"name":"bob"},"why":"spam"}}"#,
        r#"{"slow":{"secs":-1}}"#,
        r#"{"slow":{"secs":31622401}}"#,
        r#"{"retract":{"tim":"now"}}"#,
        r#"{"retract":{"name":""}}"#,
        r#"{"retract":{"name":"bob","tim":"1970-01-01T00:00:00.000000007Z"}}"#,
        r#"{"retract":{"found":{"name":"bob","tims":[]}}}"#,
        r#"{"say":{"msg":" "}}"#,
    ] {
        let action = serde_json::from_str::<ModAction>(json);
        assert!(action.is_err() || action.unwrap().check().is_err(), "{json}");
    }
}
