//! The pool's memory: one sealed memfd, mapped once.
//!
//! The engine's is the only writable mapping there will ever be: the seals refuse another, and
//! refuse any change of length, so a client that has the descriptor can read and nothing else.
//! Who may write to which part of it, and when, is kept by [`super::Buffer`] and its phases.
#![allow(unsafe_code, reason = "the mapping's raw memory becomes slices here")]

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

/// The most bytes registered in one piece: io_uring's limit for a fixed buffer.
pub const REGION_BYTES: usize = 1 << 30;

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Whether the pool should lie on huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages from the host's reserve.
    Huge,
    /// Whatever the kernel's ordinary page is.
    Ordinary,
}

/// The mapped, sealed memory of a pool.
#[derive(Debug)]
pub struct Memory {
    map: MmapRaw,
    fd: OwnedFd,
    page_bytes: usize,
}

impl Memory {
    /// Maps at least `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    /// Those of memfd_create, ftruncate, mmap and sealing; ENOMEM from [`Pages::Huge`] means
    /// that too few huge pages are reserved.
    pub fn new(bytes: usize, pages: Pages) -> io::Result<Self> {
        let (page_bytes, flags) = match pages {
            Pages::Huge => (HUGE_PAGE_BYTES, MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB),
            Pages::Ordinary => (rustix::param::page_size(), MemfdFlags::empty()),
        };
        let length = bytes
            .checked_next_multiple_of(page_bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "pool size overflows"))?;
        let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("rdma-engine-pool", flags)?;
        rustix::fs::ftruncate(&fd, length as u64)?;
        let map = MmapOptions::new().len(length).map_raw(&fd)?;
        rustix::fs::fcntl_add_seals(
            &fd,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )?;
        Ok(Self {
            map,
            fd,
            page_bytes,
        })
    }

    /// Bytes mapped.
    pub fn size_bytes(&self) -> usize {
        self.map.len()
    }

    /// Size of a page, in bytes.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Address of the first byte.
    pub fn address(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The descriptor clients map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Address of byte `offset`.
    ///
    /// # Panics
    /// When `offset` is outside the mapping; every caller has it from the allocator.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(
            offset <= self.size_bytes(),
            "offset {offset} outside a pool of {} bytes",
            self.size_bytes()
        );
        // SAFETY: the offset is inside the mapping, or one past its end.
        unsafe { self.map.as_mut_ptr().add(offset) }
    }

    /// The bytes in `range`.
    ///
    /// # Safety
    /// For as long as the slice lives nothing may write to the range: neither the engine nor an
    /// I/O in flight. [`super::Buffer`] keeps this by its phases.
    ///
    /// # Panics
    /// When the range is outside the mapping.
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &[u8] {
        self.check(&range);
        // SAFETY: inside the mapping, which lives as long as self; page memory is always
        // initialised; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.at(range.start), range.len()) }
    }

    /// The bytes in `range`, to be written.
    ///
    /// # Safety
    /// For as long as the slice lives nothing else in this process, and no I/O in flight, may
    /// touch the range. [`super::Buffer`] keeps this by its phases. (Clients may read it through
    /// their own mappings; they are told to trust nothing they do not hold a lease on.)
    ///
    /// # Panics
    /// When the range is outside the mapping.
    #[allow(
        clippy::mut_from_ref,
        reason = "disjoint ranges are handed out by the allocator"
    )]
    pub(super) unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [u8] {
        self.check(&range);
        // SAFETY: as in `slice`, and the caller has the range to itself.
        unsafe { std::slice::from_raw_parts_mut(self.at(range.start), range.len()) }
    }

    fn check(&self, range: &Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.size_bytes(),
            "range {range:?} outside a pool of {} bytes",
            self.size_bytes()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_sealed_against_new_writers_and_resizing() {
        let memory = Memory::new(5000, Pages::Ordinary).unwrap();
        assert_eq!(memory.size_bytes() % memory.page_bytes(), 0);
        assert!(
            MmapOptions::new().len(4096).map_raw(&memory.fd()).is_err(),
            "a writable mapping"
        );
        assert!(rustix::io::write(memory.fd(), b"x").is_err(), "write()");
        assert!(
            rustix::fs::ftruncate(memory.fd(), 1 << 20).is_err(),
            "growing"
        );
        assert!(rustix::fs::ftruncate(memory.fd(), 0).is_err(), "shrinking");
        assert!(
            rustix::fs::fcntl_add_seals(memory.fd(), SealFlags::WRITE).is_err(),
            "another seal"
        );
    }

    #[test]
    fn what_is_written_through_the_mapping_is_read_through_the_descriptor() {
        let memory = Memory::new(8192, Pages::Ordinary).unwrap();
        // SAFETY: nobody else knows of this memory.
        unsafe { memory.slice_mut(4096..4099) }.copy_from_slice(b"abc");
        let mut seen = [0; 3];
        rustix::io::pread(memory.fd(), &mut seen, 4096).unwrap();
        assert_eq!(&seen, b"abc");
    }
}
