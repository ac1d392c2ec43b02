//! The room, the feed and the tables of connections in one thread, with a
//! virtual clock and driven by a seed: joins, leaves, partial writes, round
//! trips, floods, shards that stand still, pings, kicks, reloads, hand-overs
//! that fail at each step.
//!
//! Every client must see what the room sent, in its order, without a gap or a
//! repeat, from its join to its close (invariants 3, 4 and 7), and after each
//! turn the state of the tables must fit what the clients got: see `check`.
//!
//! `SIMULATION_SEEDS=10000` runs more; `SIMULATION_SEED=17` runs one again, best
//! with the name of the test.

mod check;
mod client;
mod pipe;
mod restart;
mod scenarios;
mod seeds;
mod shard;
mod steps;
mod totals;
mod witness;
mod world;
