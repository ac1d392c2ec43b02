//! The messages of a run: who sent it, and which of its messages it is.

/// Where the fixed part of each message ends and the run's own begins.
const HEAD: &str = r#"{"usr":"bench","msg":""#;
/// `RRRRRRRR.SSSS.QQQQQQQQ`: the run, the sender, the number; all in hex.
const MARK_LEN: usize = 8 + 1 + 4 + 1 + 8;
/// What closes the text, the object.
const TAIL: &str = r#""}"#;

/// The shortest message that can be told apart, in bytes.
pub const SIZE_MIN: usize = HEAD.len() + MARK_LEN + TAIL.len();
/// The longest message that any configuration of the daemon takes, in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// As many senders as the mark has digits for.
pub const SENDERS_MAX: usize = 1 << 16;

/// Names a message of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Which sender, from 0.
    pub sender: u16,
    /// Which message of that sender, from 0.
    pub number: u32,
}

/// Writes and recognises the messages of one run.
#[derive(Debug)]
pub struct Texts {
    head: String,
    tail: String,
}

impl Texts {
    /// Messages of `size` bytes, marked with the number of the run, with `token` as `jwt`.
    pub fn new(run: u32, size: usize, token: Option<&str>) -> Self {
        let filling = "x".repeat(size.saturating_sub(SIZE_MIN));
        // The token comes last: what the server passes on then begins as it was sent.
        let tail = match token {
            Some(token) => {
                format!(r#"{filling}","jwt":{}}}"#, serde_json::Value::from(token))
            }
            None => format!("{filling}{TAIL}"),
        };
        Self { head: format!("{HEAD}{run:08x}."), tail }
    }

    /// The text of a message.
    pub fn write(&self, mark: Mark) -> String {
        format!("{}{:04x}.{:08x}{}", self.head, mark.sender, mark.number, self.tail)
    }

    /// The mark of a message of this run; `None` for all others.
    pub fn mark(&self, text: &[u8]) -> Option<Mark> {
        let rest = text.strip_prefix(self.head.as_bytes())?;
        let (sender, rest) = rest.split_at_checked(4)?;
        let (number, _) = rest.strip_prefix(b".")?.split_at_checked(8)?;
        let sender = u16::try_from(hex(sender)?).ok()?;
        Some(Mark { sender, number: hex(number)? })
    }
}

/// The words of a notice: why the server did not send a message.
pub fn refusal(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Notice {
        usr: String,
        msg: String,
        err: String,
    }
    let notice: Notice = serde_json::from_slice(text).ok()?;
    let advice = match notice.err.as_str() {
        "rate-limited" => "; limits.messages_per_sec = 0 at the server lets it through",
        _ => "",
    };
    (notice.usr == "wschat").then(|| format!("{} ({}){advice}", notice.msg, notice.err))
}

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

    const MARK: Mark = Mark { sender: 0xab, number: 77 };

    #[test]
    fn a_message_is_as_long_as_asked_and_recognised() {
        for size in [SIZE_MIN, 64, 1000] {
            let texts = Texts::new(5, size, None);
            let text = texts.write(MARK);
            assert_eq!(text.len(), size);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            assert_eq!(texts.mark(text.as_bytes()), Some(MARK));
        }
    }

    #[test]
    fn a_token_comes_last() {
        let texts = Texts::new(5, 64, Some("a.b\"c"));
        let text = texts.write(MARK);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["jwt"], "a.b\"c");
        assert_eq!(texts.mark(text.as_bytes()), Some(MARK));
    }

    #[test]
    fn other_messages_have_no_mark() {
        let texts = Texts::new(5, 64, None);
        let other = Texts::new(6, 64, None).write(MARK);
        let text = texts.write(MARK);
        for text in ["", r#"{"usr":"bench","msg":"hello"}"#, &other, &text[..40]] {
            assert_eq!(texts.mark(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn notices_are_told() {
        let notice = br#"{"usr":"wschat","msg":"not sent: no","err":"jwt-missing","tim":"x"}"#;
        assert_eq!(refusal(notice).as_deref(), Some("not sent: no (jwt-missing)"));
        let notice = br#"{"usr":"wschat","msg":"not sent: no","err":"rate-limited","tim":"x"}"#;
        assert!(refusal(notice).unwrap().contains("limits.messages_per_sec = 0"));
        assert_eq!(refusal(br#"{"usr":"a","msg":"b","err":"c"}"#), None);
    }
}
