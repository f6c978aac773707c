//! Which volumes are being opened, so that nobody else does it too, and others can wait for it.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The volumes that are being opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    ids: Mutex<HashSet<u32>>,
    /// Told each time one of them is open, or has failed to open.
    changed: Notify,
}

/// Says that a volume is being opened, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    opening: Arc<Opening>,
    id: u32,
}

impl Opening {
    /// Takes down that volume `id`, which nobody has claimed, is being opened.
    pub(super) fn claim(self: &Arc<Self>, id: u32) -> Claim {
        self.ids().insert(id);
        let opening = Arc::clone(self);
        Claim { opening, id }
    }

    /// Whether volume `id` is being opened.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids().contains(&id)
    }

    /// Waits until volume `id` is not being opened.
    pub(super) async fn ended(&self, id: u32) {
        loop {
            // Listens first, so that nothing is missed after asking.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.contains(id) {
                return;
            }
            changed.await;
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The volume.
    pub(super) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.opening.ids().remove(&self.id);
        self.opening.changed.notify_waiters();
    }
}
