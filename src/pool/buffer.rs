//! A buffer of the pool, and who may touch it: its life as types.
//!
//! ```text
//! Free → Reserved → InFlight → Reserved → Leased → Free
//!                      └→ Quarantined → Free
//! ```
//!
//! `Reserved` belongs to the read that asked for it; `InFlight` to the kernel; `Leased` to a
//! client, nobody writes to it; `Quarantined` to the kernel with nobody waiting any more. Only
//! the data ring moves a buffer into and out of the two phases in which I/O may write to it. A
//! buffer dropped in one of those is not freed, ever: losing memory is better than reusing it
//! under a writer.
#![allow(unsafe_code, reason = "phases decide who may see the bytes")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use super::allocator::GRANULE_BYTES;
use super::{Owner, Phase, Pool};

/// The read that reserved it may write to it.
#[derive(Debug)]
pub struct Reserved;
/// The kernel may write to it.
#[derive(Debug)]
pub struct InFlight;
/// A client may read it.
#[derive(Debug)]
pub struct Leased;
/// The kernel may still write to it, and nobody wants it.
#[derive(Debug)]
pub struct Quarantined;

/// A part of the pool in phase `P`; freed when dropped.
#[derive(Debug)]
pub struct Buffer<P> {
    block: Block,
    phase: PhantomData<P>,
}

/// A part of the pool that has one owner.
#[derive(Debug)]
pub(super) struct Block {
    pool: Arc<Pool>,
    owner: Owner,
    start: u32,
    granules: u32,
    phase: Phase,
    generation: u64,
}

impl<P> Buffer<P> {
    /// Offset of the first byte in the pool.
    pub fn offset(&self) -> usize {
        self.block.start as usize * GRANULE_BYTES
    }

    /// Bytes in the buffer.
    pub fn size_bytes(&self) -> usize {
        self.block.granules as usize * GRANULE_BYTES
    }

    /// Number of this reservation; no two of a pool have the same.
    pub fn generation(&self) -> u64 {
        self.block.generation
    }

    fn range(&self, within: Range<usize>) -> Range<usize> {
        assert!(
            within.start <= within.end && within.end <= self.size_bytes(),
            "range {within:?} outside a buffer of {} bytes",
            self.size_bytes()
        );
        self.offset() + within.start..self.offset() + within.end
    }

    fn enter<Q>(mut self, phase: Phase) -> Buffer<Q> {
        self.block.enter(phase);
        Buffer {
            block: self.block,
            phase: PhantomData,
        }
    }
}

impl Buffer<Reserved> {
    pub(super) fn new(block: Block) -> Self {
        Self {
            block,
            phase: PhantomData,
        }
    }

    /// Hands the buffer to the kernel.
    pub(crate) fn take_off(self) -> Buffer<InFlight> {
        self.enter(Phase::InFlight)
    }

    /// Hands the buffer to a client.
    pub fn lease(self) -> Buffer<Leased> {
        self.enter(Phase::Leased)
    }

    /// The bytes in `range` of the buffer.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: in this phase only the owner writes, and it would need `&mut self`.
        unsafe { self.block.pool.memory.slice(self.range(range)) }
    }

    /// The bytes before `middle`, to be written, and those from it on.
    pub fn split(&mut self, middle: usize) -> (&mut [u8], &[u8]) {
        let (front, back) = (self.range(0..middle), self.range(middle..self.size_bytes()));
        let memory = &self.block.pool.memory;
        // SAFETY: in this phase only the owner touches the buffer, `&mut self` makes this the
        // only access, and the two ranges do not overlap.
        let front = unsafe { memory.slice_mut(front) };
        // SAFETY: as above.
        let back = unsafe { memory.slice(back) };
        (front, back)
    }

    /// Keeps the first `bytes`, rounded up to a granule, and frees the rest.
    pub fn truncate(&mut self, bytes: usize) {
        self.block.truncate(super::granules(bytes));
    }
}

impl Buffer<InFlight> {
    /// Address of the byte at `offset` of the buffer, for the kernel.
    pub(crate) fn address(&self, offset: usize) -> *mut u8 {
        self.block
            .pool
            .memory
            .at(self.range(offset..self.size_bytes()).start)
    }

    /// Bytes that have landed.
    ///
    /// # Safety
    /// No I/O that is in flight, or will be before the slice is gone, may write to `range`. The
    /// data ring keeps this: it asks only for what completed reads have filled.
    pub(crate) unsafe fn landed(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: the caller's promise is the one `slice` asks for.
        unsafe { self.block.pool.memory.slice(self.range(range)) }
    }

    /// Takes the buffer back from the kernel.
    ///
    /// # Safety
    /// The caller has seen the last completion of its I/O.
    pub(crate) unsafe fn land(self) -> Buffer<Reserved> {
        self.enter(Phase::Reserved)
    }

    /// The buffer's reader has gone away; the kernel has not.
    pub(crate) fn quarantine(self) -> Buffer<Quarantined> {
        self.enter(Phase::Quarantined)
    }
}

impl Buffer<Quarantined> {
    /// Frees the buffer.
    ///
    /// # Safety
    /// The caller has seen the last completion of its I/O.
    pub(crate) unsafe fn release(self) {
        drop(self.enter::<Reserved>(Phase::Reserved));
    }
}

impl Buffer<Leased> {
    /// Address of the byte at `offset`, as told to clients.
    pub fn local_address(&self, offset: usize) -> u64 {
        self.block
            .pool
            .memory
            .at(self.range(offset..self.size_bytes()).start) as u64
    }
}

impl Block {
    pub(super) fn new(
        pool: &Arc<Pool>,
        owner: Owner,
        start: u32,
        granules: u32,
        generation: u64,
    ) -> Self {
        pool.count(Phase::Reserved, granules);
        Self {
            pool: Arc::clone(pool),
            owner,
            start,
            granules,
            phase: Phase::Reserved,
            generation,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.pool.uncount(self.phase, self.granules);
        self.pool.count(phase, self.granules);
        self.phase = phase;
    }

    fn truncate(&mut self, granules: u32) {
        let keep = granules.max(1);
        if keep < self.granules {
            self.pool.uncount(self.phase, self.granules - keep);
            self.pool
                .free(self.owner, self.start + keep, self.granules - keep);
            self.granules = keep;
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match self.phase {
            Phase::Reserved | Phase::Leased => {
                self.pool.uncount(self.phase, self.granules);
                self.pool.free(self.owner, self.start, self.granules);
            }
            Phase::InFlight | Phase::Quarantined => tracing::error!(
                offset = self.start as usize * GRANULE_BYTES,
                granules = self.granules,
                "a buffer was dropped while I/O may write to it; its memory stays out of use"
            ),
        }
    }
}
