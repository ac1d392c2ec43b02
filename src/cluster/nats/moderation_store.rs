//! What lasts of the moderation, in the key-value bucket of the room: for nodes that start, and
//! for nodes that could not read an action in the log.
//!
//! A bucket is a stream whose subjects are its keys; it is used as a stream, because only the
//! leader of the stream is sure to have what was written last.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType};
use tokio::time::timeout;
use tracing::error;

use crate::chat::Moderation;
use crate::cluster::names::StreamName;
use crate::cluster::stored_moderation::{StoredModeration, StoredModerationError};

/// The key.
const KEY: &str = "state";
/// Older values that the bucket keeps of a key: the most that NATS allows. A node that starts
/// needs the one that was in force where it begins to read.
const HISTORY: u16 = 64;
/// Older values that are read have at most this many bytes together.
const HISTORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a write is tried while others write too.
const TRIES_MAX: u32 = 32;

/// The bucket of a room.
#[derive(Clone, Debug)]
pub struct ModerationStore {
    context: Context,
    room: StreamName,
}

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no bucket.
    #[error("the key-value bucket {0} is missing; create it with wschat cluster init")]
    Missing(String),
    /// The value cannot be read. A node that runs replaces it, unless it is of a later version.
    #[error("the value of the key {KEY} in the key-value bucket {0} cannot be read: {1}; {todo}",
        todo = repair(.0, .1))]
    Invalid(String, #[source] StoredModerationError),
    /// The value is too long for a message.
    #[error("mutes and other decisions are too long for the key-value bucket: {0} bytes")]
    TooLong(usize),
    /// The servers do not answer, or refuse.
    #[error("the key-value bucket {0} does not answer: {1}")]
    Engine(String, String),
    /// The actions in the stream cannot be read.
    #[error("the moderation actions in the stream {0} cannot be read: {1}")]
    Stream(String, String),
}

/// The values of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The values of now and before, as far as they are kept, oldest first.
    pub values: Vec<StoredModeration>,
    /// Whether there was no other value before.
    pub is_whole: bool,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The value is stored.
    Stored,
    /// A value that counts up to the same record, or to a later one, was stored already.
    Kept(StoredModeration),
}

/// What to do about a value that cannot be read.
fn repair(bucket: &str, error: &StoredModerationError) -> String {
    match error {
        StoredModerationError::Version(_) => "install that version of wschat here, too".to_owned(),
        StoredModerationError::Invalid(_) => {
            format!("if no other node repairs it, delete it with: nats kv del {bucket} {KEY}")
        }
    }
}

/// What there was at a revision.
#[derive(PartialEq, Eq)]
enum Old {
    Value(StoredModeration),
    /// It is forgotten, or the value was deleted.
    Gone,
    /// The value of another key, or rubbish, which was replaced.
    Other,
}

/// A value of the key; its revision is 0 if there was none.
struct Entry {
    revision: u64,
    value: Option<Result<StoredModeration, StoredModerationError>>,
}

impl ModerationStore {
    /// The bucket of `room`; [`Self::read`] tells whether it is there.
    pub const fn new(context: Context, room: StreamName) -> Self {
        Self { context, room }
    }

    /// Creates the bucket. One that is there stays as it is, unless `update` is true: then only
    /// the number of replicas changes.
    ///
    /// # Errors
    ///
    /// The servers do not answer, or refuse.
    pub async fn create(
        &self,
        replicas: usize,
        storage: StorageType,
        update: bool,
    ) -> Result<(), StoreError> {
        let config = self.config(replicas, storage);
        let created = self.context.get_or_create_stream(config.clone()).await;
        let created = created.map_err(|error| self.engine(error))?;
        let info = created.cached_info();
        if update && info.config.num_replicas != replicas {
            let config = Config { num_replicas: replicas, ..info.config.clone() };
            self.context.update_stream(config).await.map_err(|error| self.engine(error))?;
        }
        Ok(())
    }

    /// Stores the moderation of a room that was on one machine until now, if the bucket has no
    /// value. Returns whether it was stored.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub async fn copy(&self, moderation: Moderation) -> Result<bool, StoreError> {
        let entry = self.entry().await?;
        if entry.value.is_some() {
            return Ok(false);
        }
        let value = StoredModeration { moderation, ..StoredModeration::default() };
        self.replace(&value, entry.revision).await
    }

    /// The newest value; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub async fn read(&self) -> Result<Option<StoredModeration>, StoreError> {
        self.entry().await?.value.transpose().map_err(|error| self.invalid(error))
    }

    /// The values of now and before: a node that begins to read in the middle of the log needs the
    /// one that was in force there. The first one for which `is_enough` is the oldest.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub async fn history(
        &self,
        is_enough: impl Fn(&StoredModeration) -> bool,
    ) -> Result<History, StoreError> {
        let Entry { revision, value } = self.entry().await?;
        let mut is_whole = value.is_some() || revision == 0;
        let mut values: Vec<_> =
            value.transpose().map_err(|error| self.invalid(error))?.into_iter().collect();
        let mut bytes = 0;
        for revision in (1..revision).rev() {
            if values.last().is_some_and(&is_enough) {
                is_whole = false;
                break;
            }
            let old = self.old_value(revision).await?;
            is_whole &= old != Old::Gone;
            let Old::Value(value) = old else { continue };
            bytes += value.to_json().len();
            if bytes > HISTORY_BYTES_MAX || values.len() >= usize::from(HISTORY) {
                is_whole = false;
                break;
            }
            values.push(value);
        }
        values.reverse();
        Ok(History { values, is_whole })
    }

    /// Stores `value`, unless a value that counts up to the same record or to a later one is
    /// there. A value that is not valid is replaced, and so is one of a stream that is gone.
    ///
    /// # Errors
    ///
    /// The bucket cannot be used. `value` is perhaps stored.
    pub async fn write(&self, value: &StoredModeration) -> Result<Written, StoreError> {
        for _ in 0..TRIES_MAX {
            let entry = self.entry().await?;
            match entry.value {
                Some(Ok(stored)) if !self.is_newer(value, &stored).await? => {
                    return Ok(Written::Kept(stored));
                }
                Some(Err(error @ StoredModerationError::Version(_))) => {
                    return Err(self.invalid(error));
                }
                Some(Err(error)) => {
                    let bucket = self.room.bucket();
                    error!(%error, "replacing moderation in the key-value bucket {bucket}: {error}");
                }
                _ => {}
            }
            if self.replace(value, entry.revision).await? {
                return Ok(Written::Stored);
            }
        }
        Err(self.engine("too many nodes write at the same time"))
    }

    /// Whether `value` counts up to a later record than `stored`.
    async fn is_newer(
        &self,
        value: &StoredModeration,
        stored: &StoredModeration,
    ) -> Result<bool, StoreError> {
        let (ours, theirs) = (value.position, stored.position);
        let is_same = ours.created == theirs.created;
        if is_same && ours.sequence >= theirs.sequence {
            return Ok(ours.sequence > theirs.sequence);
        }
        // That of a room on one machine is older than every stream.
        if !is_same && (theirs.created == 0 || ours.created == 0) {
            return Ok(theirs.created == 0);
        }
        // One of them is from a stream that was made anew, whose clock may have gone back; or the
        // stream has lost the record up to which the stored one counts, and uses its number again.
        let stream = self.context.get_stream(self.room.as_str());
        let stream = stream.await.map_err(|error| self.engine(error))?;
        let info = stream.cached_info();
        let is_of_stream = info.created.unix_timestamp_nanos() == i128::from(ours.created);
        Ok(is_of_stream && (!is_same || theirs.sequence > info.state.last_sequence))
    }

    /// Stores `value` if the revision is still `revision`; returns whether it was.
    async fn replace(&self, value: &StoredModeration, revision: u64) -> Result<bool, StoreError> {
        let json = value.to_json();
        let bytes = json.len();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        let sent = self.context.publish_with_headers(self.subject(), headers, json.into());
        let stored = timeout(REQUEST_TIMEOUT, async { sent.await?.await });
        match stored.await.map_err(|_| self.engine("no answer in time"))? {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Ok(false),
                PublishErrorKind::StreamNotFound => Err(StoreError::Missing(self.room.bucket())),
                PublishErrorKind::MaxPayloadExceeded => Err(StoreError::TooLong(bytes)),
                _ => Err(self.engine(error)),
            },
        }
    }

    /// The value of now.
    async fn entry(&self) -> Result<Entry, StoreError> {
        let stream = self.context.get_stream_no_info(self.stream()).await;
        let stream = stream.map_err(|error| self.engine(error))?;
        let subject = self.subject();
        let read = timeout(REQUEST_TIMEOUT, stream.get_last_raw_message_by_subject(&subject));
        match read.await.map_err(|_| self.engine("no answer in time"))? {
            Ok(message) => Ok(Entry { revision: message.sequence, value: value(&message) }),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Entry { revision: 0, value: None }),
                LastRawMessageErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Err(StoreError::Missing(self.room.bucket()))
                }
                _ => Err(self.engine(error)),
            },
        }
    }

    /// What there was at a revision.
    async fn old_value(&self, revision: u64) -> Result<Old, StoreError> {
        let stream = self.context.get_stream_no_info(self.stream()).await;
        let stream = stream.map_err(|error| self.engine(error))?;
        let read = timeout(REQUEST_TIMEOUT, stream.get_raw_message(revision));
        match read.await.map_err(|_| self.engine("no answer in time"))? {
            Ok(message) if *message.subject == *self.subject() => Ok(match value(&message) {
                Some(Ok(value)) => Old::Value(value),
                Some(Err(_)) => Old::Other,
                None => Old::Gone,
            }),
            Ok(_) => Ok(Old::Other),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(Old::Gone),
            Err(error) => Err(self.engine(error)),
        }
    }

    /// The stream in which NATS stores the bucket.
    fn stream(&self) -> String {
        format!("KV_{}", self.room.bucket())
    }

    fn subject(&self) -> String {
        format!("$KV.{}.{KEY}", self.room.bucket())
    }

    /// A stream that the tools of NATS take for a bucket.
    fn config(&self, replicas: usize, storage: StorageType) -> Config {
        Config {
            name: self.stream(),
            description: Some(format!(
                "mutes, lock and slow mode of the wschat room {}",
                self.room
            )),
            subjects: vec![format!("$KV.{}.>", self.room.bucket())],
            max_messages_per_subject: HISTORY.into(),
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: replicas,
            storage,
            ..Config::default()
        }
    }

    fn engine(&self, why: impl ToString) -> StoreError {
        StoreError::Engine(self.room.bucket(), why.to_string())
    }

    fn invalid(&self, error: StoredModerationError) -> StoreError {
        StoreError::Invalid(self.room.bucket(), error)
    }
}

/// The value of a message; `None` for the mark of a deletion, which is empty.
fn value(message: &StreamMessage) -> Option<Result<StoredModeration, StoredModerationError>> {
    (!message.payload.is_empty()).then(|| StoredModeration::parse(&message.payload))
}
