//! The ring itself: submission, completion, and the table that ties completions to transfers.
//!
//! A completion is never trusted: its user data indexes the table of operations, and one that
//! is not there is reported and ignored. At most [`ENTRIES`] operations are in the kernel at a
//! time, so neither queue can overflow.
#![allow(unsafe_code, reason = "submission entries carry raw addresses")]

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::counters::{Counters, count};
use super::locate::Locate;
use super::plan::{Piece, Plan};
use super::transfer::{Flight, Outcome, ReadError, Transfer};
use crate::pool::{Buffer, GRANULE_BYTES, Pool, REGION_BYTES, Reserved};
use crate::telemetry::{RateLimited, Stamp};

/// Operations that may be in the kernel at once.
const ENTRIES: u32 = 256;
/// Times a read, or a submission, is tried again at once.
const RETRIES_MAX: u32 = 100;
/// How often a submission that failed is tried again.
const RESUBMIT_INTERVAL: Duration = Duration::from_millis(100);

/// A worker's ring for data.
#[derive(Debug)]
pub struct DataRing {
    state: RefCell<State>,
    /// After `state`: the pool's memory must outlive the ring that has it registered.
    pool: Arc<Pool>,
}

/// Whether the pool is registered with the ring.
#[derive(Debug)]
pub enum Registration {
    /// As this many fixed buffers.
    Fixed(usize),
    /// The kernel refused; reads go to plain addresses.
    Refused(io::Error),
}

pub(super) struct State {
    pub(super) transfers: Slab<Transfer>,
    /// Transfers that have a piece to submit and found no place: at most one entry each.
    pub(super) waiting_for_room: VecDeque<usize>,
    operations: Slab<Operation>,
    ring: IoUring,
    fixed: bool,
    counters: Arc<Counters>,
    /// When completions were looked for last.
    looked: Stamp,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("operations", &self.operations.len())
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

/// A piece in the kernel.
#[derive(Clone, Copy, Debug)]
struct Operation {
    transfer: usize,
    number: u32,
    piece: Piece,
    done: usize,
    /// Times the kernel has asked to try again.
    retries: u32,
}

impl DataRing {
    /// A ring for the calling thread, with the pool registered if the kernel agrees.
    ///
    /// # Errors
    /// When there can be no ring at all.
    pub fn new(pool: &Arc<Pool>) -> io::Result<(Rc<Self>, Registration)> {
        Self::counted(pool, Arc::default())
    }

    /// The same, of which `counters` tell what it does. No other ring may have them.
    ///
    /// # Errors
    /// When there can be no ring at all.
    pub fn counted(
        pool: &Arc<Pool>,
        counters: Arc<Counters>,
    ) -> io::Result<(Rc<Self>, Registration)> {
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_single_issuer()
            .build(ENTRIES)
            // Kernels before 6.0 know neither flag.
            .or_else(|_| IoUring::new(ENTRIES))?;
        let registration = register(&ring, pool);
        let state = State {
            transfers: Slab::new(),
            waiting_for_room: VecDeque::new(),
            operations: Slab::with_capacity(ENTRIES as usize),
            ring,
            fixed: matches!(registration, Registration::Fixed(_)),
            counters,
            looked: Stamp::now(),
        };
        let ring = Self {
            state: RefCell::new(state),
            pool: Arc::clone(pool),
        };
        Ok((Rc::new(ring), registration))
    }

    /// Begins to read `plan` of `file` into `buffer`. Where that is more than one file, the plan is
    /// cut at their blocks.
    ///
    /// # Panics
    /// When the plan is larger than the buffer.
    pub fn read(
        self: &Rc<Self>,
        file: Arc<dyn Locate>,
        buffer: Buffer<Reserved>,
        plan: Plan,
    ) -> Flight {
        let key = self
            .state()
            .transfers
            .insert(Transfer::new(file, buffer, plan));
        Flight::new(Rc::clone(self), key)
    }

    /// Reaps completions whenever the ring's descriptor says there are any; never ends by itself.
    ///
    /// # Errors
    /// When the descriptor can not be watched.
    pub async fn reap_forever(self: Rc<Self>) -> io::Result<()> {
        struct Descriptor(RawFd);
        impl AsRawFd for Descriptor {
            fn as_raw_fd(&self) -> RawFd {
                self.0
            }
        }
        let descriptor = Descriptor(self.state().ring.as_raw_fd());
        // SAFETY: the descriptor is the ring's; `self` keeps the ring open and is dropped after
        // `watched`, being declared before it.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
        loop {
            // Cleared before reaping, so that what completes meanwhile is told again.
            match tokio::time::timeout(RESUBMIT_INTERVAL, watched.readable()).await {
                Ok(ready) => ready?.clear_ready(),
                Err(_) if self.state().ring.submission().is_empty() => continue,
                Err(_) => {}
            }
            self.reap();
            self.submit_and_reap();
        }
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Gives the kernel what has been queued and takes what has already completed. Returns when it
    /// began to, if there was anything.
    ///
    /// Right before the call and right after it is where looking at the clock costs least: what the
    /// processor has begun must end there anyway.
    pub(super) fn submit_and_reap(&self) -> Option<Stamp> {
        let mut begun = None;
        for _ in 0..RETRIES_MAX {
            if self.state().ring.submission().is_empty() {
                break;
            }
            let submitted = {
                let state = self.state();
                count(&state.counters.enters);
                begun.get_or_insert_with(Stamp::now);
                state.ring.submit()
            };
            let again = self.reap();
            match submitted {
                Ok(_) if !again => break,
                // Interrupted, or the kernel is short of memory for requests: what has been
                // queued stays queued, and reaping makes room.
                Ok(_) => {}
                Err(e) if matches!(e.raw_os_error(), Some(EINTR | EAGAIN | EBUSY)) => {
                    std::thread::yield_now();
                }
                Err(e) => {
                    static TROUBLE: RateLimited = RateLimited::new(Duration::from_secs(10));
                    if let Some(suppressed) = TROUBLE.pass(std::time::Instant::now()) {
                        tracing::error!(error = %e, suppressed, "io_uring_enter failed; it is tried again");
                    }
                    break;
                }
            }
        }
        begun
    }

    /// Takes what has completed. True when something was queued again and is to be submitted.
    fn reap(&self) -> bool {
        let mut requeued = false;
        self.state().looked = Stamp::now();
        loop {
            let mut state = self.state();
            let mut queue = state.ring.completion();
            let Some(entry) = queue.next() else {
                let lost = u64::from(queue.overflow());
                drop(queue);
                state.counters.overflows.store(lost, Ordering::Relaxed);
                return requeued;
            };
            drop(queue);
            count(&state.counters.completions);
            let finished = state.complete(entry.user_data(), entry.result(), &mut requeued);
            drop(state);
            // The buffer's return to the pool may wake others; not while the ring is borrowed.
            drop(finished.and_then(Transfer::into_landed));
            self.wake_one_for_room();
        }
    }

    /// Wakes the first transfer that still waits for a place, if there is one.
    pub(super) fn wake_one_for_room(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        while !state.is_full()
            && let Some(key) = state.waiting_for_room.pop_front()
        {
            if state
                .transfers
                .get_mut(key)
                .is_some_and(Transfer::take_place)
            {
                return;
            }
        }
    }

    /// Calls `look` with bytes that have landed. Only [`Flight::with_bytes`] calls it.
    pub(super) fn with_landed<R>(
        &self,
        key: usize,
        number: usize,
        range: Range<usize>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> R {
        let state = self.state();
        let landed = state
            .transfers
            .get(key)
            .and_then(|t| Self::landed_at(t, number));
        let Some((buffer, at)) = landed else {
            return look(&[]);
        };
        // SAFETY: the caller has checked that every piece of the range has completed; no other
        // piece of the plan covers it, and nothing is submitted while `state` is borrowed.
        look(unsafe { buffer.landed(at + range.start..at + range.end) })
    }
}

impl Drop for DataRing {
    /// Waits for the kernel: its last write into the pool must be over before the ring is gone.
    fn drop(&mut self) {
        while !self.state().operations.is_empty() {
            let waited = self.state().ring.submit_and_wait(1);
            self.reap();
            if let Err(error) = waited
                && error.raw_os_error() != Some(EINTR)
            {
                tracing::error!(%error, "reads are still in flight; the pool's memory is left to them");
                std::mem::forget(Arc::clone(&self.pool));
                return;
            }
        }
    }
}

const EINTR: i32 = rustix::io::Errno::INTR.raw_os_error();
const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();
const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

impl State {
    pub(super) fn is_full(&self) -> bool {
        self.operations.len() >= ENTRIES as usize
    }

    /// Queues pieces of a transfer, about `bytes` of them; true if there were any.
    pub(super) fn push_burst(&mut self, key: usize, bytes: usize) -> bool {
        let mut queued = 0;
        let mut any = false;
        while queued < bytes && !self.is_full() {
            let Some(transfer) = self.transfers.get_mut(key) else {
                break;
            };
            let Some((number, piece)) = transfer.next_piece() else {
                break;
            };
            let operation = Operation {
                transfer: key,
                number,
                piece,
                done: 0,
                retries: 0,
            };
            let slot = self.operations.insert(operation);
            self.push(slot, operation);
            queued += piece.len;
            any = true;
        }
        any
    }

    fn push(&mut self, slot: usize, operation: Operation) {
        let Operation {
            transfer,
            piece,
            done,
            ..
        } = operation;
        let Some(transfer) = self.transfers.get(transfer) else {
            return;
        };
        let Some((address, pool_offset)) = transfer.target(piece.at + done) else {
            return;
        };
        // Found when the piece was taken, and as fixed as the files are.
        let Some((fd, offset)) = transfer.place(piece.file_offset) else {
            return;
        };
        let length = (piece.len - done) as u32;
        let offset = offset + done as u64;
        let entry =
            read_entry(self.fixed, fd, address, length, offset, pool_offset).user_data(slot as u64);
        // SAFETY: the address range lies in a buffer, and the descriptor belongs to a file, that
        // the transfer owns; it stays in the table until its last completion has been seen.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        // The queue has ENTRIES places and `is_full` keeps operations to as many.
        debug_assert!(pushed.is_ok(), "submission queue full");
        count(&self.counters.submissions);
    }

    /// Handles one completion; a transfer that is over and nobody's is returned.
    fn complete(&mut self, user_data: u64, result: i32, requeued: &mut bool) -> Option<Transfer> {
        let slot = user_data as usize;
        let Some(operation) = self.operations.get_mut(slot) else {
            tracing::error!(
                user_data,
                result,
                "a completion that belongs to no operation"
            );
            return None;
        };
        let outcome = match judge(operation, result) {
            Some(outcome) => outcome,
            None if self
                .transfers
                .get(operation.transfer)
                .is_some_and(|t| t.target(0).is_some()) =>
            {
                let operation = *operation;
                self.push(slot, operation);
                *requeued = true;
                return None;
            }
            // Nobody wants the rest.
            None => Outcome::Landed,
        };
        let Operation {
            transfer: key,
            number,
            ..
        } = self.operations.remove(slot);
        let over = self
            .transfers
            .get_mut(key)
            .is_some_and(|t| t.complete(number, outcome, self.looked));
        over.then(|| self.transfers.remove(key))
    }
}

/// What a read's result means; `None` when the rest of it is to be read once more.
fn judge(operation: &mut Operation, result: i32) -> Option<Outcome> {
    let piece = operation.piece;
    let Ok(bytes) = usize::try_from(result) else {
        operation.retries += 1;
        return match -result {
            EINTR | EAGAIN if operation.retries < RETRIES_MAX => None,
            errno => Some(Outcome::Failed(ReadError::Io {
                at: piece.file_offset,
                error: io::Error::from_raw_os_error(errno),
            })),
        };
    };
    operation.done = (operation.done + bytes).min(piece.len);
    let done = operation.done;
    // A direct read can only be continued at a block's start; elsewhere it has met the end.
    let direct = piece.direct;
    let at_end = bytes == 0 || (direct && !done.is_multiple_of(GRANULE_BYTES));
    if done == piece.len || (done >= piece.required && (direct || at_end)) {
        Some(Outcome::Landed)
    } else if at_end {
        Some(Outcome::Failed(ReadError::Truncated {
            at: piece.file_offset + done as u64,
        }))
    } else {
        None
    }
}

fn read_entry(
    fixed: bool,
    fd: RawFd,
    address: *mut u8,
    length: u32,
    offset: u64,
    pool_offset: usize,
) -> squeue::Entry {
    let fd = types::Fd(fd);
    if fixed {
        let region = (pool_offset / REGION_BYTES) as u16;
        opcode::ReadFixed::new(fd, address, length, region)
            .offset(offset)
            .build()
    } else {
        opcode::Read::new(fd, address, length)
            .offset(offset)
            .build()
    }
}

fn register(ring: &IoUring, pool: &Pool) -> Registration {
    let regions: Vec<libc::iovec> = pool
        .regions()
        .map(|(base, len)| libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        })
        .collect();
    // SAFETY: the regions are the pool's mapping, which `DataRing` keeps alive longer than the
    // ring.
    match unsafe { ring.submitter().register_buffers(&regions) } {
        Ok(()) => Registration::Fixed(regions.len()),
        Err(error) => Registration::Refused(error),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
