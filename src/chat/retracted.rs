//! Which messages a retraction is about.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::message::usr_of;
use super::name::{SERVER_NAME, skeletons};
use super::tim::Tim;

/// The most messages that one announcement retracts: its text is about as long as the longest
/// message that many clients accept.
pub const TIMS_MAX: usize = 1_000;

/// The messages that every client is asked to hide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retracted {
    /// The message with this `tim`.
    Tim(Tim),
    /// All messages of this name, and of names that look like it, that the room has in memory.
    /// The room looks for them and then does [`Found`](Self::Found).
    Name(String),
    /// Messages that were found. In a room on several machines all of them retract the same ones.
    #[serde(rename = "found")]
    Found {
        /// The name that was looked for.
        name: String,
        /// The `tim` of each message.
        tims: Vec<Tim>,
    },
}

impl Retracted {
    /// Reads the value of `retract` in the field `cmd`: a `tim`, or an object with a `name`.
    pub(super) fn from_command<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Command {
            Tim(Tim),
            Name(ByName),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ByName {
            name: String,
        }
        Ok(match Command::deserialize(json)? {
            Command::Tim(tim) => Self::Tim(tim),
            Command::Name(ByName { name }) => Self::Name(name),
        })
    }

    /// The name, if there is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Tim(_) => None,
            Self::Name(name) | Self::Found { name, .. } => Some(name),
        }
    }

    /// The `tim` of each message, as far as they are known.
    pub fn tims(&self) -> &[Tim] {
        match self {
            Self::Tim(tim) => std::slice::from_ref(tim),
            Self::Name(_) => &[],
            Self::Found { tims, .. } => tims,
        }
    }
}

/// The messages in a log. Text from a client is escaped.
impl fmt::Display for Retracted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tim(tim) => tim.fmt(out),
            Self::Name(name) | Self::Found { name, .. } => write!(out, "all of {name:?}"),
        }
    }
}

/// The `tim` of each message among `texts` whose `usr` is `name` or looks like it, oldest first.
/// Those that were retracted already are left out, and what the server itself says of messages.
///
/// `texts` are encoded messages in the order of the room.
pub fn messages_of<'a>(name: &str, texts: impl Iterator<Item = &'a [u8]>) -> Vec<Tim> {
    let wanted = skeletons(name);
    let is_alike = |usr: &str| skeletons(usr).iter().any(|it| wanted.contains(it));
    // Few people say much: the skeleton of each name is made once.
    let mut known: HashMap<String, bool> = HashMap::new();
    let (mut found, mut retracted) = (Vec::new(), HashSet::new());
    for text in texts {
        let Some(text) = std::str::from_utf8(text).ok() else { continue };
        let (Some(usr), Some(tim)) = (usr_of(text), Tim::stamped(text.as_bytes())) else {
            continue;
        };
        if usr == SERVER_NAME
            && let Some(about) = ServerText::read(text)
        {
            retracted.extend(about.retract.into_iter().chain(about.also));
            continue;
        }
        let is_wanted = match known.get(&*usr) {
            Some(is_wanted) => *is_wanted,
            None => {
                let is_wanted = is_alike(&usr);
                if known.len() < KNOWN_MAX {
                    known.insert(usr.into_owned(), is_wanted);
                }
                is_wanted
            }
        };
        if is_wanted {
            found.push(tim);
        }
    }
    found.retain(|tim| !retracted.contains(tim));
    found
}

/// The names whose skeletons are remembered during a search.
const KNOWN_MAX: usize = 10_000;

/// What the server says of messages, and not to people.
#[derive(Deserialize)]
struct ServerText {
    retract: Option<Tim>,
    #[serde(default)]
    also: Vec<Tim>,
    err: Option<String>,
}

impl ServerText {
    /// Reads a message of the server. `None` if it is one to people.
    fn read(text: &str) -> Option<Self> {
        let text: Self = serde_json::from_str(text).ok()?;
        (text.retract.is_some() || text.err.is_some()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ModAction;
    use crate::chat::{announced, gap_notice, stamp};

    fn text(usr: &str, tim: u64) -> Vec<u8> {
        let usr = serde_json::to_string(usr).unwrap();
        let tim = Tim::from_nanos(tim);
        format!(r#"{{"x":1e999,"usr":{usr},"msg":"hi","\ud800":[{{}}],"tim":"{tim}"}}"#)
            .into_bytes()
    }

    fn retraction(tims: &[u64], tim: u64) -> Vec<u8> {
        let tims = tims.iter().map(|tim| Tim::from_nanos(*tim)).collect();
        let found = Retracted::Found { name: "bob".into(), tims };
        let mut text = announced(&ModAction::Retract(found)).unwrap();
        stamp(&mut text, Tim::from_nanos(tim));
        text
    }

    fn found(name: &str, texts: &[Vec<u8>]) -> Vec<u64> {
        messages_of(name, texts.iter().map(|text| &text[..])).into_iter().map(Tim::nanos).collect()
    }

    #[test]
    fn messages_of_a_name_and_of_those_that_look_like_it() {
        let texts = [
            text("bob", 1),
            text("ann", 2),
            text("B\u{43e}b \u{200b}", 3),
            text("bobby", 4),
            text("b\"ob", 5),
            text("b\nob", 6),
        ];
        assert_eq!(found("bob", &texts), [1, 3, 6]);
        assert_eq!(found(" BOB", &texts), [1, 3, 6]);
        assert_eq!(found("eve", &texts), [0; 0]);
        assert_eq!(found("\u{200b}", &texts), [0; 0], "nobody has an invisible name");
    }

    #[test]
    fn what_is_retracted_already_is_left_out() {
        let mut texts = vec![text("bob", 1), text("bob", 2), text("bob", 3)];
        texts.push(retraction(&[2], 4));
        assert_eq!(found("bob", &texts), [1, 3]);
        texts.push(retraction(&[1, 3], 5));
        assert_eq!(found("bob", &texts), [0; 0]);
        texts.push(text("bob", 6));
        // A client that only claims it.
        texts.push(text("wschat2", 7));
        assert_eq!(found("bob", &texts), [6]);
    }

    #[test]
    fn of_the_server_only_what_it_says_to_people() {
        let mut said = announced(&ModAction::Say { text: "hi".into() }).unwrap();
        stamp(&mut said, Tim::from_nanos(1));
        let mut gap = Vec::new();
        gap_notice(None, None, Tim::from_nanos(2), &mut gap);
        assert_eq!(found("wschat", &[said, gap, retraction(&[7], 3)]), [1]);
    }
}
