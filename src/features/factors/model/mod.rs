//! What factors there are, what the policy asks for, what a proof says.

mod policy;
mod proof;
pub mod totp;

pub use policy::{GRACE_DAYS_MAX, Level, Policy, Rule};
pub use proof::{By, Demand, Method, Proof, Shown, Spend};

/// Most passkeys of one user.
pub const PASSKEYS_MAX: i64 = 10;
/// Recovery codes made at a time.
pub const RECOVERY_CODES: usize = 10;
/// With so many recovery codes left or fewer, there is a warning.
pub const RECOVERY_CODES_FEW: i64 = 3;
/// How long ago a proof may be for what is dangerous.
pub const RECENT_MS: i64 = 10 * 60_000;
/// Attempts in a row without any delay.
pub const ATTEMPTS_FREE: i64 = 5;
/// The first delay; it doubles with each attempt.
const DELAY_MS: i64 = 15_000;
/// The longest: nobody is kept out for good by a stranger.
const DELAY_MS_MAX: i64 = 15 * 60_000;

/// How long after the latest attempt the next may be made, after `attempts` that did not hold.
pub fn delay_ms(attempts: i64) -> i64 {
    let over = attempts - ATTEMPTS_FREE;
    if over < 0 {
        return 0;
    }
    let doubled = u32::try_from(over).ok().and_then(|over| DELAY_MS.checked_shl(over));
    doubled.filter(|delay| *delay > 0).map_or(DELAY_MS_MAX, |delay| delay.min(DELAY_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_quarter_of_an_hour_and_stays_there() {
        let delays: Vec<i64> = [0, 4, 5, 6, 7, 10, 11, 12, 60, 64, 70, i64::MAX].map(delay_ms).to_vec();
        assert_eq!(
            delays,
            [0, 0, 15_000, 30_000, 60_000, 480_000, 900_000, 900_000, 900_000, 900_000, 900_000, 900_000]
        );
    }
}
