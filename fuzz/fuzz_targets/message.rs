//! The text of a message: it is sent as JSON without a token, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wschat::chat::{Rules, Speaker, Tim, Wish, command, look, notice};

fuzz_target!(|text: &str| {
    // Every value could also be a moderator's command.
    command(text);
    let mut out = Vec::new();
    match Rules::open().admit(text, &mut Speaker::default(), Tim::default()) {
        Ok(Wish::Act(..)) => unreachable!("there are no moderators"),
        Ok(Wish::Say(message)) => {
            look(message.usr());
            message.encode(&mut out);
            assert_eq!(out.len(), message.encoded_len());
            let Value::Object(sent) = serde_json::from_slice(&out).expect("JSON") else {
                panic!("no object");
            };
            assert!(sent["usr"].is_string() && sent["msg"].is_string() && sent["tim"].is_string());
            assert!(!sent.contains_key("jwt") && !sent.contains_key("err"));
        }
        Err(refusal) => {
            notice(refusal.into(), Tim::default(), &mut out);
            let told: Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(told["err"], refusal.code());
        }
    }
});
