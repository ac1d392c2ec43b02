//! The tests: each is a kind of simulation, run with many seeds.

mod closing;
mod cluster;
mod flood;
mod gate;
mod idle;
mod moderation;
mod pieces;
mod random;
mod resume;
mod rows;
