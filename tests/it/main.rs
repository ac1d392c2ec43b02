//! The real binary from outside: one module for each theme.

mod config;
mod join;
mod room;
mod token;
