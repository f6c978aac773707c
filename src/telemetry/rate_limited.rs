//! A condition that repeats, said once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets something through at most once an interval and counts what it held back, so that a
/// client's bad behaviour can not fill the log:
///
/// ```
/// # use rdma_engine::telemetry::RateLimited;
/// # use std::time::{Duration, Instant};
/// static GARBAGE: RateLimited = RateLimited::new(Duration::from_secs(10));
/// if let Some(suppressed) = GARBAGE.pass(Instant::now()) {
///     tracing::warn!(suppressed, "a client sends garbage");
/// }
/// ```
#[derive(Debug)]
pub struct RateLimited {
    interval: Duration,
    state: Mutex<Since>,
}

#[derive(Debug)]
struct Since {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimited {
    /// At most once every `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::new(Since {
                last: None,
                suppressed: 0,
            }),
        }
    }

    /// Whether the condition, seen `now`, is to be said; and if so, how often it was not since
    /// the last time it was.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut since = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = since
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.interval);
        if quiet {
            since.suppressed += 1;
            return None;
        }
        since.last = Some(now);
        Some(std::mem::take(&mut since.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeating_condition_passes_once_an_interval_with_the_count_held_back() {
        let limit = RateLimited::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limit.pass(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(19), None);
        assert_eq!(at(100), Some(1));
        assert_eq!(at(200), Some(0));
    }
}
