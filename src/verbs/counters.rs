//! What an adapter counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::status::WcStatus;

/// Counts since the adapter was opened, over all workers.
#[derive(Debug)]
pub struct Counters {
    /// Asynchronous events of any kind.
    pub events: AtomicU64,
    /// Times the port went down.
    pub port_down: AtomicU64,
    /// Times the port came up.
    pub port_up: AtomicU64,
    /// Work requests posted.
    pub posted: AtomicU64,
    /// Work requests completed, by [`WcStatus::index`].
    pub completed_by_status: [AtomicU64; WcStatus::ALL.len()],
    /// Times completions came while the worker polled for them.
    pub polls_hit: AtomicU64,
    /// Times a worker slept on the completion channel.
    pub sleeps: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            events: AtomicU64::new(0),
            port_down: AtomicU64::new(0),
            port_up: AtomicU64::new(0),
            posted: AtomicU64::new(0),
            completed_by_status: [const { AtomicU64::new(0) }; WcStatus::ALL.len()],
            polls_hit: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(super) fn completed(&self, status: WcStatus) {
        count(&self.completed_by_status[status.index()]);
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
