//! Where the bytes of what is read are: in one file, or in one of several.

use std::fmt::Debug;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// An address space of bytes in files. The ring keeps it, and so the files open, for as long as
/// the kernel may use them.
pub trait Locate: Debug {
    /// The file that has byte `offset`, and where in it; `None` if there is none. The bytes after
    /// it up to the end of a plan's block (see [`Plan::cut_at`](super::Plan::cut_at)) follow it
    /// there.
    fn locate(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)>;
}

impl Locate for File {
    fn locate(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.as_fd(), offset))
    }
}
