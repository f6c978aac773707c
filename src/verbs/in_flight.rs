//! What a queue has in flight: its queue pairs, their reads, and the work requests of those.
//!
//! READs beyond what a queue pair may have outstanding wait in the pair's line; the reads in it
//! take turns, a piece each, so that a long one does not keep short ones waiting.
#![allow(unsafe_code, reason = "work requests carry raw addresses")]

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use super::adapter::Adapter;
use super::completion::Completion;
use super::counters::count;
use super::queue_pair::{QueuePair, ReadyToSend};
use super::status::{ReadFailure, WcStatus};
use super::table::Table;
use super::transfer::Transfer;
use crate::telemetry::RateLimited;

/// The tables: pairs, transfers through them, and requests of those that the device has.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) transfers: Slab<Transfer>,
    pairs: Slab<Pair>,
    requests: Table<Request>,
    /// Places in the completion queue that are promised.
    promised: u32,
}

/// A connected queue pair.
#[derive(Debug)]
struct Pair {
    queue_pair: QueuePair<ReadyToSend>,
    /// READs it may have outstanding.
    reads: u32,
    outstanding: u32,
    /// Transfers that have something to post.
    line: VecDeque<usize>,
    /// What broke it first.
    failure: Option<ReadFailure>,
    /// Its requester is alive.
    held: bool,
}

/// A READ the device has.
#[derive(Clone, Copy, Debug)]
struct Request {
    transfer: usize,
    pair: usize,
    number: usize,
}

/// What is over, to be dropped when the tables are no longer borrowed: a buffer's return to the
/// pool may wake others.
#[derive(Default)]
#[must_use]
pub(super) struct Finished {
    transfers: Vec<Transfer>,
    pairs: Vec<Pair>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.transfers.drain(..).for_each(|t| drop(t.into_landed()));
    }
}

impl InFlight {
    /// READs the device has.
    pub(super) fn outstanding(&self) -> usize {
        self.requests.len()
    }

    /// Promises `reads` of the completion queue's `entries` places, if there are as many left.
    pub(super) fn promise(&mut self, reads: u32, entries: u32) -> bool {
        let fits = reads <= entries - self.promised;
        if fits {
            self.promised += reads;
        }
        fits
    }

    /// Takes back what was promised and is not needed.
    pub(super) fn unpromise(&mut self, reads: u32) {
        self.promised -= reads;
    }

    /// Takes in a queue pair that may have `reads` READs outstanding, which were promised.
    pub(super) fn adopt(&mut self, queue_pair: QueuePair<ReadyToSend>, reads: u32) -> usize {
        self.pairs.insert(Pair {
            queue_pair,
            reads,
            outstanding: 0,
            line: VecDeque::new(),
            failure: None,
            held: true,
        })
    }

    /// Begins a read.
    pub(super) fn begin(&mut self, adapter: &Adapter, transfer: Transfer) -> usize {
        let pair = transfer.pair;
        let key = self.transfers.insert(transfer);
        self.queue(key);
        self.pump(adapter, pair);
        key
    }

    /// The reader has gone.
    pub(super) fn abandon(&mut self, key: usize) -> Finished {
        let mut finished = Finished::default();
        let Some(transfer) = self.transfers.get_mut(key) else {
            return finished;
        };
        transfer.abandon();
        if transfer.in_line
            && let Some(pair) = self.pairs.get_mut(transfer.pair)
        {
            pair.line.retain(|&k| k != key);
        }
        if transfer.is_over() {
            finished.transfers.push(self.transfers.remove(key));
        }
        finished
    }

    /// A pair's requester has gone. The pair stays until what is outstanding has been flushed.
    pub(super) fn release(&mut self, key: usize) -> Finished {
        let mut finished = Finished::default();
        self.break_pair(key, ReadFailure::FLUSHED);
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.held = false;
        }
        self.remove_if_done(key, &mut finished);
        finished
    }

    /// All pairs' requesters have gone.
    pub(super) fn release_all(&mut self) -> Vec<Finished> {
        let keys: Vec<_> = self.pairs.iter().map(|(key, _)| key).collect();
        keys.into_iter().map(|key| self.release(key)).collect()
    }

    /// No completion will be seen any more: readers are told, and nothing more is posted. What the
    /// device has stays its own.
    pub(super) fn give_up(&mut self) {
        let keys: Vec<_> = self.pairs.iter().map(|(key, _)| key).collect();
        keys.into_iter()
            .for_each(|key| self.break_pair(key, ReadFailure::FLUSHED));
        for (_, transfer) in &mut self.transfers {
            if !transfer.is_complete() {
                transfer.fail(ReadFailure::FLUSHED);
            }
        }
    }

    /// Gives everything up to the device for good: queue pairs and buffers are never freed.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.transfers));
        std::mem::forget(std::mem::take(&mut self.pairs));
    }

    /// What broke a pair first.
    pub(super) fn failure(&self, pair: usize) -> Option<ReadFailure> {
        self.pairs.get(pair).and_then(|p| p.failure)
    }

    /// Puts a transfer that has something to post in its pair's line.
    fn queue(&mut self, key: usize) {
        let Some(transfer) = self.transfers.get_mut(key) else {
            return;
        };
        let Some(pair) = self.pairs.get_mut(transfer.pair) else {
            return transfer.fail(ReadFailure::FLUSHED);
        };
        if pair.failure.is_some() && !transfer.is_complete() {
            transfer.fail(ReadFailure::FLUSHED);
        } else if transfer.has_more() && !transfer.in_line {
            transfer.in_line = true;
            pair.line.push_back(key);
        }
    }

    /// Posts what a pair may have outstanding.
    fn pump(&mut self, adapter: &Adapter, key: usize) {
        loop {
            let Some(pair) = self.pairs.get_mut(key) else {
                return;
            };
            if pair.failure.is_some() || pair.outstanding >= pair.reads {
                return;
            }
            let Some(next) = pair.line.pop_front() else {
                return;
            };
            let Some(transfer) = self.transfers.get_mut(next) else {
                continue;
            };
            transfer.in_line = false;
            let Some((number, mut read, pool_offset)) = transfer.next_read() else {
                continue;
            };
            read.local_key = adapter.local_key(pool_offset);
            read.id = self.requests.insert(Request {
                transfer: next,
                pair: key,
                number,
            });
            pair.outstanding += 1;
            // SAFETY: the memory is a piece of a buffer the transfer owns until its last
            // completion has been seen, and no other piece covers it.
            let posted = unsafe { pair.queue_pair.post(&read) };
            if let Err(error) = posted {
                self.not_posted(read.id, &error);
                return;
            }
            count(&adapter.counters().posted);
            self.queue(next);
        }
    }

    fn not_posted(&mut self, id: u64, error: &io::Error) {
        let Some(request) = self.requests.remove(id) else {
            return;
        };
        let failure = ReadFailure {
            status: WcStatus::PostRefused,
            vendor_error: error.raw_os_error().map_or(0, i32::unsigned_abs),
        };
        if let Some(pair) = self.pairs.get_mut(request.pair) {
            pair.outstanding -= 1;
            tracing::error!(qpn = pair.queue_pair.qpn(), %error, "posting a READ failed");
        }
        if let Some(transfer) = self.transfers.get_mut(request.transfer) {
            transfer.complete(request.number, Err(failure));
        }
        self.break_pair(request.pair, failure);
    }

    /// Handles one completion, and posts what it makes room for.
    pub(super) fn complete(
        &mut self,
        adapter: &Adapter,
        done: Completion,
        finished: &mut Finished,
    ) {
        let status = done
            .result
            .map_or_else(|f| f.status, |()| WcStatus::Success);
        adapter.counters().completed(status);
        let Some(request) = self.requests.remove(done.id) else {
            tracing::error!(id = done.id, %status, "a completion that belongs to no READ");
            return;
        };
        if let Some(pair) = self.pairs.get_mut(request.pair) {
            pair.outstanding -= 1;
        }
        if let Some(transfer) = self.transfers.get_mut(request.transfer) {
            transfer.complete(request.number, done.result);
            if transfer.is_over() {
                finished
                    .transfers
                    .push(self.transfers.remove(request.transfer));
            } else {
                self.queue(request.transfer);
            }
        }
        if let Err(failure) = done.result {
            self.break_pair(request.pair, failure);
        }
        self.pump(adapter, request.pair);
        self.remove_if_done(request.pair, finished);
    }

    /// Keeps the first failure of a pair and ends what waits in its line.
    pub(super) fn break_pair(&mut self, key: usize, failure: ReadFailure) {
        let Some(pair) = self.pairs.get_mut(key).filter(|p| p.failure.is_none()) else {
            return;
        };
        pair.failure = Some(failure);
        let qpn = pair.queue_pair.qpn();
        if failure != ReadFailure::FLUSHED {
            static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
            if let Some(suppressed) = TOLD.pass(Instant::now()) {
                tracing::warn!(qpn, %failure, suppressed, "a queue pair is broken");
            }
        }
        // The device has done so after most errors; not necessarily after all of them.
        if let Err(error) = pair.queue_pair.fail() {
            tracing::error!(qpn, %error, "a queue pair can not be moved to the error state");
        }
        for key in std::mem::take(&mut pair.line) {
            if let Some(transfer) = self.transfers.get_mut(key) {
                transfer.in_line = false;
                transfer.fail(ReadFailure::FLUSHED);
            }
        }
    }

    fn remove_if_done(&mut self, key: usize, finished: &mut Finished) {
        let done = self
            .pairs
            .get(key)
            .is_some_and(|p| !p.held && p.outstanding == 0);
        if done {
            let pair = self.pairs.remove(key);
            self.promised -= pair.reads;
            finished.pairs.push(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Owner, Pages, Pool};
    use crate::verbs::requester::RemoteMemory;

    const BYTES: usize = 4096;

    #[tokio::test]
    async fn given_up_a_read_fails_and_its_buffer_stays_the_devices() {
        let pool = Pool::new(1 << 20, 1 << 20, Pages::Ordinary).unwrap();
        let later = tokio::time::Instant::now() + Duration::from_secs(60);
        let buffer = pool.reserve(Owner(0), BYTES, later).await.unwrap();
        let mut state = InFlight::default();
        let from = RemoteMemory { addr: 0, rkey: 0 };
        let key = state
            .transfers
            .insert(Transfer::new(0, from, buffer, BYTES));
        let (number, ..) = state.transfers[key].next_read().unwrap();

        state.give_up();
        assert_eq!(state.transfers[key].failure(), Some(ReadFailure::FLUSHED));
        drop(state.abandon(key));
        assert_eq!(pool.usage().quarantined, BYTES as u64);

        // Should its completion be seen after all, it is free.
        let mut transfer = state.transfers.remove(key);
        transfer.complete(number, Err(ReadFailure::FLUSHED));
        assert!(transfer.into_landed().is_none());
        assert_eq!(pool.usage().free, pool.size_bytes() as u64);
    }
}
