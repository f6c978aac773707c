//! How long to wait before trying again. Pure.

use std::time::Duration;

/// The first wait, before jitter.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait, before jitter.
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential back-off: each wait is twice the one before, up to a limit, and a random part of
/// it is left out, so that many who failed together do not all come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: between half and all of the step it has come to.
    pub fn next(&mut self) -> Duration {
        let mut random = [0; 4];
        // Without random bytes there is no jitter, and the wait is the whole step.
        let jitter = match getrandom::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        self.step().mul_f64(0.5 + jitter / 2.0)
    }

    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn step(&mut self) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        step.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_until_the_longest_and_success_starts_anew() {
        let mut backoff = Backoff::default();
        let steps: Vec<_> = (0..9).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(steps, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.step(), FIRST);
    }

    #[test]
    fn the_jitter_takes_away_at_most_half() {
        for _ in 0..1000 {
            let wait = Backoff::default().next();
            assert!(wait >= FIRST / 2 && wait <= FIRST, "{wait:?}");
        }
    }
}
