//! A worker's completion queue and its table of READs in flight.
//!
//! Every READ that is posted has a place in the completion queue kept for it, so the queue can
//! not overflow.

use std::cell::{Cell, RefCell, RefMut};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::adapter::Adapter;
use super::completion::{Batch, CompletionQueue};
use super::counters::count;
use super::error::VerbsError;
use super::in_flight::{Finished, InFlight};
use super::plan::WINDOW;
use super::queue_pair::{QueuePair, ReadyToSend};
use super::transfer::Transfer;
use crate::telemetry::RateLimited;

/// Queue pairs a worker has at most: two for each of 64 peers.
const QUEUE_PAIRS_MAX: usize = 128;
/// READs that may be outstanding in a worker, over all its queue pairs.
const ENTRIES: u32 = (QUEUE_PAIRS_MAX * WINDOW) as u32;
/// Looks at the completion queue between two looks at the clock.
const LOOKS: u32 = 8;
/// How long the last completions are waited for when the queue is dropped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker's READs: its completion queue, its queue pairs, what is in flight.
pub struct ReadQueue {
    /// Before the rest: queue pairs are destroyed first.
    state: RefCell<InFlight>,
    /// The reaper, while it waits for something to be outstanding.
    reaper: Cell<Option<Waker>>,
    batch: RefCell<Batch>,
    poll: Duration,
    entries: u32,
    completions: Arc<CompletionQueue>,
    /// Last: it has the memory registered.
    adapter: Arc<Adapter>,
}

impl std::fmt::Debug for ReadQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadQueue")
            .field("state", &self.state)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

impl ReadQueue {
    /// A queue for the calling thread. Completions are polled for `poll` before the thread sleeps
    /// until they come.
    ///
    /// # Errors
    /// When the device gives no completion queue.
    pub fn new(adapter: &Arc<Adapter>, poll: Duration) -> Result<Rc<Self>, VerbsError> {
        let entries = ENTRIES.min(adapter.limits().max_cqe);
        let completions = CompletionQueue::with_channel(adapter.context(), entries);
        let completions = completions.map_err(|source| VerbsError::Create {
            what: "a completion queue",
            device: adapter.name().to_owned(),
            source,
        })?;
        Ok(Rc::new(Self {
            state: RefCell::default(),
            reaper: Cell::new(None),
            batch: RefCell::default(),
            poll,
            entries,
            completions,
            adapter: Arc::clone(adapter),
        }))
    }

    /// Sees to it that completions are taken as they come, in a task of the worker's runtime:
    /// polls while there may be some soon, then sleeps on the completion channel. Returns when the
    /// completion queue or its channel fail; the adapter is then no longer usable, and
    /// what is in flight fails, so that nobody waits for what would not be seen to complete.
    pub async fn reap_forever(self: Rc<Self>) {
        let Err(error) = self.reap_until_it_fails().await;
        self.adapter.lost();
        self.state().give_up();
        tracing::error!(
            device = self.adapter.name(),
            %error,
            "completions can not be taken any more; the RDMA device is not used again before a restart"
        );
    }

    async fn reap_until_it_fails(&self) -> io::Result<Infallible> {
        let watched = self.completions.watch()?;
        let counters = self.adapter.counters();
        loop {
            self.something_outstanding().await;
            if self.spin()? {
                count(&counters.polls_hit);
            } else {
                self.completions.arm()?;
                // What completed before the queue was armed tells nobody.
                if self.reap()? == 0 {
                    count(&counters.sleeps);
                    watched.readable().await?.clear_ready();
                    self.completions.take_events()?;
                    self.reap()?;
                }
            }
            // Whoever was waiting goes first, and sockets get their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn something_outstanding(&self) {
        poll_fn(|cx| {
            if self.state().outstanding() > 0 {
                return Poll::Ready(());
            }
            self.reaper.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Polls until something has completed; false when nothing has for as long as is polled.
    fn spin(&self) -> io::Result<bool> {
        if self.poll.is_zero() {
            return Ok(false);
        }
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                if self.reap()? > 0 {
                    return Ok(true);
                }
                std::hint::spin_loop();
            }
            if since.get_or_insert_with(Instant::now).elapsed() >= self.poll {
                return Ok(false);
            }
            // Whoever has to bring the completion about on this very CPU (a software device's
            // kernel thread) must not wait for the polling to end.
            std::thread::yield_now();
        }
    }

    /// Takes some of what has completed; returns how many READs.
    fn reap(&self) -> io::Result<usize> {
        let mut batch = self.batch.borrow_mut();
        let completed = self.completions.poll(&mut batch)?;
        if completed.len() == 0 {
            return Ok(0);
        }
        let count = completed.len();
        let mut finished = Finished::default();
        let mut state = self.state();
        for completion in completed {
            state.complete(&self.adapter, completion, &mut finished);
        }
        drop(state);
        drop(finished);
        Ok(count)
    }

    pub(super) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    pub(super) fn completions(&self) -> &Arc<CompletionQueue> {
        &self.completions
    }

    pub(super) fn state(&self) -> RefMut<'_, InFlight> {
        self.state.borrow_mut()
    }

    /// Promises `reads` places in the completion queue.
    pub(super) fn promise(self: &Rc<Self>, reads: u32) -> Result<Places, VerbsError> {
        if !self.state().promise(reads, self.entries) {
            return Err(VerbsError::QueueFull {
                device: self.adapter.name().to_owned(),
                reads,
                entries: self.entries,
            });
        }
        Ok(Places {
            queue: Rc::clone(self),
            reads,
        })
    }

    /// Begins a read, and looks at once whether something has completed.
    pub(super) fn begin(&self, transfer: Transfer) -> usize {
        let key = self.state().begin(&self.adapter, transfer);
        match self.reap() {
            Ok(0) => {}
            Ok(_) => count(&self.adapter.counters().polls_hit),
            Err(error) => {
                static TOLD: RateLimited = RateLimited::new(Duration::from_secs(10));
                if let Some(suppressed) = TOLD.pass(Instant::now()) {
                    tracing::error!(%error, suppressed, "completions can not be taken");
                }
            }
        }
        if self.state().outstanding() > 0
            && let Some(reaper) = self.reaper.take()
        {
            reaper.wake();
        }
        key
    }

    /// The reader has gone.
    pub(super) fn abandon(&self, transfer: usize) {
        let finished = self.state().abandon(transfer);
        drop(finished);
    }

    /// A pair's requester has gone.
    pub(super) fn release(&self, pair: usize) {
        let finished = self.state().release(pair);
        drop(finished);
    }
}

impl Drop for ReadQueue {
    /// Waits for the device: its last write into the pool must be over before the queue is gone.
    fn drop(&mut self) {
        let finished = self.state().release_all();
        drop(finished);
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.state().outstanding() > 0 {
            let reaped = self.reap();
            if matches!(reaped, Ok(1..)) {
                continue;
            }
            if reaped.is_err() || Instant::now() >= deadline {
                let reads = self.state().outstanding();
                tracing::error!(
                    reads,
                    "READs are still in flight; their memory and queue pairs are left to them"
                );
                self.state().leak();
                std::mem::forget(Arc::clone(&self.adapter));
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Places in the completion queue that are promised; given back when dropped.
#[derive(Debug)]
pub(super) struct Places {
    queue: Rc<ReadQueue>,
    reads: u32,
}

impl Places {
    /// Uses `reads` of them for a queue pair; the rest is given back.
    pub(super) fn adopt(mut self, queue_pair: QueuePair<ReadyToSend>, reads: u8) -> usize {
        let reads = u32::from(reads).min(self.reads);
        self.reads -= reads;
        self.queue.state().adopt(queue_pair, reads)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.queue.state().unpromise(self.reads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PEERS_MAX;
    use crate::peer::message::LANES;

    #[test]
    fn there_are_places_for_as_many_reads_as_all_peers_queue_pairs_can_have() {
        let mut state = InFlight::default();
        for pair in 0..PEERS_MAX * usize::from(LANES) {
            assert!(state.promise(WINDOW as u32, ENTRIES), "queue pair {pair}");
        }
        assert!(!state.promise(1, ENTRIES), "there are more than are needed");
    }
}
