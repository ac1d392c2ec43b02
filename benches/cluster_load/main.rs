//! The clients of `benches/cluster`: senders and listeners of a room on several nodes, and a bare
//! client of NATS that publishes the records of that room, and nothing else.
//!
//! Each command measures for some seconds and prints its figures as one line of JSON.

mod bare;
mod room;

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The result of a measurement.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The longest delay that is told from longer ones.
const DELAY_MAX_NANOS: u64 = 60_000_000_000;

#[derive(Parser)]
enum Command {
    /// Senders that keep a number of messages in flight; counts what listeners receive
    Room(room::Options),
    /// The delay of messages between clients of different nodes, at a fixed rate
    RoomDelay(room::Options),
    /// Publishes the newest records of a stream into another one, with 256 in flight
    Bare(bare::Options),
    /// The delay from publishing such a record to its delivery, at a fixed rate
    BareDelay(bare::Options),
    /// Publishes records of one message each, which no node has written
    Flood(bare::Flood),
}

fn main() -> Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let figures = tasks.block_on(&runtime, async {
        match command {
            Command::Room(options) => room::throughput(&options).await,
            Command::RoomDelay(options) => room::delay(&options).await,
            Command::Bare(options) => bare::throughput(&options).await,
            Command::BareDelay(options) => bare::delay(&options).await,
            Command::Flood(options) => bare::flood(&options).await,
        }
    })?;
    println!("{figures}");
    Ok(())
}

/// The figures of delays in nanoseconds.
fn delays(histogram: &Histogram<u64>) -> Value {
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    json!({ "count": histogram.len(), "p50_us": us(0.5), "p99_us": us(0.99) })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
