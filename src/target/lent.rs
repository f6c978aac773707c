//! What is lent, as others see it: the leases themselves belong to their connections' threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::source::Transport;
use crate::telemetry::{Doing, Live, Named, ShortId};

/// A lease.
#[derive(Clone, Debug)]
pub(super) struct Loan {
    /// The engine it is lent to.
    pub client: Arc<Named>,
    pub volume: u32,
    pub needle: u64,
    /// Bytes lent.
    pub bytes: u64,
    /// Bytes of the buffer they lie in.
    pub pool_bytes: u64,
    /// From the request until they were lent.
    pub took: Duration,
    pub since: Instant,
    pub deadline: Instant,
}

/// All leases of a target.
#[derive(Debug, Default)]
pub(super) struct Lent(Mutex<Slab<Loan>>);

impl Lent {
    /// Enters a lease; it is listed until [`Self::remove`].
    pub(super) fn add(&self, loan: Loan) -> usize {
        self.loans().insert(loan)
    }

    pub(super) fn remove(&self, key: usize) {
        let ended = self.loans().try_remove(key);
        drop(ended);
    }

    /// The leases open now.
    pub(super) fn live(&self, now: Instant) -> Vec<Live> {
        let count = self.loans().len();
        let mut live = Vec::with_capacity(count + 64);
        let loans = self.loans();
        live.extend(loans.iter().map(|(key, loan)| loan.live(key, now)));
        drop(loans);
        live
    }

    fn loans(&self) -> MutexGuard<'_, Slab<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    fn live(&self, key: usize, now: Instant) -> Live {
        Live {
            // What names a lease to its engine is not in here.
            short: ShortId {
                place: u32::try_from(key).unwrap_or(u32::MAX),
                part: 0,
            },
            client: Arc::clone(&self.client),
            volume: self.volume,
            needle: self.needle,
            bytes: self.bytes,
            pool_bytes: self.pool_bytes,
            took: self.took,
            age: now.saturating_duration_since(self.since),
            left: self.deadline.saturating_duration_since(now),
            doing: Doing::Held,
            transport: Some(Transport::Verbs.as_str()),
        }
    }
}
