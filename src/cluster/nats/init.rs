//! `wschat cluster init`: creates the stream and the key-value bucket of a room.

use async_nats::Client;
use async_nats::jetstream::{self, stream::StorageType};
use serde_json::{Value, json};

use super::super::options::EngineOptions;
use super::api::{ApiError, STREAM_NOT_FOUND, StreamInfo, request};
use super::connect::Link;
use super::moderation_store::ModerationStore;
use super::stream::{Difference, differences, stream_bytes_min};
use super::verify::verify_server;
use crate::chat::Moderation;

/// What is to be created.
#[derive(Clone, Copy, Debug)]
pub struct InitOptions {
    /// How many servers keep the stream; `None` for 3 if it is created, and for what
    /// there is otherwise.
    pub replicas: Option<u64>,
    /// Whether it is kept in memory only.
    pub is_memory: bool,
    /// How many bytes the stream holds; `None` for 256 MiB, or what the room needs if it
    /// is more.
    pub max_bytes: Option<u64>,
    /// Whether to change what is there.
    pub is_update: bool,
}

/// The error code of an answer: too few servers can keep the stream.
const NO_PEERS: u64 = 10005;

/// The error code of an answer: a single server cannot keep several copies.
const NOT_CLUSTERED: u64 = 10074;

/// How many servers keep a stream if nothing else is requested.
pub const REPLICAS: u64 = 3;

/// The bytes that a stream holds if nothing else is requested.
pub const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What became of the stream and of the bucket.
#[derive(Debug)]
pub struct InitReport {
    /// Their names, and what became of them.
    pub parts: [(String, InitOutcome); 2],
    /// Whether the moderation was copied into the bucket.
    pub is_copied: bool,
}

/// What became of a stream or of a bucket. The texts say how it differs from what was requested.
#[derive(Debug, PartialEq, Eq)]
pub enum InitOutcome {
    /// It was missing and is there now.
    Created,
    /// It was there and was not changed.
    Unchanged(Vec<String>),
    /// It was there and was changed in these ways.
    Updated(Vec<String>),
}

/// Creates the stream and the bucket of a room, or changes them if that is requested. A bucket
/// that has no value gets `moderation`, that of a room that was on one machine.
///
/// # Errors
///
/// Why it cannot be done, in words.
pub async fn init(
    options: &EngineOptions,
    init: InitOptions,
    moderation: Option<Moderation>,
) -> Result<InitReport, String> {
    let least = stream_bytes_min(options);
    if init.max_bytes.is_some_and(|bytes| bytes < least) {
        return Err(format!("max-bytes must be at least {least}, 4 x limits.feed_tail_bytes"));
    }
    let link = connect_to_any(options).await?;
    verify_server(&link, options)?;
    let (name, bucket) = (options.stream.to_string(), options.stream.bucket());
    let stream = init_stream(&link.client, options, init).await;
    // A request that is not permitted has no answer.
    let reported = || link.last_error().map(|why| format!("; the server reports: {why}"));
    let explain = |error| format!("{error}{}", reported().unwrap_or_default());
    let stream =
        stream.map_err(|error| explain(format!("the stream {name}: {error}{}", advice(&error))))?;
    let store = ModerationStore::new(jetstream::new(link.client.clone()), options.stream.clone());
    let kept = init_bucket(&link.client, &store, options, init).await;
    let kept = kept.map_err(|error| explain(format!("the key-value bucket {bucket}: {error}")))?;
    let is_copied = match moderation {
        Some(moderation) => store.copy(moderation).await.map_err(|error| error.to_string())?,
        None => false,
    };
    Ok(InitReport { parts: [(name, stream), (bucket, kept)], is_copied })
}

/// What to do about an error at creating a stream.
const fn advice(error: &ApiError) -> &'static str {
    match error {
        ApiError::Refused { err_code: NO_PEERS, .. } => {
            "; fewer servers are there, or count each other, than --replicas needs: see wschat(8)"
        }
        ApiError::Refused { err_code: NOT_CLUSTERED, .. } => {
            "; the servers do not form a cluster: --replicas 1 is for a single one"
        }
        _ => "",
    }
}

async fn connect_to_any(options: &EngineOptions) -> Result<Link, String> {
    let mut why = "no server is configured".to_owned();
    for server in &options.servers {
        match Link::connect(options, server).await {
            Ok(link) => return Ok(link),
            Err(reason) => why = reason.to_string(),
        }
    }
    Err(why)
}

async fn init_stream(
    client: &Client,
    options: &EngineOptions,
    init: InitOptions,
) -> Result<InitOutcome, ApiError> {
    let name = options.stream.as_str();
    let Some(info) = existing(client, name).await? else {
        let max_bytes = init.max_bytes.unwrap_or(MAX_BYTES.max(stream_bytes_min(options)));
        let config = json!({
            "name": name, "subjects": [name], "description": "A room of wschat",
            "retention": "limits", "discard": "old", "max_bytes": max_bytes, "max_msgs": -1,
            "max_msgs_per_subject": -1, "max_age": 0, "max_msg_size": -1, "max_consumers": -1,
            "storage": storage(init), "num_replicas": init.replicas.unwrap_or(REPLICAS), "deny_delete": true,
        });
        return create(client, name, &config).await;
    };
    let mut found = differences(&info.config, options);
    if let Some(bytes) = init.max_bytes {
        found.retain(|difference| difference.mend.0 != "max_bytes");
        found.extend(requested(&info.config, "max_bytes", json!(bytes)));
    }
    change(client, name, info.config, found, init).await
}

async fn init_bucket(
    client: &Client,
    store: &ModerationStore,
    options: &EngineOptions,
    init: InitOptions,
) -> Result<InitOutcome, String> {
    let name = format!("KV_{}", options.stream.bucket());
    let found = existing(client, &name).await.map_err(|error| error.to_string())?;
    let (outcome, replicas) = match &found {
        None => (InitOutcome::Created, init.replicas.unwrap_or(REPLICAS)),
        Some(info) => {
            let texts = requests(&info.config, init).map(|difference| difference.text).collect();
            let is = info.config.get("num_replicas").and_then(Value::as_u64);
            let outcome = match init.is_update && init.replicas.is_some_and(|new| is != Some(new)) {
                true => InitOutcome::Updated(texts),
                false => InitOutcome::Unchanged(texts),
            };
            (outcome, init.replicas.or(is).unwrap_or(REPLICAS))
        }
    };
    let storage = if init.is_memory { StorageType::Memory } else { StorageType::File };
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    let created = store.create(replicas, storage, init.is_update).await;
    created.map_err(|error| error.to_string())?;
    Ok(outcome)
}

async fn existing(client: &Client, name: &str) -> Result<Option<StreamInfo>, ApiError> {
    match StreamInfo::get(client, name).await {
        Ok(info) => Ok(Some(info)),
        Err(ApiError::Refused { err_code: STREAM_NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn create(client: &Client, name: &str, config: &Value) -> Result<InitOutcome, ApiError> {
    request::<StreamInfo>(client, &format!("STREAM.CREATE.{name}"), Some(config)).await?;
    Ok(InitOutcome::Created)
}

/// Changes what differs from the request, if that was requested too.
async fn change(
    client: &Client,
    name: &str,
    mut config: Value,
    mut found: Vec<Difference>,
    init: InitOptions,
) -> Result<InitOutcome, ApiError> {
    found.extend(requests(&config, init));
    let texts = found.iter().map(|difference| difference.text.clone()).collect();
    if !init.is_update || found.is_empty() {
        return Ok(InitOutcome::Unchanged(texts));
    }
    for Difference { mend: (field, value), .. } in found {
        if let Some(config) = config.as_object_mut() {
            config.insert(field.to_owned(), value);
        }
    }
    request::<StreamInfo>(client, &format!("STREAM.UPDATE.{name}"), Some(&config)).await?;
    Ok(InitOutcome::Updated(texts))
}

/// In which ways a stream is not as requested.
fn requests(config: &Value, init: InitOptions) -> impl Iterator<Item = Difference> {
    let replicas = init.replicas.map(|replicas| ("num_replicas", json!(replicas)));
    let memory = init.is_memory.then(|| ("storage", json!(storage(init))));
    let requests = replicas.into_iter().chain(memory);
    requests.filter_map(|(field, value)| requested(config, field, value))
}

/// The difference between a field and its requested value.
fn requested(config: &Value, field: &'static str, value: Value) -> Option<Difference> {
    let is = config.get(field).unwrap_or(&Value::Null);
    (*is != value).then(|| Difference {
        text: format!("its {field} is {is}, not {value} as requested"),
        mend: (field, value.clone()),
    })
}

const fn storage(init: InitOptions) -> &'static str {
    if init.is_memory { "memory" } else { "file" }
}
