//! One room on several nodes, with real nats-servers behind relays that disturb them.
//! `tests/run cluster` installs the nats-server.

#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/manager.rs"]
mod manager;

#[allow(dead_code, reason = "the tests of the nodes need more of it")]
mod crowd;
mod deliveries;
mod engine;
mod init;
mod moderation;
mod outcomes;
mod presence;
mod relay;
#[allow(dead_code, reason = "the tests of the nodes need more of it")]
mod senders;
#[allow(dead_code, reason = "the tests of the nodes need more of it")]
mod servers;
mod testbed;
mod texts;
