//! Nodes of one room on several machines, and an engine that orders their records: with a
//! virtual clock, and driven by a seed.
//!
//! `truth.rs` reads the log from its beginning. Every node must give out the same messages with
//! the same `tim` at each place, and each sender must be told the truth.

mod engine;
mod member;
mod totals;
mod truth;
mod world;

pub use totals::ClusterTotals;
pub use world::ClusterWorld;
