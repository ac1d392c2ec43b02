//! The real binary from outside: one module for each theme.

mod addresses;
mod bench;
mod config;
mod control;
mod door;
mod fanout;
mod handover;
mod harness;
mod hostile;
mod join;
mod keys;
mod manual;
mod metrics;
mod protocol;
mod protocol_page;
mod proxy;
mod record;
mod room;
mod rules;
mod siege;
mod signals;
mod systemd;
mod terminal;
mod tls;
mod tmux;
mod token;
