//! The text that tells listeners the state of the room: how many listen, and who can send
//! messages now. It is no message: it has no `tim`, and no place in the order of messages.

use std::io::Write;

use super::name::SERVER_NAME;

/// The longest title of a room, in characters.
pub const TITLE_CHARS_MAX: usize = 100;
/// The longest notice of a room, in characters: each listener gets it at each change.
pub const NOTICE_CHARS_MAX: usize = 500;

/// The state of the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence<'a> {
    /// How many listen.
    pub listeners: u64,
    /// Whether only moderators can send messages.
    pub is_locked: bool,
    /// The seconds between two messages of one sender; 0 is no slow mode.
    pub slow_secs: u64,
    /// Whether a token is needed to send messages.
    pub needs_token: bool,
    /// The title; empty if there is none.
    pub title: &'a str,
    /// What the operator tells everybody; empty if that is nothing.
    pub notice: &'a str,
}

impl Presence<'_> {
    /// Appends the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use wschat::chat::Presence;
    /// let mut text = Vec::new();
    /// Presence { listeners: 12, slow_secs: 10, title: "Kino", ..Default::default() }.write(&mut text);
    /// assert_eq!(
    ///     String::from_utf8(text).unwrap(),
    ///     r#"{"usr":"wschat","msg":"12 listeners; slow mode: 10 s between two messages","room":{"listeners":12,"locked":false,"slow":10,"token":false,"title":"Kino"}}"#
    /// );
    /// ```
    pub fn write(&self, out: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        let _ = self.try_write(out);
    }

    fn try_write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Self { listeners, is_locked, slow_secs, needs_token, title, notice } = *self;
        let plural = if listeners == 1 { "" } else { "s" };
        write!(out, r#"{{"usr":"{SERVER_NAME}","msg":"{listeners} listener{plural}"#)?;
        if is_locked {
            write!(out, "; only moderators can send messages")?;
        } else if needs_token {
            write!(out, "; a token is needed to send messages")?;
        }
        if !is_locked && slow_secs > 0 {
            write!(out, "; slow mode: {slow_secs} s between two messages")?;
        }
        write!(out, r#"","room":{{"listeners":{listeners},"locked":{is_locked}"#)?;
        write!(out, r#","slow":{slow_secs},"token":{needs_token}"#)?;
        for (name, value) in [("title", title), ("notice", notice)] {
            if !value.is_empty() {
                write!(out, ",\"{name}\":")?;
                serde_json::to_writer(&mut *out, value)?;
            }
        }
        write!(out, "}}}}")
    }
}

/// Whether a text of the feed is the state of the room. Every other text ends with its `tim`.
pub fn is_presence(text: &[u8]) -> bool {
    text.ends_with(b"}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Tim, announcement, gap_notice, stamp};
    use serde_json::{Value, json};

    fn text(state: Presence<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        state.write(&mut text);
        text
    }

    #[test]
    fn the_text_says_the_same_in_words_and_in_fields() {
        let state = Presence { listeners: 2, ..Presence::default() };
        for (state, msg, room) in [
            (
                Presence::default(),
                "0 listeners",
                json!({ "listeners": 0, "locked": false, "slow": 0, "token": false }),
            ),
            (
                Presence { listeners: 1, needs_token: true, ..state },
                "1 listener; a token is needed to send messages",
                json!({ "listeners": 1, "locked": false, "slow": 0, "token": true }),
            ),
            (
                Presence { slow_secs: 86_400, needs_token: true, ..state },
                "2 listeners; a token is needed to send messages; slow mode: 86400 s between two \
                 messages",
                json!({ "listeners": 2, "locked": false, "slow": 86_400, "token": true }),
            ),
            (
                Presence { is_locked: true, slow_secs: 10, needs_token: true, ..state },
                "2 listeners; only moderators can send messages",
                json!({ "listeners": 2, "locked": true, "slow": 10, "token": true }),
            ),
            (
                Presence { title: "\"}}\\ä\u{7}", notice: "a\nb", ..state },
                "2 listeners",
                json!({
                    "listeners": 2, "locked": false, "slow": 0, "token": false,
                    "title": "\"}}\\ä\u{7}", "notice": "a\nb",
                }),
            ),
        ] {
            let text = text(state);
            let value: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(value, json!({ "usr": "wschat", "msg": msg, "room": room }));
            assert!(is_presence(&text));
            assert!(!text.contains(&b'\n'), "a line of an event stream");
        }
    }

    #[test]
    fn no_message_is_the_state_of_the_room() {
        let mut texts = vec![Vec::new(), br#"{"usr":"a","msg":"b","room":{}}"#.to_vec()];
        announcement("a }}", &mut texts[0]);
        texts[1].pop();
        texts[1].extend_from_slice(br#","tim":"2020-08-11T22:26:58.118678679Z"}"#);
        stamp(&mut texts[0], Tim::from_nanos(7));
        let mut notice = Vec::new();
        gap_notice(None, None, Tim::default(), &mut notice);
        texts.push(notice);
        for text in texts {
            assert!(!is_presence(&text), "{}", String::from_utf8_lossy(&text));
        }
    }
}
