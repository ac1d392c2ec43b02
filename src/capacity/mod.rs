//! How many listeners a system carries: the limits of the system and of the unit, and how many
//! listeners each of them allows. docs/scale.md explains them.

mod limit;
mod system;

pub use limit::{Limit, Plan, carried, limits};
pub use system::{System, UnitLimits};
