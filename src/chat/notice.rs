//! What the server itself says: to one sender alone, and to everybody.

use super::message::{NAME_OF_SERVER, TIM_LAST, stamp};
use super::refusal::{Refusal, Refused};
use super::tim::Tim;
use crate::chat::mod_action::{ModAction, ModActionError};

/// Appends the text of the notice that tells a sender why.
///
/// It has the shape of a message, so that every client can show it, and holds
/// nothing of what was sent. Its `tim` is the time, not a place in the room's
/// order.
///
/// # Examples
///
/// ```
/// use wschat::chat::{notice, Refusal, Refused, Tim};
/// let mut text = Vec::new();
/// notice(Refused { refusal: Refusal::RateLimited, wait_secs: Some(7) }, Tim::default(), &mut text);
/// assert_eq!(
///     String::from_utf8(text).unwrap(),
///     r#"{"usr":"wschat","msg":"not sent: too fast, or the same again; wait 7 s","err":"rate-limited","wait":7,"tim":"1970-01-01T00:00:00.000000000Z"}"#
/// );
/// ```
pub fn notice(refused: Refused, now: Tim, out: &mut Vec<u8>) {
    let Refused { refusal, wait_secs } = refused;
    let (mut words, mut field) = (String::new(), String::new());
    if let Some(secs) = wait_secs {
        (words, field) = (format!("; wait {secs} s"), format!("\"wait\":{secs},"));
    }
    let msg = format!("not sent: {}{words}", refusal.reason());
    say(&msg, &format!("\"err\":\"{}\",{field}", refusal.code()), out);
    stamp(out, now);
}

/// Appends the text that tells a moderator what was done.
pub fn ack(act: &ModAction, now: Tim, out: &mut Vec<u8>) {
    say(&format!("done: {act}"), &format!("\"ack\":\"{}\",", act.verb()), out);
    stamp(out, now);
}

/// Appends the notice that tells a moderator why nothing was done.
pub fn nack(error: ModActionError, now: Tim, out: &mut Vec<u8>) {
    let code = Refusal::BadCommand.code();
    say(&format!("not done: {error}"), &format!("\"err\":\"{code}\","), out);
    stamp(out, now);
}

/// Appends what the server itself says to everybody, but for its `tim`.
pub fn announcement(words: &str, out: &mut Vec<u8>) {
    say(words, "", out);
}

/// Appends what tells everybody not to show the message `tim` any more, but for
/// its own `tim`.
pub fn retraction(tim: Tim, out: &mut Vec<u8>) {
    say(&format!("retracted: {tim}"), &format!("\"retract\":\"{tim}\","), out);
}

/// Appends a message of the server: `msg`, and what stands between it and
/// `tim`, each field with a comma behind it.
fn say(msg: &str, fields: &str, out: &mut Vec<u8>) {
    // A string can always be written.
    let msg = serde_json::to_string(msg).unwrap_or_default();
    for part in ["{\"usr\":\"", NAME_OF_SERVER, "\",\"msg\":", &msg, ",", fields, TIM_LAST] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_is_a_message_with_a_code() {
        let now: Tim = "2020-08-11T22:26:58.118678679Z".parse().unwrap();
        for refusal in Refusal::ALL {
            let mut text = Vec::new();
            notice(refusal.into(), now, &mut text);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let expected = serde_json::json!({
                "usr": "wschat",
                "msg": format!("not sent: {}", refusal.reason()),
                "err": refusal.code(),
                "tim": "2020-08-11T22:26:58.118678679Z",
            });
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn what_the_server_says_is_json() {
        let words = "a \"quoted\"\nline \u{1f600}";
        let value = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            write(&mut text);
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        let zero = "0000-00-00T00:00:00.000000000Z";
        let epoch = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(
            value(&|out| announcement(words, out)),
            serde_json::json!({"usr": "wschat", "msg": words, "tim": zero})
        );
        assert_eq!(
            value(&|out| ack(&ModAction::Say { text: words.into() }, Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": format!("done: said {words:?}"), "ack": "say", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| nack(ModActionError::NotMuted, Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": "not done: nobody of that name is muted",
                "err": "bad-command", "tim": epoch
            })
        );
        assert_eq!(
            value(&|out| retraction(Tim::default(), out)),
            serde_json::json!({
                "usr": "wschat", "msg": format!("retracted: {epoch}"), "retract": epoch, "tim": zero
            })
        );
    }
}
