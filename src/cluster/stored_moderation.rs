//! What lasts of the moderation of a room on several machines, as it lies in the key-value
//! bucket for nodes that start. Its JSON is
//! `{"version":1,"created":…,"sequence":…,"moderation":{…}}`.

use serde::{Deserialize, Serialize};

use crate::chat::Moderation;
use crate::feed::Position;

/// The version of the JSON.
const VERSION: u32 = 1;
/// The longest JSON. A message of NATS has at most 1 MiB by default; this leaves room for the
/// header, and for the acts that are on their way while the length is checked.
pub const STORED_BYTES_MAX: usize = 768 * 1024;

/// The mutes, the lock and slow mode after all records up to a place.
///
/// # Examples
///
/// ```
/// use wschat::chat::Moderation;
/// use wschat::cluster::StoredModeration;
/// use wschat::feed::Position;
/// let stored = StoredModeration {
///     position: Position { created: 7, sequence: 100 },
///     moderation: Moderation::default(),
/// };
/// assert!(stored.includes(Position { created: 7, sequence: 100 }));
/// assert!(!stored.includes(Position { created: 7, sequence: 101 }));
/// assert_eq!(StoredModeration::parse(&stored.to_json()).unwrap(), stored);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredModeration {
    /// The place of the last record that it includes. For the moderation of a room that was on
    /// one machine, `created` is 0, and all records of the stream come after it.
    pub position: Position,
    /// What is in force.
    pub moderation: Moderation,
}

/// Why stored moderation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredModerationError {
    /// It is not the JSON of a [`StoredModeration`].
    #[error("it is not valid: {0}")]
    Invalid(#[from] serde_json::Error),
    /// A later version of this program has written it.
    #[error("it has version {0}, which this version of wschat cannot read")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Json<M> {
    version: u32,
    #[serde(flatten)]
    position: Position,
    moderation: M,
}

impl StoredModeration {
    /// Whether it includes the record at `position`. A stream that was made anew has other
    /// records, and it includes none of them.
    pub fn includes(&self, position: Position) -> bool {
        self.position.created == position.created && position.sequence <= self.position.sequence
    }

    /// Its JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let Self { position, moderation } = self;
        // A map with keys that are no strings could not be written; there is none.
        serde_json::to_vec(&Json { version: VERSION, position: *position, moderation })
            .unwrap_or_default()
    }

    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn parse(json: &[u8]) -> Result<Self, StoredModerationError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(json)?;
        if version != VERSION {
            return Err(StoredModerationError::Version(version));
        }
        let Json { position, moderation, .. } = serde_json::from_slice(json)?;
        Ok(Self { position, moderation })
    }
}

/// Whether the JSON of `moderation` is short enough for a bucket whose messages may have
/// `max_payload` bytes.
pub fn can_be_stored(moderation: &Moderation, max_payload: usize) -> bool {
    let stored = StoredModeration { position: Position::default(), moderation: moderation.clone() };
    stored.to_json().len() <= STORED_BYTES_MAX.min(max_payload / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Mute, Target};

    fn muted(count: usize) -> Moderation {
        let mute = |n: usize| {
            let target = Target::name(&format!("\u{1}{n}"));
            Mute { target, since_secs: 1_700_000_000, until_secs: None, by: "uid 0".to_owned() }
        };
        let mutes: Vec<_> = (0..count).map(mute).collect();
        let json = serde_json::json!({ "locked": false, "slow_secs": null, "mutes": mutes });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_json() {
        let position = Position { created: u64::MAX, sequence: 7 };
        let stored = StoredModeration { position, moderation: Moderation::default() };
        let json = br#"{"version":1,"created":18446744073709551615,"sequence":7,"moderation":{"locked":false,"slow_secs":null,"mutes":[]}}"#;
        assert_eq!(stored.to_json(), json);
        assert_eq!(StoredModeration::parse(json).unwrap(), stored);
        let stored = StoredModeration { position, moderation: muted(3) };
        assert_eq!(StoredModeration::parse(&stored.to_json()).unwrap(), stored);
    }

    #[test]
    fn invalid_json() {
        let error = |json: &str| StoredModeration::parse(json.as_bytes()).unwrap_err();
        for json in [
            "",
            "null",
            "{}",
            r#"{"version":1}"#,
            r#"{"version":-1}"#,
            r#"{"version":1,"created":1,"sequence":1}"#,
            r#"{"version":1,"created":1,"sequence":1,"moderation":{}}"#,
            r#"{"version":1,"created":-1,"sequence":1,"moderation":{"locked":true,"slow_secs":null,"mutes":[]}}"#,
        ] {
            assert!(matches!(error(json), StoredModerationError::Invalid(_)), "{json}");
        }
        let later = error(r#"{"version":2,"state":"other"}"#);
        assert!(matches!(later, StoredModerationError::Version(2)), "{later}");
    }

    #[test]
    fn what_it_includes() {
        let at = |created, sequence| Position { created, sequence };
        let stored = StoredModeration { position: at(5, 10), ..StoredModeration::default() };
        for (position, want) in [
            (at(5, 1), true),
            (at(5, 10), true),
            (at(5, 11), false),
            (at(6, 1), false),
            (at(4, 1), false),
        ] {
            assert_eq!(stored.includes(position), want, "{position:?}");
        }
        assert!(!StoredModeration::default().includes(at(5, 1)), "that of a single room");
    }

    #[test]
    fn what_can_be_stored() {
        let default = 1024 * 1024;
        assert!(can_be_stored(&muted(100), default));
        assert!(!can_be_stored(&muted(100), 1000));
        assert!(!can_be_stored(&muted(9_999), default));
        assert!(!can_be_stored(&muted(9_999), 64 * default));
    }
}
