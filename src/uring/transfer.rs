//! One read in flight: its pieces, what has landed, and who waits for it.
#![allow(unsafe_code, reason = "buffers come back from the kernel here")]

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::locate::Locate;
use super::plan::{PIECE_BYTES, Piece, Plan};
use super::ring::DataRing;
use crate::pool::{Buffer, InFlight, Quarantined, Reserved};
use crate::telemetry::{Stage, StageClock, Stamp};

/// Why a read did not land.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ends before what was to be read.
    #[error("the file ends at byte {at}, inside what was to be read")]
    Truncated {
        /// Where the file ends.
        at: u64,
    },
    /// The kernel says no.
    #[error("{error}")]
    Io {
        /// The first byte of the piece that could not be read.
        at: u64,
        /// What it says.
        error: io::Error,
    },
}

impl ReadError {
    /// Where it happened, in bytes from the start of what was read from.
    pub const fn at(&self) -> u64 {
        match self {
            Self::Truncated { at } | Self::Io { at, .. } => *at,
        }
    }
}

/// Pieces of one read in flight at once; one bit of [`Transfer::landed`] each.
const WINDOW: u32 = u64::BITS;

/// The ring's record of a read. It owns the buffer and the file for as long as the kernel may
/// use them, whatever becomes of the reader.
#[derive(Debug)]
pub(super) struct Transfer {
    buffer: Option<Held>,
    file: Arc<dyn Locate>,
    plan: Plan,
    pieces: u32,
    /// The next piece to submit.
    next: u32,
    /// Pieces landed without a gap from the first.
    base: u32,
    /// Pieces landed from `base` on, one bit each.
    landed: u64,
    /// Pieces the kernel has.
    outstanding: u32,
    failure: Option<ReadError>,
    waker: Option<Waker>,
    /// When its first piece was given to the kernel, and when its last one had completed.
    submitted: Option<Stamp>,
    completed: Option<Stamp>,
    /// It is in the ring's line for a place.
    in_line: bool,
}

#[derive(Debug)]
enum Held {
    Wanted(Buffer<InFlight>),
    Orphaned(Buffer<Quarantined>),
}

/// What a completion means for its piece.
pub(super) enum Outcome {
    Landed,
    Failed(ReadError),
}

impl Transfer {
    pub(super) fn new(file: Arc<dyn Locate>, buffer: Buffer<Reserved>, plan: Plan) -> Self {
        let pieces = plan.pieces();
        assert!(
            plan.buffer_bytes() <= buffer.size_bytes(),
            "a plan larger than its buffer"
        );
        Self {
            buffer: Some(Held::Wanted(buffer.take_off())),
            file,
            plan,
            pieces,
            next: 0,
            base: 0,
            landed: 0,
            outstanding: 0,
            failure: None,
            waker: None,
            submitted: None,
            completed: None,
            in_line: false,
        }
    }

    /// The next piece to submit, if the window has room: its number, itself, the address it
    /// lands at and the file.
    pub(super) fn next_piece(&mut self) -> Option<(u32, Piece)> {
        let open = self.failure.is_none() && self.next < self.base + WINDOW;
        let piece = self.plan.piece(self.next).filter(|_| open)?;
        if self.place(piece.file_offset).is_none() {
            let at = piece.file_offset;
            self.failure = Some(ReadError::Truncated { at });
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.outstanding += 1;
        self.in_line = false;
        Some((number, piece))
    }

    /// Where byte `at` of the buffer is, in memory and in the pool.
    pub(super) fn target(&self, at: usize) -> Option<(*mut u8, usize)> {
        match &self.buffer {
            Some(Held::Wanted(b)) => Some((b.address(at), b.offset() + at)),
            Some(Held::Orphaned(_)) | None => None,
        }
    }

    /// The file that byte `offset` is in, and where.
    pub(super) fn place(&self, offset: u64) -> Option<(RawFd, u64)> {
        let (file, offset) = self.file.locate(offset)?;
        Some((file.as_raw_fd(), offset))
    }

    /// Takes note of a piece's end, seen at `now`. Returns whether the transfer is now nobody's and
    /// done, and is to be removed.
    pub(super) fn complete(&mut self, number: u32, outcome: Outcome, now: Stamp) -> bool {
        self.outstanding -= 1;
        match outcome {
            Outcome::Landed => {
                self.landed |= 1 << (number - self.base);
                let run = self.landed.trailing_ones();
                self.landed = self.landed.checked_shr(run).unwrap_or(0);
                self.base += run;
            }
            Outcome::Failed(error) => {
                self.failure.get_or_insert(error);
            }
        }
        if self.outstanding == 0 && self.base == self.pieces {
            self.completed = Some(now);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.outstanding == 0 && matches!(self.buffer, Some(Held::Orphaned(_)))
    }

    /// Lets a transfer that waits for a place in the ring go on. False if it no longer does.
    pub(super) fn take_place(&mut self) -> bool {
        match self.waker.take_if(|_| self.in_line) {
            Some(waker) => {
                self.in_line = false;
                waker.wake();
                true
            }
            None => false,
        }
    }

    /// The reader is gone. Returns whether the transfer can be removed at once.
    fn abandon(&mut self) -> bool {
        self.waker = None;
        if self.outstanding == 0 {
            return true;
        }
        self.buffer = match self.buffer.take() {
            Some(Held::Wanted(b)) => Some(Held::Orphaned(b.quarantine())),
            other => other,
        };
        false
    }

    /// The buffer, once the kernel has finished with it.
    pub(super) fn into_landed(self) -> Option<Buffer<Reserved>> {
        assert_eq!(
            self.outstanding, 0,
            "a transfer taken apart while the kernel uses it"
        );
        match self.buffer? {
            // SAFETY: nothing is outstanding, so the last completion has been seen.
            Held::Wanted(b) => Some(unsafe { b.land() }),
            Held::Orphaned(b) => {
                // SAFETY: as above.
                unsafe { b.release() };
                None
            }
        }
    }
}

/// A read in flight, seen from its reader. Dropping it leaves the buffer to the ring until the
/// kernel has finished with it.
#[derive(Debug)]
pub struct Flight {
    ring: Rc<DataRing>,
    key: usize,
    /// Pieces the reader has been told of.
    seen: u32,
}

impl Flight {
    pub(super) fn new(ring: Rc<DataRing>, key: usize) -> Self {
        Self { ring, key, seen: 0 }
    }

    /// Waits until more has landed without a gap; true when that is all there is.
    ///
    /// # Errors
    /// When a piece failed.
    pub async fn advance(&mut self) -> Result<bool, ReadError> {
        poll_fn(|cx| self.poll_advance(cx)).await
    }

    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        let mut submitted = None;
        loop {
            let pushed = {
                let mut state = self.ring.state();
                let Some(transfer) = state.transfers.get_mut(self.key) else {
                    return Poll::Ready(Ok(true));
                };
                transfer.submitted = transfer.submitted.or(submitted);
                if let Some(error) = transfer.failure.take() {
                    return Poll::Ready(Err(error));
                }
                if transfer.base > self.seen || transfer.base == transfer.pieces {
                    self.seen = transfer.base;
                    return Poll::Ready(Ok(transfer.base == transfer.pieces));
                }
                state.push_burst(self.key, PIECE_BYTES)
            };
            if pushed {
                submitted = self.ring.submit_and_reap();
                continue;
            }
            let mut state = self.ring.state();
            let full = state.is_full();
            if let Some(transfer) = state.transfers.get_mut(self.key) {
                if transfer.failure.is_some() {
                    continue;
                }
                transfer.waker = Some(cx.waker().clone());
                if transfer.outstanding == 0 && full && !transfer.in_line {
                    transfer.in_line = true;
                    state.waiting_for_room.push_back(self.key);
                }
            }
            return Poll::Pending;
        }
    }

    /// Bytes at the front of extent `number` that have landed.
    pub fn landed(&self, number: usize) -> usize {
        let state = self.ring.state();
        state
            .transfers
            .get(self.key)
            .map_or(0, |t| t.plan.landed(number, t.base))
    }

    /// Calls `look` with bytes `range` of extent `number`.
    ///
    /// # Panics
    /// When they have not all landed.
    pub fn with_bytes<R>(
        &self,
        number: usize,
        range: Range<usize>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> R {
        assert!(
            range.end <= self.landed(number),
            "bytes {range:?} have not landed"
        );
        self.ring.with_landed(self.key, number, range, look)
    }

    /// Gives the time of a read that has landed to its stages, and returns how long it was from the
    /// submission to the last completion. A read of nothing took no time.
    pub fn lap(&self, clock: &StageClock) -> Duration {
        let state = self.ring.state();
        let transfer = state.transfers.get(self.key);
        let times = transfer.and_then(|t| t.submitted.zip(t.completed));
        let Some((submitted, completed)) = times else {
            return Duration::ZERO;
        };
        clock.lap(Stage::Submit, submitted);
        clock.lap(Stage::Transport, completed);
        completed.since(submitted)
    }

    /// Waits until everything has landed and takes the buffer back.
    ///
    /// # Errors
    /// When a piece failed.
    pub async fn finish(mut self) -> Result<Buffer<Reserved>, ReadError> {
        while !self.advance().await? {}
        let landed = self.ring.take(self.key).and_then(Transfer::into_landed);
        landed.ok_or_else(|| ReadError::Io {
            at: 0,
            error: io::Error::other("the read's buffer is gone"),
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let finished = {
            let mut state = self.ring.state();
            let over = state
                .transfers
                .get_mut(self.key)
                .is_some_and(Transfer::abandon);
            over.then(|| state.transfers.remove(self.key))
        };
        // The buffer's return to the pool may wake others; not while the ring is borrowed.
        drop(finished.and_then(Transfer::into_landed));
        self.ring.wake_one_for_room();
    }
}

impl DataRing {
    fn take(&self, key: usize) -> Option<Transfer> {
        let mut state = self.state();
        let done = state.transfers.get(key).is_some_and(|t| t.outstanding == 0);
        done.then(|| state.transfers.remove(key))
    }

    pub(super) fn landed_at(
        transfer: &Transfer,
        number: usize,
    ) -> Option<(&Buffer<InFlight>, usize)> {
        let extent = transfer.plan.extents().get(number)?;
        match &transfer.buffer {
            Some(Held::Wanted(buffer)) => Some((buffer, extent.at)),
            Some(Held::Orphaned(_)) | None => None,
        }
    }
}
