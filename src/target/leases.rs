//! What is lent to one peer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::Target;
use super::lent::Loan;
use crate::pool::{Buffer, Leased};

/// The leases of one connection. They end when released, at their deadlines, or with it.
pub(super) struct Leases {
    target: Arc<Target>,
    lent: HashMap<u64, OneLease>,
    /// Deadlines, the earliest first: all leases last equally long. Some are of leases that were
    /// released.
    deadlines: VecDeque<(Instant, u64)>,
    next: u64,
    /// Places promised to requests that are being served.
    promised: u32,
}

/// What comes back when a lease ends.
struct OneLease {
    _buffer: Buffer<Leased>,
    /// Its place among the bytes that may be lent.
    _place: OwnedSemaphorePermit,
    /// Where it is told of.
    told: usize,
}

impl Leases {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            lent: HashMap::new(),
            deadlines: VecDeque::new(),
            next: 0,
            promised: 0,
        }
    }

    /// Promises a place. False when the peer has as many as it may.
    pub(super) fn promise(&mut self) -> bool {
        let room =
            self.lent.len() + (self.promised as usize) < self.target.settings.max_leases as usize;
        self.promised += u32::from(room);
        room
    }

    /// Gives a promised place back.
    pub(super) fn withdraw(&mut self) {
        self.promised -= 1;
    }

    /// Lends a buffer, in a place that was promised, until the loan's deadline. Returns the lease's
    /// name.
    pub(super) fn lend(
        &mut self,
        buffer: Buffer<Leased>,
        place: OwnedSemaphorePermit,
        loan: Loan,
    ) -> u64 {
        self.withdraw();
        let name = self.next;
        self.next += 1;
        self.deadlines.push_back((loan.deadline, name));
        let lease = OneLease {
            _buffer: buffer,
            _place: place,
            told: self.target.lent.add(loan),
        };
        self.lent.insert(name, lease);
        self.target.leases.fetch_add(1, Ordering::Relaxed);
        // Behind one that is kept, deadlines of those that were not must not pile up.
        if self.deadlines.len() > 2 * self.target.settings.max_leases as usize {
            let lent = &self.lent;
            self.deadlines.retain(|(_, name)| lent.contains_key(name));
        }
        name
    }

    /// Ends a lease; false if there is none of that name, which is no harm: it may be over.
    pub(super) fn release(&mut self, name: u64) -> bool {
        let ended = self.lent.remove(&name);
        let was_lent = ended.is_some();
        if let Some(lease) = ended {
            self.target.lent.remove(lease.told);
            self.target.leases.fetch_sub(1, Ordering::Relaxed);
        }
        while let Some((_, first)) = self.deadlines.front()
            && !self.lent.contains_key(first)
        {
            self.deadlines.pop_front();
        }
        was_lent
    }

    /// Ends those whose deadline has come. Returns how many.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        while let Some(&(deadline, name)) = self.deadlines.front()
            && deadline <= now
        {
            self.deadlines.pop_front();
            expired += usize::from(self.release(name));
        }
        expired
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        for lease in self.lent.values() {
            self.target.lent.remove(lease.told);
        }
        let left = self.lent.len() as u64;
        self.target.leases.fetch_sub(left, Ordering::Relaxed);
    }
}
