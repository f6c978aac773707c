//! The queue's record of a read in flight.
#![allow(unsafe_code, reason = "buffers come back from the device here")]

use std::task::Waker;
use std::time::{Duration, Instant};

use super::plan::{Piece, Plan};
use super::queue_pair::Read;
use super::requester::RemoteMemory;
use super::status::ReadFailure;
use crate::pool::{Buffer, InFlight, Quarantined, Reserved};

/// A read. It owns the buffer for as long as the device may write to it, whatever becomes of the
/// reader.
#[derive(Debug)]
pub(super) struct Transfer {
    buffer: Held,
    /// Of the pair it is read through.
    pub(super) pair: usize,
    from: RemoteMemory,
    plan: Plan,
    /// Pieces the device has.
    outstanding: usize,
    /// It is in its pair's line.
    pub(super) in_line: bool,
    failure: Option<ReadFailure>,
    pub(super) waker: Option<Waker>,
    posted: Option<Instant>,
    took: Option<Duration>,
}

#[derive(Debug)]
enum Held {
    Wanted(Buffer<InFlight>),
    Orphaned(Buffer<Quarantined>),
    /// Between the two.
    Gone,
}

impl Transfer {
    pub(super) fn new(
        pair: usize,
        from: RemoteMemory,
        buffer: Buffer<Reserved>,
        len: usize,
    ) -> Self {
        assert!(len <= buffer.size_bytes(), "a read larger than its buffer");
        Self {
            buffer: Held::Wanted(buffer.take_off()),
            pair,
            from,
            plan: Plan::new(len),
            outstanding: 0,
            in_line: false,
            failure: None,
            waker: None,
            posted: None,
            took: None,
        }
    }

    /// Whether there is more to post.
    pub(super) fn has_more(&self) -> bool {
        self.failure.is_none() && matches!(self.buffer, Held::Wanted(_)) && self.plan.has_more()
    }

    /// The next READ to post, without its id and key, its number, and where in the pool it lands.
    pub(super) fn next_read(&mut self) -> Option<(usize, Read, usize)> {
        let Held::Wanted(buffer) = &self.buffer else {
            return None;
        };
        let (number, Piece { at, len }) =
            self.plan.next_piece().filter(|_| self.failure.is_none())?;
        let read = Read {
            id: 0,
            from: RemoteMemory {
                // A peer's address that wraps around is the device's to refuse.
                addr: self.from.addr.wrapping_add(at as u64),
                rkey: self.from.rkey,
            },
            to: buffer.address(at),
            local_key: 0,
            len,
        };
        self.outstanding += 1;
        self.posted.get_or_insert_with(Instant::now);
        Some((number, read, buffer.offset() + at))
    }

    /// Takes note of a piece's end.
    pub(super) fn complete(&mut self, number: usize, result: Result<(), ReadFailure>) {
        self.outstanding -= 1;
        match result {
            Ok(()) => self.plan.complete(number),
            Err(failure) => self.failure = self.failure.or(Some(failure)),
        }
        if self.plan.is_complete() {
            self.took = self.posted.map(|posted| posted.elapsed());
        }
        self.wake();
    }

    /// Ends it early: what has not been posted never will be.
    pub(super) fn fail(&mut self, failure: ReadFailure) {
        self.failure = self.failure.or(Some(failure));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Bytes landed without a gap.
    pub(super) fn landed(&self) -> usize {
        self.plan.landed_bytes()
    }

    /// Why it will never be complete.
    pub(super) fn failure(&self) -> Option<ReadFailure> {
        self.failure
    }

    /// Whether everything has landed.
    pub(super) fn is_complete(&self) -> bool {
        self.plan.is_complete()
    }

    /// From the first READ posted to the last completion seen.
    pub(super) fn took(&self) -> Option<Duration> {
        self.took
    }

    /// The buffer, until the reader has gone.
    pub(super) fn buffer(&self) -> Option<&Buffer<InFlight>> {
        match &self.buffer {
            Held::Wanted(buffer) => Some(buffer),
            Held::Orphaned(_) | Held::Gone => None,
        }
    }

    /// The reader has gone. What is outstanding goes on.
    pub(super) fn abandon(&mut self) {
        self.waker = None;
        self.buffer = match std::mem::replace(&mut self.buffer, Held::Gone) {
            Held::Wanted(buffer) => Held::Orphaned(buffer.quarantine()),
            other => other,
        };
    }

    /// Whether the device has nothing of it.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// Whether nobody needs it any more, neither the reader nor the device.
    pub(super) fn is_over(&self) -> bool {
        self.is_idle() && !matches!(self.buffer, Held::Wanted(_))
    }

    /// The buffer, once the device has finished with it; `None` when it was nobody's, and freed.
    pub(super) fn into_landed(self) -> Option<Buffer<Reserved>> {
        assert_eq!(
            self.outstanding, 0,
            "a transfer taken apart while the device uses it"
        );
        match self.buffer {
            // SAFETY: nothing is outstanding, so the last completion has been seen.
            Held::Wanted(buffer) => Some(unsafe { buffer.land() }),
            Held::Orphaned(buffer) => {
                // SAFETY: as above.
                unsafe { buffer.release() };
                None
            }
            Held::Gone => None,
        }
    }
}
