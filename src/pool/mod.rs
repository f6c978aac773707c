//! The buffer pool: one slab of memory that every read lands in and every client reads from.
//!
//! Its users are the read path (reserve, land, lease), the data rings (register it once), and
//! clients (map it). It keeps these promises: a buffer has one owner; none is reused while
//! anything may write to it; requests that find no room are served in the order they came.

mod allocator;
mod buffer;
#[allow(unsafe_code, reason = "copies out of memory another process writes")]
pub mod mapping;
mod memory;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub use allocator::{Allocator, GRANULE_BYTES};
pub use buffer::{Buffer, InFlight, Leased, Quarantined, Reserved};
pub use memory::{Memory, Pages, REGION_BYTES};

use buffer::Block;

/// The phases of a buffer that is not free, for accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reserved,
    InFlight,
    Leased,
    Quarantined,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    memory: Memory,
    books: Mutex<Books>,
    /// Bytes in each [`Phase`].
    by_phase: [AtomicU64; 4],
    /// The most bytes one reservation may have.
    largest: usize,
}

/// Who buffers are reserved for, so that one who holds much keeps only itself waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner(pub u64);

/// What the pool's lock guards.
#[derive(Debug)]
struct Books {
    allocator: Allocator,
    waiting: VecDeque<Waiter>,
    /// Granules held, by owner.
    held: HashMap<Owner, u32>,
    generation: u64,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    granules: u32,
    since: Instant,
    grant: oneshot::Sender<Block>,
}

/// Why there is no buffer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// Nothing came free in time.
    #[error("no room for {bytes} bytes in the buffer pool before the deadline")]
    Exhausted {
        /// Bytes asked for.
        bytes: usize,
    },
    /// It would never fit.
    #[error("{bytes} bytes are more than the {largest} a buffer can have")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
        /// The most there can be.
        largest: usize,
    },
}

/// How much of the pool is in which state, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the state it names")]
pub struct Usage {
    pub total: u64,
    pub free: u64,
    pub reserved: u64,
    pub in_flight: u64,
    pub leased: u64,
    pub quarantined: u64,
    /// The largest buffer that could be had at once.
    pub largest_free: u64,
    /// Reservations waiting for room.
    pub waiting: u64,
    /// Reservations granted since start.
    pub granted: u64,
}

/// How long a request holds up those behind it where there is room enough for it, but in pieces.
/// Short leases give a gap by then; long ones may leave none for as long as they last.
const GAP_TIME: Duration = Duration::from_millis(100);

impl Pool {
    /// A pool of at least `bytes`, whose reservations may have up to `largest` bytes.
    ///
    /// No reservation can be larger than the pool, or than [`REGION_BYTES`].
    ///
    /// # Errors
    /// Those of [`Memory::new`]; a pool that is too large to count in granules.
    pub fn new(bytes: usize, largest: usize, pages: Pages) -> io::Result<Arc<Self>> {
        let memory = Memory::new(bytes, pages)?;
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let count = u32::try_from(memory.size_bytes() / GRANULE_BYTES)
            .ok()
            .filter(|&n| n < u32::MAX)
            .ok_or_else(|| invalid("a pool has less than 16 TiB"))?;
        let books = Mutex::new(Books {
            allocator: Allocator::new(count, (REGION_BYTES / GRANULE_BYTES) as u32),
            waiting: VecDeque::new(),
            held: HashMap::new(),
            generation: 0,
        });
        let largest = largest.min(REGION_BYTES).min(memory.size_bytes());
        Ok(Arc::new(Self {
            memory,
            books,
            by_phase: Default::default(),
            largest,
        }))
    }

    /// The most bytes a reservation may have.
    pub fn largest_bytes(&self) -> usize {
        self.largest
    }

    /// The sealed descriptor clients map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.memory.fd()
    }

    /// Bytes of the pool.
    pub fn size_bytes(&self) -> usize {
        self.memory.size_bytes()
    }

    /// Size of the pages under the pool, in bytes.
    pub fn page_bytes(&self) -> usize {
        self.memory.page_bytes()
    }

    /// The regions to register, each at most [`REGION_BYTES`]: address and length.
    pub fn regions(&self) -> impl Iterator<Item = (*mut u8, usize)> + '_ {
        (0..self.size_bytes()).step_by(REGION_BYTES).map(|start| {
            (
                self.memory.at(start),
                REGION_BYTES.min(self.size_bytes() - start),
            )
        })
    }

    /// Reserves `bytes` in one piece for `owner`, waiting in line for them until `deadline`.
    ///
    /// The line is first come, first served. Only a request of somebody who holds more than half of
    /// the pool, or whose request does not fit beside what it holds, is overtaken, by those of others:
    /// it may have to wait until its own owner gives something back. And where there is room enough
    /// for a request, but in pieces, it holds others up for no longer than 0.1 s.
    ///
    /// Dropping the future leaves the line.
    ///
    /// # Errors
    /// When nothing comes free in time, or the buffer could never be that large.
    pub async fn reserve(
        self: &Arc<Self>,
        owner: Owner,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Buffer<Reserved>, ReserveError> {
        if bytes > self.largest {
            return Err(ReserveError::TooLarge {
                bytes,
                largest: self.largest,
            });
        }
        let granted = match self.reserve_or_wait(owner, granules(bytes)) {
            Ok(buffer) => return Ok(buffer),
            Err(granted) => InLine {
                pool: self,
                granted,
            },
        };
        granted
            .wait(deadline)
            .await
            .map(Buffer::new)
            .ok_or(ReserveError::Exhausted { bytes })
    }

    fn reserve_or_wait(
        self: &Arc<Self>,
        owner: Owner,
        granules: u32,
    ) -> Result<Buffer<Reserved>, oneshot::Receiver<Block>> {
        let mut books = self.books();
        if books.waiting.is_empty()
            && let Some(block) = books.take(self, owner, granules)
        {
            return Ok(Buffer::new(block));
        }
        let (grant, granted) = oneshot::channel();
        books.waiting.push_back(Waiter {
            owner,
            granules,
            since: Instant::now(),
            grant,
        });
        let unclaimed = books.serve(self);
        drop(books);
        drop(unclaimed);
        Err(granted)
    }

    /// What is where now.
    pub fn usage(&self) -> Usage {
        let books = self.books();
        let bytes = |phase: Phase| self.by_phase[phase as usize].load(Ordering::Relaxed);
        let granule = GRANULE_BYTES as u64;
        Usage {
            total: self.size_bytes() as u64,
            free: u64::from(books.allocator.free_granules()) * granule,
            reserved: bytes(Phase::Reserved),
            in_flight: bytes(Phase::InFlight),
            leased: bytes(Phase::Leased),
            quarantined: bytes(Phase::Quarantined),
            largest_free: u64::from(books.allocator.largest_free()) * granule,
            waiting: books.waiting.len() as u64,
            granted: books.generation,
        }
    }

    fn count(&self, phase: Phase, granules: u32) {
        let bytes = u64::from(granules) * GRANULE_BYTES as u64;
        self.by_phase[phase as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    fn uncount(&self, phase: Phase, granules: u32) {
        let bytes = u64::from(granules) * GRANULE_BYTES as u64;
        self.by_phase[phase as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    fn free(self: &Arc<Self>, owner: Owner, start: u32, granules: u32) {
        let mut books = self.books();
        books.give_back(owner, start, granules);
        let unclaimed = books.serve(self);
        drop(books);
        drop(unclaimed);
    }

    /// The books are consistent between any two statements that change them, so a panic
    /// elsewhere while they were locked has not spoilt them.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn take(&mut self, pool: &Arc<Pool>, owner: Owner, granules: u32) -> Option<Block> {
        let start = self.allocator.allocate(granules)?;
        *self.held.entry(owner).or_default() += granules;
        self.generation += 1;
        Some(Block::new(pool, owner, start, granules, self.generation))
    }

    fn give_back(&mut self, owner: Owner, start: u32, granules: u32) {
        self.allocator.free(start, granules);
        if let Some(held) = self.held.get_mut(&owner) {
            *held = held.saturating_sub(granules);
            if *held == 0 {
                self.held.remove(&owner);
            }
        }
    }

    /// Whether `owner` holds more than half of the pool, or so much that `granules` do not fit beside
    /// it. What it holds may then be all that is in the way: for want of room, or as pieces that
    /// leave no gap that is large enough.
    fn is_too_much(&self, owner: Owner, granules: u32, total: u32) -> bool {
        let held = self.held.get(&owner).copied().unwrap_or(0);
        held > total / 2 || granules > total - held.min(total)
    }

    /// Grants what now fits. What a waiter that has just gone did not take is returned, to be
    /// dropped (and so served on) once the lock is released.
    fn serve(&mut self, pool: &Arc<Pool>) -> Option<Block> {
        let total = (pool.size_bytes() / GRANULE_BYTES) as u32;
        // Owners that wait for themselves: what else they wait for does not overtake.
        let mut self_blocked: Vec<Owner> = Vec::new();
        let mut place = 0;
        while let Some(waiter) = self.waiting.get(place) {
            let (owner, granules, since) = (waiter.owner, waiter.granules, waiter.since);
            if waiter.grant.is_closed() {
                self.waiting.remove(place);
            } else if self_blocked.contains(&owner) {
                place += 1;
            } else if let Some(block) = self.take(pool, owner, granules) {
                let waiter = self.waiting.remove(place)?;
                if let Err(unclaimed) = waiter.grant.send(block) {
                    return Some(unclaimed);
                }
            } else if self.is_too_much(owner, granules, total) {
                self_blocked.push(owner);
                place += 1;
            } else if self.allocator.free_granules() >= granules && since.elapsed() >= GAP_TIME {
                place += 1;
            } else {
                return None;
            }
        }
        None
    }
}

/// A place in the line for room.
struct InLine<'a> {
    pool: &'a Arc<Pool>,
    granted: oneshot::Receiver<Block>,
}

impl InLine<'_> {
    async fn wait(mut self, deadline: Instant) -> Option<Block> {
        let early = deadline.min(Instant::now() + GAP_TIME);
        if let Ok(granted) = tokio::time::timeout_at(early, &mut self.granted).await {
            return granted.ok();
        }
        // Whoever is ahead may not hold this one up any longer.
        let unclaimed = self.pool.books().serve(self.pool);
        drop(unclaimed);
        let granted = tokio::time::timeout_at(deadline, &mut self.granted).await;
        granted.ok()?.ok()
    }
}

impl Drop for InLine<'_> {
    /// Whoever leaves from the head of the line may have been all that held up the others.
    fn drop(&mut self) {
        self.granted.close();
        let late = self.granted.try_recv();
        let mut books = self.pool.books();
        books.waiting.retain(|waiter| !waiter.grant.is_closed());
        let unclaimed = books.serve(self.pool);
        drop(books);
        drop((late, unclaimed));
    }
}

/// Granules that hold `bytes`.
fn granules(bytes: usize) -> u32 {
    bytes.div_ceil(GRANULE_BYTES).max(1) as u32
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
