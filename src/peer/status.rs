//! What all workers' links to one peer come to, for those who look from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::PeerAddress;
use crate::telemetry::PeerState;

/// One configured peer, shared by all workers.
#[derive(Debug)]
pub struct PeerStatus {
    /// Where it is and what it is called.
    pub address: PeerAddress,
    /// Links that are connected.
    pub connected: AtomicU64,
    /// Of those, links with a queue pair to READ through.
    pub with_verbs: AtomicU64,
    /// Connections made anew after one was lost.
    pub reconnects: AtomicU64,
    /// Lanes by [`LaneState`].
    pub(super) lanes: [AtomicU64; 3],
    /// Why it is not connected, or not read by RDMA, as far as something is wrong.
    trouble: Mutex<Option<String>>,
}

impl PeerStatus {
    /// A peer that nobody has connected to yet.
    pub fn new(address: PeerAddress) -> Self {
        Self {
            address,
            connected: AtomicU64::new(0),
            with_verbs: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            lanes: Default::default(),
            trouble: Mutex::new(Some("it has not been connected to yet".to_owned())),
        }
    }

    /// Whether some link is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed) > 0
    }

    /// What a scrape tells of it.
    pub fn state(&self) -> PeerState {
        PeerState {
            name: self.address.name.clone(),
            connected: self.is_connected(),
            with_verbs: self.with_verbs.load(Ordering::Relaxed) > 0,
            reconnects: self.reconnects.load(Ordering::Relaxed),
        }
    }

    /// Queue pairs to all of `peers`, by [`LaneState`].
    pub fn queue_pairs(peers: &[Arc<Self>]) -> [u64; 3] {
        std::array::from_fn(|state| {
            let lanes = peers.iter().filter_map(|peer| peer.lanes.get(state));
            lanes.map(|count| count.load(Ordering::Relaxed)).sum()
        })
    }

    /// What is wrong, if something is.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// What a lane's queue pair is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// It can be read through.
    Ready,
    /// It broke, or could not be made; another is made after a while.
    Error,
    /// It is being made.
    Connecting,
}

/// Counts a lane under what it is like, for as long as it lives.
pub(super) struct Standing<'a> {
    counts: &'a [AtomicU64; 3],
    state: LaneState,
}

impl<'a> Standing<'a> {
    pub(super) fn new(counts: &'a [AtomicU64; 3], state: LaneState) -> Self {
        counts[state as usize].fetch_add(1, Ordering::Relaxed);
        Self { counts, state }
    }

    pub(super) fn becomes(&mut self, state: LaneState) {
        self.counts[state as usize].fetch_add(1, Ordering::Relaxed);
        self.counts[self.state as usize].fetch_sub(1, Ordering::Relaxed);
        self.state = state;
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.counts[self.state as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one, for as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_counted_in_one_state_and_in_none_once_it_is_gone() {
        let counts = Default::default();
        let seen = |counts: &[AtomicU64; 3]| -> Vec<u64> {
            counts.iter().map(|c| c.load(Ordering::Relaxed)).collect()
        };
        let mut lane = Standing::new(&counts, LaneState::Connecting);
        let other = Standing::new(&counts, LaneState::Ready);
        assert_eq!(seen(&counts), [1, 0, 1]);
        lane.becomes(LaneState::Ready);
        assert_eq!(seen(&counts), [2, 0, 0]);
        lane.becomes(LaneState::Error);
        lane.becomes(LaneState::Error);
        assert_eq!(seen(&counts), [1, 1, 0]);
        drop((lane, other));
        assert_eq!(seen(&counts), [0, 0, 0]);
    }
}
