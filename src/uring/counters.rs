//! What the data rings count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::RingState;

/// What one ring has done. Its own thread counts, others only look.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads queued.
    pub submissions: AtomicU64,
    /// Completions taken.
    pub completions: AtomicU64,
    /// Calls of io_uring_enter.
    pub enters: AtomicU64,
    /// Completions the kernel had no place for and lost.
    pub overflows: AtomicU64,
}

/// Adds one. Nobody else adds, so that nothing is lost between the two halves, and an ordinary
/// store will do.
pub(super) fn count(counter: &AtomicU64) {
    if cfg!(not(feature = "noop-metrics")) {
        let next = counter.load(Ordering::Relaxed).wrapping_add(1);
        counter.store(next, Ordering::Relaxed);
    }
}

/// The counters of all rings of a daemon.
#[derive(Debug, Default)]
pub struct Rings(Mutex<Vec<Arc<Counters>>>);

impl Rings {
    /// The counters of one ring more.
    pub fn add(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rings.push(Arc::clone(&counters));
        counters
    }

    /// What all of them have done.
    pub fn state(&self) -> RingState {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            let counts = rings.iter().map(|ring| of(ring).load(Ordering::Relaxed));
            counts.fold(0, u64::wrapping_add)
        };
        RingState {
            submissions: sum(|c| &c.submissions),
            completions: sum(|c| &c.completions),
            enters: sum(|c| &c.enters),
            overflows: sum(|c| &c.overflows),
        }
    }
}
