//! How long to wait before the next try to connect.

use std::time::Duration;

/// The first delay.
const FIRST: Duration = Duration::from_millis(500);
/// The longest one: after a long night the room is found within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// The delay before try number `tries` (from 0): it doubles up to 30 s, and is
/// somewhere in its upper half, so that the clients of a room that went away do
/// not come back all at once. `chance` is a random number from the whole range.
///
/// # Examples
///
/// ```
/// use wschat::client::delay;
/// assert_eq!(delay(0, u16::MAX).as_millis(), 500);
/// assert_eq!(delay(50, 0).as_secs(), 15);
/// ```
pub fn delay(tries: u32, chance: u16) -> Duration {
    let full = FIRST.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST);
    full / 2 + full / 2 * u32::from(chance) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_are_bounded_and_grow(tries in any::<u32>(), chance in any::<u16>()) {
            let now = delay(tries, chance);
            prop_assert!(now >= FIRST / 2 && now <= LONGEST);
            prop_assert!(delay(tries.saturating_add(1), chance) >= now);
        }
    }
}
