//! What is lent to one peer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Target;
use super::lent::Loan;
use crate::pool::{Buffer, Leased};

/// The leases of one connection. They end when released, at their deadlines, or with it.
pub(super) struct Leases {
    target: Arc<Target>,
    /// Each with its place in what is told of it.
    lent: HashMap<u64, (Buffer<Leased>, usize)>,
    /// Deadlines, the earliest first: all leases last equally long.
    deadlines: VecDeque<(Instant, u64)>,
    next: u64,
    /// Places promised to requests that are being served.
    promised: u32,
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
    pub(super) fn lend(&mut self, buffer: Buffer<Leased>, loan: Loan) -> u64 {
        self.withdraw();
        let name = self.next;
        self.next += 1;
        self.deadlines.push_back((loan.deadline, name));
        let place = self.target.lent.add(loan);
        self.lent.insert(name, (buffer, place));
        self.target.leases.fetch_add(1, Ordering::Relaxed);
        name
    }

    /// Ends a lease; false if there is none of that name, which is no harm: it may be over.
    pub(super) fn release(&mut self, name: u64) -> bool {
        let ended = self.lent.remove(&name);
        let was_lent = ended.is_some();
        if let Some((_, place)) = ended {
            self.target.lent.remove(place);
            self.target.leases.fetch_sub(1, Ordering::Relaxed);
        }
        // Deadlines of leases that were released early must not pile up.
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
        for (_, place) in self.lent.values() {
            self.target.lent.remove(*place);
        }
        let left = self.lent.len() as u64;
        self.target.leases.fetch_sub(left, Ordering::Relaxed);
    }
}
