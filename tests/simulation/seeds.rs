//! Runs from seeds: `SIMULATION_SEED=17` runs one again, `SIMULATION_SEEDS=10000` runs
//! more than the default.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Counts of what has happened.
pub trait Sum: Default + Debug {
    /// Adds the counts of another simulation.
    fn sum(&mut self, other: &Self);
}

/// The default number of seeds of the longest test; `SIMULATION_SEEDS` replaces it.
pub const SEEDS: u64 = 400;
/// After this many failures the other seeds are not run.
const FAILURES_MAX: usize = 20;

/// Runs `scenario` with this many seeds. Together they must do `enough`, because a
/// simulation in which nothing happens proves nothing.
pub fn each_seed<T: Sum>(seeds: u64, scenario: impl Fn(u64) -> T, enough: impl Fn(&T) -> bool) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let default = seeds;
    let seeds = match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(more)) => 0..(seeds * more).div_ceil(SEEDS),
        (None, None) => 0..seeds,
    };
    let is_less = seeds.end - seeds.start < default;
    let (mut sum, mut failed) = (T::default(), Vec::new());
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            Ok(totals) => sum.sum(&totals),
            Err(_) => {
                eprintln!("again with SIMULATION_SEED={seed}");
                failed.push(seed);
            }
        }
        if failed.len() == FAILURES_MAX {
            break;
        }
    }
    assert!(failed.is_empty(), "failed with SIMULATION_SEED of each of {failed:?}");
    assert!(is_less || enough(&sum), "not enough happens: {sum:?}");
}
