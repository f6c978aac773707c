//! The pool as a client sees it: another process's memory, mapped read-only.
//!
//! The engine writes to this memory while it is mapped, so no reference to it is ever made or
//! handed out: bytes leave it only by being copied. Whether the bytes copied are those of a read is
//! the lease's promise, not this module's: take them before the lease's deadline, and check them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};

/// Seals a pool must have: its size can not change, nobody else can map it writable, and none of
/// that can be undone (nor anything added).
pub const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

/// A sealed memfd, mapped read-only and shared.
#[derive(Debug)]
pub struct ReadOnlyMapping {
    map: MmapRaw,
}

/// Why a descriptor can not be mapped as a pool.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The descriptor has no seals to ask for: it is not a memfd.
    #[error("reading the seals of the pool's descriptor: {0}; it is not a memfd")]
    NotAMemfd(#[source] io::Error),
    /// Memory that could shrink under the mapping, or be written by others.
    #[error("the pool's memfd lacks the seals {missing:?}")]
    NotSealed {
        /// Those of [`SEALS`] it has not.
        missing: SealFlags,
    },
    /// The memfd is not as long as announced, or has no bytes.
    #[error("the pool was announced with {announced} bytes, its memfd has {actual}")]
    Length {
        /// Bytes the engine said.
        announced: u64,
        /// Bytes the memfd has.
        actual: u64,
    },
    /// The kernel refused.
    #[error(
        "mapping {bytes} bytes of the pool: {source}; is the address space limited (ulimit -v)?"
    )]
    Map {
        /// Bytes to be mapped.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A range that is not within the mapping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at offset {offset} are not within the pool's {pool_bytes} bytes")]
pub struct OutOfPool {
    /// First byte of the range.
    pub offset: u64,
    /// Bytes of the range.
    pub bytes: u64,
    /// Bytes of the pool.
    pub pool_bytes: u64,
}

impl ReadOnlyMapping {
    /// Maps the whole of a memfd. The descriptor is not needed afterwards.
    ///
    /// # Errors
    /// Unless it is a memfd of exactly `announced` bytes, at least 1, with all of [`SEALS`].
    pub fn new(memfd: BorrowedFd<'_>, announced: u64) -> Result<Self, MapError> {
        let seals = fcntl_get_seals(memfd).map_err(|e| MapError::NotAMemfd(e.into()))?;
        if !seals.contains(SEALS) {
            let missing = SEALS.difference(seals);
            return Err(MapError::NotSealed { missing });
        }
        let stat = fstat(memfd).map_err(|e| MapError::NotAMemfd(e.into()))?;
        let actual = u64::try_from(stat.st_size).unwrap_or(0);
        let bytes = match usize::try_from(actual) {
            Ok(bytes) if bytes > 0 && actual == announced => bytes,
            _ => return Err(MapError::Length { announced, actual }),
        };
        let map = MmapOptions::new()
            .len(bytes)
            .map_raw_read_only(memfd.as_fd().as_raw_fd())
            .map_err(|source| MapError::Map { bytes, source })?;
        Ok(Self { map })
    }

    /// Bytes mapped.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Checks that `bytes` bytes at `offset` are within the mapping.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self, offset: u64, bytes: u64) -> Result<(), OutOfPool> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes() => Ok(()),
            _ => Err(OutOfPool {
                offset,
                bytes,
                pool_bytes: self.bytes(),
            }),
        }
    }

    /// Copies the bytes at `offset` over the whole of `into`.
    ///
    /// # Errors
    /// When they are not all within the mapping; nothing is copied then.
    pub fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfPool> {
        self.check(offset, into.len() as u64)?;
        let from = self.map.as_ptr().wrapping_add(offset as usize);
        // SAFETY: `from` and the `into.len()` bytes after it lie in the mapping (checked above), which
        // `self.map` keeps mapped and the SHRINK seal, checked by `new`, keeps backed by memory.
        // `into` is exclusively ours and can not lie in the mapping, which is never lent out. The
        // engine may write while we copy: no reference to the source exists, any value of a byte
        // is a valid u8, and the caller checks what was copied against the lease.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
    use std::fs::File;
    use std::io::Write;

    fn memfd(bytes: &[u8]) -> File {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("pool", flags).unwrap());
        file.write_all(bytes).unwrap();
        file
    }

    fn sealed(bytes: &[u8]) -> File {
        let file = memfd(bytes);
        fcntl_add_seals(&file, SEALS).unwrap();
        file
    }

    #[test]
    fn bytes_are_copied_out_from_where_they_lie() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let pool = ReadOnlyMapping::new(sealed(&bytes).as_fd(), 10_000).unwrap();
        let mut out = vec![0; 300];
        pool.copy_out(5_000, &mut out).unwrap();
        assert_eq!(out, bytes[5_000..5_300]);
        let mut all = vec![0; 10_000];
        pool.copy_out(0, &mut all).unwrap();
        assert_eq!(all, bytes);
        pool.copy_out(10_000, &mut []).unwrap();
    }

    #[test]
    fn what_the_owner_writes_after_sealing_is_seen() {
        let owner = memfd(&[0; 4096]);
        let writable = MmapOptions::new().len(4096).map_raw(&owner).unwrap();
        fcntl_add_seals(&owner, SEALS).unwrap();
        let pool = ReadOnlyMapping::new(owner.as_fd(), 4096).unwrap();
        let at = writable.as_mut_ptr().wrapping_add(100);
        // SAFETY: 4 bytes at 100 lie in `writable`, of 4096, alive until the end of the test; no
        // reference to them exists.
        unsafe { ptr::copy_nonoverlapping(b"late".as_ptr(), at, 4) };
        let mut out = [0; 4];
        pool.copy_out(100, &mut out).unwrap();
        assert_eq!(&out, b"late");
        let second = MmapOptions::new().len(4096).map_raw(&owner);
        assert!(second.is_err(), "a writable mapping after sealing");
    }

    #[test]
    fn a_range_that_leaves_the_pool_is_refused_and_copies_nothing() {
        let pool = ReadOnlyMapping::new(sealed(&[1; 4096]).as_fd(), 4096).unwrap();
        for (offset, len) in [(4096, 1), (4000, 97), (u64::MAX, 1), (1 << 40, 16)] {
            let mut out = vec![0; len];
            let refused = pool.copy_out(offset, &mut out).unwrap_err();
            assert_eq!((refused.offset, refused.pool_bytes), (offset, 4096));
            assert_eq!(out, vec![0; len]);
        }
    }

    #[test]
    fn a_memfd_without_a_seal_is_refused_and_named() {
        let file = memfd(&[0; 64]);
        fcntl_add_seals(&file, SEALS.difference(SealFlags::SHRINK)).unwrap();
        let refused = ReadOnlyMapping::new(file.as_fd(), 64)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("SHRINK"), "{refused}");
    }

    #[test]
    fn an_ordinary_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let refused = ReadOnlyMapping::new(file.as_fd(), 0);
        assert!(matches!(refused, Err(MapError::NotAMemfd(_))));
    }

    #[test]
    fn another_length_than_announced_and_no_length_are_refused() {
        for (bytes, announced) in [(64, 63), (64, 65), (0, 0)] {
            let refused = ReadOnlyMapping::new(sealed(&vec![0; bytes]).as_fd(), announced);
            assert!(matches!(refused, Err(MapError::Length { .. })));
        }
    }
}
