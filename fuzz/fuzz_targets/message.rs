//! Texts of messages: each is sent as JSON without its token, or refused with a notice.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_bytes::{ByteBuf, Bytes};
use serde_json::Value;
use wschat::chat::{ChatRequest, ModAction, Rules, Speaker, Tim, notice, skeleton, stamp};
use wschat::client::{Incoming, IncomingKind};

fuzz_target!(|text: &str| {
    // Any text can also be the command of a moderator.
    ModAction::from_command(text);
    let mut out = Vec::new();
    match Rules::open().admit(text, None, &mut Speaker::default(), Tim::default()).request {
        Ok(ChatRequest::Moderate(..)) => unreachable!("there are no moderators"),
        Ok(ChatRequest::Say(message)) => {
            skeleton(message.usr());
            message.encode(&mut out);
            assert_eq!(out.len(), message.encoded_len());
            stamp(&mut out, Tim::default());
            let sent = str::from_utf8(&out).expect("UTF-8");
            // Names and values are unchanged, also those that a Value cannot hold.
            let fields: HashMap<ByteBuf, IgnoredAny> = serde_json::from_str(sent).expect("JSON");
            assert!(!fields.contains_key(Bytes::new(b"jwt")));
            let received = Incoming::parse(sent).expect("a message");
            assert_eq!(
                (received.usr.as_str(), received.msg.as_str()),
                (message.usr(), message.msg())
            );
            assert!(received.tim.is_some() && received.kind == IncomingKind::User);
        }
        Err(refusal) => {
            notice(refusal.into(), Tim::default(), &mut out);
            let json: Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(json["err"], refusal.code());
        }
    }
});
