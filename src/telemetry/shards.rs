//! Numbers that many threads add to: each thread has a place of its own, so that an addition is two
//! plain instructions and takes no cache line from another processor.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::CounterFn;

/// Places. The first threads have one each; all that come later share the last.
pub(super) const SHARDS: usize = 8;
const SHARED: usize = SHARDS - 1;

/// The place of the calling thread.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
    }
    let known = SHARD.get();
    if known < SHARDS {
        return known;
    }
    let shard = NEXT.fetch_add(1, Ordering::Relaxed).min(SHARED);
    SHARD.set(shard);
    shard
}

/// Adds `value` to `number`, which is in place `shard`, that of the calling thread.
pub(super) fn add(number: &AtomicU64, shard: usize, value: u64) {
    if shard == SHARED {
        number.fetch_add(value, Ordering::Relaxed);
    } else {
        // Nobody else writes to it.
        let sum = number.load(Ordering::Relaxed).wrapping_add(value);
        number.store(sum, Ordering::Relaxed);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count([Padded; SHARDS]);

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

impl Count {
    /// What was counted so far.
    pub fn total(&self) -> u64 {
        let parts = self.0.iter().map(|part| part.0.load(Ordering::Relaxed));
        parts.fold(0, u64::wrapping_add)
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        let shard = shard();
        add(&self.0[shard].0, shard, value);
    }

    /// For what is counted elsewhere: nothing may be added to it here.
    fn absolute(&self, value: u64) {
        self.0[SHARED].0.fetch_max(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_is_all_there() {
        let count = Count::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| count.increment(2)));
            }
        });
        assert_eq!(count.total(), 3 * SHARDS as u64 * 2000);
    }

    #[test]
    fn what_is_counted_elsewhere_is_told_as_it_is() {
        let count = Count::default();
        for value in [5, 9, 9] {
            count.absolute(value);
            assert_eq!(count.total(), value);
        }
    }
}
