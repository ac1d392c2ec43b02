//! The room, the feed and the tables of connections in one thread, with a virtual clock
//! and driven by a seed: joins, leaves, partial writes, round trips, floods, shards that
//! pause, pings, kicks, reloads, and handovers that fail at each step.
//!
//! Every client must receive what the room sent, in order, without a gap or a repeat,
//! from its join to its close (invariants 3, 4 and 7). After each turn the state of the
//! tables must agree with what the clients received: see `check`.
//!
//! `cluster` drives the nodes of a room on several machines, with an engine that loses, delays and
//! discards.
//!
//! `cases` drives the same tables step by step, without a seed.
//!
//! `SIMULATION_SEEDS=10000` runs more seeds; `SIMULATION_SEED=17` runs one again, best
//! with the name of the test.

mod cases;
mod check;
mod client;
mod cluster;
mod pipe;
mod restart;
mod scenarios;
mod seeds;
mod sent_feed;
mod shard;
mod steps;
mod stream;
mod tail_file;
mod totals;
mod world;
