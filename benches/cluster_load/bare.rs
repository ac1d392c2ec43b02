//! The bare client of NATS: the least that a program can do to store records in a stream, one
//! after the other, with a bounded number of them in flight.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull, push};
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{DELAY_MAX_NANOS, Result, delays, nanos};

/// How many records are on their way.
const IN_FLIGHT: usize = 256;
/// Time before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// The most records, and bytes, that are published again.
const RECORDS_MAX: u64 = 10_000;
const RECORDS_BYTES_MAX: usize = 64 << 20;
/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before a request is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// A deadline in nanoseconds that does not pass.
const FAR_AWAY: u64 = u64::MAX / 4;

#[derive(clap::Args)]
pub struct Options {
    /// The stream whose newest records are published
    #[arg(long)]
    from: String,
    /// The stream that they are published to
    #[arg(long)]
    to: String,
    /// Only records behind this sequence
    #[arg(long, default_value_t = 0)]
    behind: u64,
    /// Consumers of that stream, as many as the room has nodes; 0: nobody reads it
    #[arg(long, default_value_t = 0)]
    consumers: usize,
    /// An address of each node of the room, to listen at; `to` is the stream of the room then
    #[arg(long = "listen")]
    listen: Vec<String>,
    /// Records per second
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Length of the measurement in seconds
    #[arg(long, default_value_t = 5)]
    secs: u64,
    /// URLs of the servers; the publisher uses the first
    servers: Vec<String>,
}

#[derive(clap::Args)]
pub struct Flood {
    /// The stream
    #[arg(long)]
    to: String,
    /// How many records
    #[arg(long)]
    count: usize,
    /// The server
    server: String,
}

struct Record {
    headers: HeaderMap,
    payload: Bytes,
    messages: u64,
}

/// How fast records are stored, and the messages in them.
pub async fn throughput(options: &Options) -> Result<Value> {
    let client = async_nats::connect(&options.servers[0]).await?;
    let records = newest(&client, options).await?;
    for at in 0..options.consumers {
        let server = &options.servers[at % options.servers.len()];
        let client = async_nats::connect(server).await?;
        let mut deliveries = consume(&client, &options.to).await?;
        tokio::spawn(async move { while next_record(&client, &mut deliveries).await.is_some() {} });
    }
    for address in &options.listen {
        tokio::spawn(listen(TcpStream::connect(address).await?));
    }
    let (stored, messages, secs) = publish(&client, options, &records).await?;
    let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
    Ok(json!({
        "records_per_sec": stored as f64 / secs,
        "messages_per_sec": messages as f64 / secs,
        "messages_per_record": messages as f64 / stored as f64,
        "payload_bytes_per_record": bytes as f64 / records.len() as f64,
    }))
}

/// Reads all that a node sends to a listener, and looks at nothing.
async fn listen(mut node: TcpStream) -> std::io::Result<()> {
    let request = "GET / HTTP/1.1\r\nHost: room\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    node.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 256 * 1024];
    while node.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Returns how many records were stored, how many messages were in them, and in how many seconds.
async fn publish(
    client: &Client,
    options: &Options,
    records: &[Record],
) -> Result<(u64, u64, f64)> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let (mut published, mut acknowledged) = (records.iter().cycle(), records.iter().cycle());
    let (mut stored, mut messages) = (0, 0);
    let mut start = None;
    let begin = Instant::now();
    let mut in_flight = 0;
    loop {
        while in_flight < IN_FLIGHT {
            let Some(Record { headers, payload, .. }) = published.next() else {
                return Err("there is no record".into());
            };
            put(client, &options.to, &inbox, headers.clone(), payload.clone()).await?;
            in_flight += 1;
        }
        next_answer(&mut answers).await?;
        in_flight -= 1;
        let record = acknowledged.next().map_or(0, |record| record.messages);
        match start {
            None if begin.elapsed() >= WARM_UP => start = Some(Instant::now()),
            None => {}
            Some(start) => {
                (stored, messages) = (stored + 1, messages + record);
                if start.elapsed() >= Duration::from_secs(options.secs) {
                    return Ok((stored, messages, start.elapsed().as_secs_f64()));
                }
            }
        }
    }
}

/// How long a record takes to a consumer at another server.
pub async fn delay(options: &Options) -> Result<Value> {
    let client = async_nats::connect(&options.servers[0]).await?;
    let records = newest(&client, options).await?;
    let reader = async_nats::connect(options.servers.get(1).ok_or("one server")?).await?;
    let mut deliveries = consume(&reader, &options.to).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(options.rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut histogram, mut sent) = (Histogram::new_with_max(DELAY_MAX_NANOS, 3)?, Vec::new());
    let (mut received, begin) = (0, Instant::now());
    let mut records = records.iter().cycle();
    while begin.elapsed() < WARM_UP + Duration::from_secs(options.secs) {
        tokio::select! {
            _ = ticks.tick() => {
                let Some(Record { headers, payload, .. }) = records.next() else { break };
                sent.push(Instant::now());
                put(&client, &options.to, &inbox, headers.clone(), payload.clone()).await?;
            }
            delivery = next_record(&reader, &mut deliveries) => {
                delivery.ok_or("the connection is lost")?;
                let at: Instant = sent[received];
                received += 1;
                if at.duration_since(begin) >= WARM_UP {
                    histogram.saturating_record(nanos(at.elapsed()));
                }
            }
            answer = answers.next() => check(&answer.ok_or("the connection is lost")?.payload)?,
        }
    }
    Ok(delays(&histogram))
}

/// Publishes records as a node would, with a deadline that is far away.
pub async fn flood(Flood { to, count, server }: &Flood) -> Result<Value> {
    let client = async_nats::connect(server).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let text = format!(
        r#"{{"usr":"flood","msg":"{}","tim":"0000-00-00T00:00:00.000000000Z"}}"#,
        "x".repeat(100)
    );
    let message = wschat::chat::LoggedMessage { text: text.into_bytes(), speaker: None };
    let payload = Bytes::from(postcard::to_stdvec(&vec![message])?);
    let start = Instant::now();
    for number in 0..*count + IN_FLIGHT {
        if number < *count {
            let mut headers = HeaderMap::new();
            headers.insert("Wschat-Version", "1");
            headers.insert("Wschat-Node", format!("flood 1 {number}"));
            headers.insert("Wschat-By", FAR_AWAY.to_string());
            headers.insert("Wschat-Kind", "messages");
            put(&client, to, &inbox, headers, payload.clone()).await?;
        }
        if number >= IN_FLIGHT {
            next_answer(&mut answers).await?;
        }
    }
    Ok(json!({ "records_per_sec": *count as f64 / start.elapsed().as_secs_f64() }))
}

async fn put(
    client: &Client,
    stream: &str,
    inbox: &str,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<()> {
    let sent = client.publish_with_reply_and_headers(
        stream.to_owned(),
        inbox.to_owned(),
        headers,
        payload,
    );
    Ok(sent.await?)
}

/// Waits for the next answer.
async fn next_answer(answers: &mut async_nats::Subscriber) -> Result<()> {
    let answer = timeout(PATIENCE, answers.next()).await.map_err(|_| "no answer")?;
    check(&answer.ok_or("the connection is lost")?.payload)
}

/// Fails unless a record was stored.
fn check(answer: &[u8]) -> Result<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    if answer["seq"].is_u64() && answer["error"].is_null() {
        return Ok(());
    }
    Err(answer.to_string().into())
}

/// The newest records with messages of a stream.
async fn newest(client: &Client, options: &Options) -> Result<Vec<Record>> {
    let stream = stream(client, &options.from).await?;
    let state = stream.get_info().await?.state;
    let behind = options.behind.max(state.first_sequence.saturating_sub(1));
    let count = state.last_sequence.saturating_sub(behind).min(RECORDS_MAX);
    let start_sequence = state.last_sequence + 1 - count;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let mut deliveries = stream.create_consumer(config).await?.messages().await?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for _ in 0..count {
        let delivery = timeout(PATIENCE, deliveries.next()).await?.ok_or("no record")??.message;
        let mut headers = delivery.headers.unwrap_or_default();
        if headers.get("Wschat-Kind").is_none_or(|kind| kind.as_str() != "messages") {
            continue;
        }
        // So that the nodes do not drop what is published to them again.
        headers.insert("Wschat-By", FAR_AWAY.to_string());
        // The payload starts with the number of messages.
        let (messages, _) = postcard::take_from_bytes(&delivery.payload)?;
        bytes += delivery.payload.len();
        records.push(Record { headers, payload: delivery.payload, messages });
        if bytes > RECORDS_BYTES_MAX {
            break;
        }
    }
    Ok(records)
}

/// Reads what is new in a stream, as a node does it.
async fn consume(client: &Client, name: &str) -> Result<async_nats::Subscriber> {
    let deliver_subject = client.new_inbox();
    let deliveries = client.subscribe(deliver_subject.clone()).await?;
    let config = push::Config {
        deliver_subject,
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        flow_control: true,
        idle_heartbeat: Duration::from_secs(1),
        ..push::Config::default()
    };
    stream(client, name).await?.create_consumer(config).await?;
    Ok(deliveries)
}

/// The next record of such a consumer.
async fn next_record(client: &Client, deliveries: &mut async_nats::Subscriber) -> Option<Message> {
    loop {
        let message = deliveries.next().await?;
        if message.status.is_none() {
            return Some(message);
        }
        // Flow control; a heartbeat has no reply subject.
        if let Some(subject) = message.reply {
            client.publish(subject, Bytes::new()).await.ok()?;
        }
    }
}

/// A stream. The servers may be about to elect who answers.
async fn stream(client: &Client, name: &str) -> Result<Stream> {
    let begin = Instant::now();
    loop {
        match jetstream::new(client.clone()).get_stream(name).await {
            Err(_) if begin.elapsed() < PATIENCE => sleep(RETRY).await,
            found => return Ok(found?),
        }
    }
}
