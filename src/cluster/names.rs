//! The names in a cluster.

use std::fmt;
use std::str::FromStr;

/// The most characters of a name. NATS advises against longer names of streams, and a host name
/// of Linux is no longer.
const CHARS_MAX: usize = 64;

/// The name of the stream of a room. All names that the room uses in NATS derive from it, so
/// that two rooms share nothing.
///
/// # Examples
///
/// ```
/// use wschat::cluster::StreamName;
/// let stream: StreamName = "lobby".parse().unwrap();
/// assert_eq!(stream.bucket(), "lobby_moderation");
/// assert!("lobby.de".parse::<StreamName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName(String);

impl StreamName {
    /// The name, which is the only subject of the stream, too.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key-value bucket with what lasts of the moderation.
    pub fn bucket(&self) -> String {
        format!("{}_moderation", self.0)
    }

    /// The subject on which nodes tell each other how many listeners they have.
    pub fn presence_subject(&self) -> String {
        format!("{}.presence", self.0)
    }

    /// The subject on which nodes tell each other how many connections a kick has met.
    pub fn kick_subject(&self) -> String {
        format!("{}.kick", self.0)
    }
}

impl Default for StreamName {
    fn default() -> Self {
        Self("wschat".into())
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        // NATS stores a bucket as a stream with a name that starts so.
        let is_good = is_name(text, b"-_") && !text.starts_with("KV_");
        is_good.then(|| Self(text.into())).ok_or(StreamNameError)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The text is not a [`StreamName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a stream, which is 1 to 64 letters, digits, - and _, starts with a letter or \
     a digit, and does not start with KV_"
)]
pub struct StreamNameError;

/// The name of a node.
///
/// # Examples
///
/// ```
/// use wschat::cluster::NodeName;
/// assert!("web1.example".parse::<NodeName>().is_ok());
/// assert!("web 1".parse::<NodeName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        is_name(text, b"-_.").then(|| Self(text.into())).ok_or(NodeNameError)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The text is not a [`NodeName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a node, which is 1 to 64 letters, digits, -, _ and ., and starts with a \
     letter or a digit"
)]
pub struct NodeNameError;

/// Whether `text` has only ASCII letters, digits and `signs`, and none of these at its start.
fn is_name(text: &str, signs: &[u8]) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
    text.len() <= CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let (max, long) = ("x".repeat(64), "x".repeat(65));
        for (text, is_stream, is_node) in [
            ("wschat", true, true),
            ("Room_1-b", true, true),
            ("1", true, true),
            (&max, true, true),
            ("web1.example", false, true),
            ("KV_room", false, true),
            ("kv_room", true, true),
            ("", false, false),
            (&long, false, false),
            ("-room", false, false),
            ("_INBOX", false, false),
            (".room", false, false),
            ("$JS", false, false),
            ("a.*", false, false),
            ("a>", false, false),
            ("a b", false, false),
            ("a\r\nb", false, false),
            ("a/b", false, false),
            ("raum\u{e4}", false, false),
        ] {
            assert_eq!(text.parse::<StreamName>().is_ok(), is_stream, "{text:?}");
            assert_eq!(text.parse::<NodeName>().is_ok(), is_node, "{text:?}");
        }
    }

    #[test]
    fn names_that_derive_from_the_stream() {
        let stream = StreamName::default();
        assert_eq!(stream.as_str(), "wschat");
        assert_eq!(stream.bucket(), "wschat_moderation");
        assert_eq!(stream.presence_subject(), "wschat.presence");
        assert_eq!(stream.kick_subject(), "wschat.kick");
    }
}
