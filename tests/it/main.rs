//! The real binary from outside: one module for each theme.

mod addresses;
mod architecture;
mod attack;
mod bench;
mod client_log;
mod config;
mod control;
mod crash;
mod drop_ins;
mod events;
mod fanout;
mod handover;
mod harness;
mod hostile;
mod http;
mod imports;
mod join;
mod journal_fields;
mod keys;
mod licences;
mod listeners;
mod lost_key;
mod manager;
mod manual;
mod metrics;
mod moderation;
mod monitor;
#[allow(dead_code, reason = "the tests of the page need more of it")]
#[path = "../browser/network.rs"]
mod network;
mod post;
mod protocol;
mod protocol_page;
mod proxy;
mod record;
mod rejoin;
mod resume;
mod room;
mod rules;
mod signals;
mod stall;
mod systemd;
mod terminal;
mod tls;
mod tmux;
mod token;
