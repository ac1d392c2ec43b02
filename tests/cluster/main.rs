//! One room on several nodes, with real nats-servers behind relays that disturb them.
//! `tests/run cluster` installs the nats-server.

#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../it/manager.rs"]
mod manager;
#[allow(dead_code, reason = "the tests of clients need more of it")]
#[path = "../clients/proxy.rs"]
mod proxy;

mod acts;
mod answers;
mod crowd;
mod deliveries;
mod engine;
mod everywhere;
mod examples;
mod failures;
mod followers;
mod gaps;
mod init;
mod journal;
mod kicks;
mod lost_acts;
mod moderation;
mod moderators;
mod nodes;
mod outcomes;
mod permissions;
mod presence;
mod proxies;
mod relay;
mod restarts;
mod senders;
mod servers;
mod single;
mod testbed;
mod texts;
mod two_rooms;
mod verified;
