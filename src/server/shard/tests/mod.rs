//! Tests of a shard without sockets.

mod frames;
mod posts;
