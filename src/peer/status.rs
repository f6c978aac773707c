//! What all workers' links to one peer come to, for those who look from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::PeerAddress;

/// One configured peer, shared by all workers.
#[derive(Debug)]
pub struct PeerStatus {
    /// Where it is and what it is called.
    pub address: PeerAddress,
    /// Links that are connected.
    pub connected: AtomicU64,
    /// Of those, links with a queue pair to READ through.
    pub with_verbs: AtomicU64,
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
            trouble: Mutex::new(Some("it has not been connected to yet".to_owned())),
        }
    }

    /// Whether some link is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed) > 0
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
