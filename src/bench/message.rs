//! The messages of a run, each with its sender and number.

use serde_json::Value;

const START: &str = r#"{"usr":"bench","msg":""#;
/// `RRRRRRRR.SSSS.QQQQQQQQ`: the run, the sender and the number in hexadecimal.
const ID_BYTES: usize = 8 + 1 + 4 + 1 + 8;
const END: &str = r#""}"#;

/// The shortest message that can be recognised.
pub const BYTES_MIN: usize = START.len() + ID_BYTES + END.len();
/// The longest message that any configuration of the daemon allows.
pub const BYTES_MAX: usize = 1 << 20;
/// As many senders as the id has digits for.
pub const SENDERS_MAX: usize = 1 << 16;

/// The length of a `tim`.
const TIM_BYTES: usize = 30;
/// The `tim` of a message, as it was received.
pub type Tim = [u8; TIM_BYTES];

/// Identifies a message of this run; both numbers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    pub sender: u16,
    pub number: u32,
}

/// Writes and recognises the messages of one run.
#[derive(Debug)]
pub struct MessageFormat {
    start: String,
    end: String,
}

impl MessageFormat {
    /// Messages of `size` bytes with the number of the run, and with `token` as `jwt`.
    pub fn new(run: u32, size: usize, token: Option<&str>) -> Self {
        let filler = "x".repeat(size.saturating_sub(BYTES_MIN));
        // The token comes last, so that the server's message begins as this one does.
        let end = match token {
            Some(token) => format!(r#"{filler}","jwt":{}}}"#, Value::from(token)),
            None => filler + END,
        };
        Self { start: format!("{START}{run:08x}."), end }
    }

    /// The text of a message.
    pub fn write(&self, id: MessageId) -> String {
        format!("{}{:04x}.{:08x}{}", self.start, id.sender, id.number, self.end)
    }

    /// The id of a message of this run; `None` for any other text.
    pub fn id(&self, text: &[u8]) -> Option<MessageId> {
        let rest = text.strip_prefix(self.start.as_bytes())?;
        let (sender, rest) = rest.split_at_checked(4)?;
        let (number, _) = rest.strip_prefix(b".")?.split_at_checked(8)?;
        let sender = u16::try_from(hex(sender)?).ok()?;
        Some(MessageId { sender, number: hex(number)? })
    }
}

/// The `tim` of a message from the server, where it is the last field.
pub fn tim(text: &[u8]) -> Option<&Tim> {
    let (rest, tim) = text.strip_suffix(END.as_bytes())?.split_last_chunk()?;
    rest.ends_with(br#","tim":""#).then_some(tim)
}

/// The text of a notice that the server did not send a message; `None` for other texts.
pub fn refusal(text: &[u8]) -> Option<String> {
    let notice: Value = serde_json::from_slice(text).ok()?;
    let field = |name: &str| notice[name].as_str();
    let (msg, err) = (field("msg")?, field("err")?);
    let advice = match err {
        "rate-limited" => "; limits.messages_per_sec = 0 at the server allows it",
        _ => "",
    };
    (field("usr")? == "wschat").then(|| format!("{msg} ({err}){advice}"))
}

/// By hand, because every listener does it for every message.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value: u32, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId { sender: 0xab, number: 77 };

    #[test]
    fn a_message_has_its_size_and_is_recognised() {
        for (size, token) in [(BYTES_MIN, None), (64, None), (1000, None), (64, Some("a.b\"c"))] {
            let format = MessageFormat::new(5, size, token);
            let text = format.write(ID);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["jwt"].as_str(), token);
            assert_eq!(text.len() == size, token.is_none());
            assert_eq!(format.id(text.as_bytes()), Some(ID));
        }
    }

    #[test]
    fn other_texts_have_no_id() {
        let format = MessageFormat::new(5, 64, None);
        let other_run = MessageFormat::new(6, 64, None).write(ID);
        for text in ["", r#"{"usr":"bench","msg":"hello"}"#, &other_run, &format.write(ID)[..40]] {
            assert_eq!(format.id(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_tim_is_the_last_field() {
        const TIM: &str = "2020-08-11T22:26:58.118678679Z";
        for (text, want) in [
            (format!(r#"{{"usr":"a","tim":"{TIM}"}}"#), Some(TIM)),
            (format!(r#"{{"usr":"a","tim":"{TIM}","b":1}}"#), None),
            (format!(r#"{{"usr":"a","tin":"{TIM}"}}"#), None),
            (r#"{"tim":""}"#.to_owned(), None),
        ] {
            assert_eq!(tim(text.as_bytes()).map(|tim| &tim[..]), want.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn only_notices_are_refusals() {
        let notice = br#"{"usr":"wschat","msg":"not sent: no","err":"jwt-missing","tim":"x"}"#;
        assert_eq!(refusal(notice).as_deref(), Some("not sent: no (jwt-missing)"));
        assert_eq!(refusal(br#"{"usr":"a","msg":"b","err":"c"}"#), None);
    }
}
