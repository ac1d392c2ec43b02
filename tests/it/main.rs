//! The real binary from outside: one module for each theme.

mod config;
