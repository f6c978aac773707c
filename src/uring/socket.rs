//! Bytes of pool buffers on their way from and to sockets, with tokio-uring: the kernel reads and
//! writes the pool itself, nothing is copied on the way.
//!
//! tokio-uring takes a buffer by value for the time of an operation and gives it back, or drops
//! it, only when it has seen the operation's completion, whatever becomes of the future. So who
//! has one of these values in hand knows that the kernel has not. The exception is the end of the
//! runtime itself, which drops what is left without waiting for it: a worker awaits all operations
//! on sockets before it ends.
#![allow(unsafe_code, reason = "hands addresses of the pool to tokio-uring")]

use std::ops::Range;
use std::rc::Rc;

use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::pool::{Buffer, InFlight, Leased, Reserved};

/// A buffer that is being filled from a socket, from its first byte on.
#[derive(Debug)]
pub struct Landing {
    /// Always there but while it is taken apart.
    buffer: Option<Buffer<InFlight>>,
    filled: usize,
    len: usize,
}

impl Landing {
    /// Lands `len` bytes at the front of `buffer`.
    ///
    /// # Panics
    /// When the buffer is shorter.
    pub fn new(buffer: Buffer<Reserved>, len: usize) -> Self {
        assert!(
            len <= buffer.size_bytes(),
            "a landing larger than its buffer"
        );
        Self {
            buffer: Some(buffer.take_off()),
            filled: 0,
            len,
        }
    }

    /// Takes note that the socket has filled `bytes` more; those past the end do not count.
    pub fn advance(&mut self, bytes: usize) {
        self.filled = self.len.min(self.filled.saturating_add(bytes));
    }

    /// Bytes that have landed.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Whether all have.
    pub fn is_complete(&self) -> bool {
        self.filled == self.len
    }

    /// Calls `look` with bytes that have landed.
    ///
    /// # Panics
    /// When some in `range` have not.
    pub fn with_bytes<R>(&self, range: Range<usize>, look: impl FnOnce(&[u8]) -> R) -> R {
        assert!(range.end <= self.filled, "bytes {range:?} have not landed");
        match &self.buffer {
            // SAFETY: the value is in hand, so no operation has it (see the module's head).
            Some(buffer) => look(unsafe { buffer.landed(range) }),
            None => look(&[]),
        }
    }

    /// Takes the buffer back.
    pub fn finish(mut self) -> Option<Buffer<Reserved>> {
        self.take()
    }

    fn take(&mut self) -> Option<Buffer<Reserved>> {
        // SAFETY: the value is in hand or being dropped, so the last completion of its operations
        // has been seen (see the module's head).
        self.buffer.take().map(|buffer| unsafe { buffer.land() })
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        drop(self.take());
    }
}

// SAFETY: the address is the pool's, which stays where it is as long as the buffer is there; the
// buffer is in flight, so nobody else touches its bytes; page memory is always initialised.
unsafe impl IoBuf for Landing {
    fn stable_ptr(&self) -> *const u8 {
        match &self.buffer {
            Some(buffer) => buffer.address(self.filled),
            None => std::ptr::NonNull::dangling().as_ptr(),
        }
    }

    fn bytes_init(&self) -> usize {
        0
    }

    fn bytes_total(&self) -> usize {
        self.len - self.filled
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Landing {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        match &self.buffer {
            Some(buffer) => buffer.address(self.filled),
            None => std::ptr::NonNull::dangling().as_ptr(),
        }
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

/// Bytes of a leased buffer that are being sent.
#[derive(Clone, Debug)]
pub struct Lent {
    buffer: Rc<Buffer<Leased>>,
    range: Range<usize>,
}

impl Lent {
    /// Bytes `range` of `buffer`.
    ///
    /// # Panics
    /// When the buffer is shorter.
    pub fn new(buffer: Rc<Buffer<Leased>>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= buffer.size_bytes());
        Self { buffer, range }
    }
}

// SAFETY: the address is the pool's, which stays where it is as long as the buffer is there;
// nobody writes to a leased buffer.
unsafe impl IoBuf for Lent {
    fn stable_ptr(&self) -> *const u8 {
        self.buffer.local_address(self.range.start) as *const u8
    }

    fn bytes_init(&self) -> usize {
        self.range.len()
    }

    fn bytes_total(&self) -> usize {
        self.range.len()
    }
}

/// Something to write: bytes of ours, or of the pool.
#[derive(Debug)]
pub enum Outgoing {
    /// Ours, from this byte on.
    Own(Vec<u8>, usize),
    /// The pool's.
    Lent(Lent),
}

impl Outgoing {
    /// Takes away `written` bytes from the front of `pieces`, and those that are empty.
    pub fn advance(pieces: &mut Vec<Self>, mut written: usize) {
        pieces.retain_mut(|piece| {
            let taken = written.min(piece.bytes_init());
            written -= taken;
            match piece {
                Self::Own(_, start) => *start += taken,
                Self::Lent(lent) => lent.range.start += taken,
            }
            piece.bytes_init() > 0
        });
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes, 0)
    }
}

impl From<Lent> for Outgoing {
    fn from(bytes: Lent) -> Self {
        Self::Lent(bytes)
    }
}

// SAFETY: a vector's heap memory, and the pool, stay where they are when the value moves; nobody
// writes to either while tokio-uring has it.
unsafe impl IoBuf for Outgoing {
    fn stable_ptr(&self) -> *const u8 {
        match self {
            Self::Own(bytes, start) => bytes.get(*start..).unwrap_or_default().as_ptr(),
            Self::Lent(lent) => lent.stable_ptr(),
        }
    }

    fn bytes_init(&self) -> usize {
        match self {
            Self::Own(bytes, start) => bytes.len().saturating_sub(*start),
            Self::Lent(lent) => lent.bytes_init(),
        }
    }

    fn bytes_total(&self) -> usize {
        self.bytes_init()
    }
}
