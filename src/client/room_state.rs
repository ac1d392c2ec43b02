//! What the server tells of the room, as the client shows it.

use serde::Deserialize;

use super::sanitize::sanitize_text;

/// The field `room` of a message from the server. What is missing counts as not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoomState {
    /// How many listen.
    listeners: Option<u64>,
    /// Whether only moderators can send messages.
    locked: bool,
    /// Seconds between two messages of a sender.
    slow: u64,
    /// Whether a token is needed to send messages.
    token: bool,
    title: String,
    notice: String,
}

impl RoomState {
    /// The state in a few words, for somebody who has a token or not.
    pub fn words(&self, has_token: bool) -> Vec<String> {
        let slow = (self.slow > 0).then(|| format!("slow: {} s", self.slow));
        let words = [
            self.listeners.map(|listeners| format!("{listeners} here")),
            self.locked.then(|| "locked".to_owned()),
            slow,
            (self.token && !has_token).then(|| "token needed".to_owned()),
        ];
        words.into_iter().flatten().collect()
    }

    /// The title and the notice, sanitized; empty if there is none.
    pub fn announcement(&self) -> String {
        let texts = [&self.title, &self.notice].into_iter().filter(|text| !text.is_empty());
        texts.map(|text| sanitize_text(text)).collect::<Vec<_>>().join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_shown() {
        for (json, has_token, words, announcement) in [
            ("{}", false, "", ""),
            (r#"{"listeners":12,"other":[1]}"#, false, "12 here", ""),
            (
                r#"{"listeners":1,"locked":true,"slow":10,"token":true,"title":"Kino"}"#,
                false,
                "1 here, locked, slow: 10 s, token needed",
                "Kino",
            ),
            (r#"{"token":true,"notice":"a\u001bb"}"#, true, "", "a␛b"),
            (r#"{"title":"Kino","notice":"be kind"}"#, true, "", "Kino: be kind"),
        ] {
            let state: RoomState = serde_json::from_str(json).unwrap();
            assert_eq!(state.words(has_token).join(", "), words, "{json}");
            assert_eq!(state.announcement(), announcement, "{json}");
        }
    }
}
