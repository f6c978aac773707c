//! One read in flight, seen from its reader.
#![allow(
    unsafe_code,
    reason = "landed bytes are looked at beside those in flight"
)]

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::queue::ReadQueue;
use super::status::ReadFailure;
use super::transfer::Transfer;
use crate::pool::{Buffer, Reserved};

/// A read in flight. Dropping it leaves the buffer to the queue until the device has finished
/// with it.
#[derive(Debug)]
pub struct ReadFlight {
    queue: Rc<ReadQueue>,
    key: usize,
    /// Bytes the reader has been told of.
    seen: usize,
}

impl ReadFlight {
    pub(super) fn new(queue: Rc<ReadQueue>, key: usize) -> Self {
        Self {
            queue,
            key,
            seen: 0,
        }
    }

    /// Waits until more has landed without a gap; true when that is all there is.
    ///
    /// # Errors
    /// When a piece failed.
    pub async fn advance(&mut self) -> Result<bool, ReadFailure> {
        poll_fn(|cx| self.poll_advance(cx)).await
    }

    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadFailure>> {
        let mut state = self.queue.state();
        let Some(transfer) = state.transfers.get_mut(self.key) else {
            return Poll::Ready(Err(ReadFailure::FLUSHED));
        };
        if let Some(failure) = transfer.failure() {
            return Poll::Ready(Err(failure));
        }
        if transfer.is_complete() || transfer.landed() > self.seen {
            self.seen = transfer.landed();
            return Poll::Ready(Ok(transfer.is_complete()));
        }
        transfer.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Bytes at the front that have landed.
    pub fn landed(&self) -> usize {
        self.with_transfer(Transfer::landed).unwrap_or(0)
    }

    /// Calls `look` with the bytes in `range`, which must not begin or look at reads itself.
    ///
    /// # Panics
    /// When they have not all landed.
    pub fn with_bytes<R>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> R) -> R {
        let state = self.queue.state();
        let transfer = state.transfers.get(self.key);
        let landed = transfer.map_or(0, Transfer::landed);
        assert!(range.end <= landed, "bytes {range:?} have not landed");
        match transfer.and_then(Transfer::buffer) {
            // SAFETY: every READ of the range has completed, no other covers it, and nothing is
            // posted while `state` is borrowed.
            Some(buffer) => look(unsafe { buffer.landed(range) }),
            None => look(&[]),
        }
    }

    /// From the first READ posted to the last completion seen; `None` until then.
    pub fn post_to_completion(&self) -> Option<Duration> {
        self.with_transfer(Transfer::took).flatten()
    }

    /// Waits until everything has landed and takes the buffer back.
    ///
    /// # Errors
    /// When a piece failed; the buffer goes back to the pool once the device has finished with it.
    pub async fn finish(mut self) -> Result<Buffer<Reserved>, ReadFailure> {
        while !self.advance().await? {}
        let landed = self.take().and_then(Transfer::into_landed);
        landed.ok_or(ReadFailure::FLUSHED)
    }

    fn with_transfer<R>(&self, look: impl FnOnce(&Transfer) -> R) -> Option<R> {
        self.queue.state().transfers.get(self.key).map(look)
    }

    fn take(&self) -> Option<Transfer> {
        let mut state = self.queue.state();
        let idle = state.transfers.get(self.key).is_some_and(Transfer::is_idle);
        idle.then(|| state.transfers.remove(self.key))
    }
}

impl Drop for ReadFlight {
    fn drop(&mut self) {
        self.queue.abandon(self.key);
    }
}
