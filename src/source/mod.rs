//! Where bytes come from: a source takes what to read, lands it in a reserved buffer, and says
//! what it knows of the checksum.
//!
//! Volume files of this host ([`local`]) come first; what is not here is read from peers
//! ([`remote`]).

mod arrival;
mod compressed;
mod erasure;
mod extents;
mod follower;
pub mod local;
mod memory;
pub mod remote;
mod volumes;

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::{Code, Error, Result};
use crate::peer::Fallback;
use crate::pool::{Buffer, Owner, Pool, ReserveError, Reserved};
use crate::telemetry::{Metrics, StageClock, Stamp};
use crate::uring::{DataRing, ReadError};

pub use follower::Follower;
pub use volumes::Volumes;

/// What a worker brings to a read.
#[derive(Debug)]
pub struct Reader {
    /// The worker's ring.
    pub ring: Rc<DataRing>,
    /// Where bytes land.
    pub pool: Arc<Pool>,
    /// The most bytes a read may land.
    pub max_transfer: u64,
    /// Needles that may be decompressed beside the workers at once.
    pub decoders: Arc<Semaphore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A byte range of a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The needle's id.
    pub needle_id: u64,
    /// Its cookie, as the client knows it.
    pub cookie: u32,
    /// First logical byte.
    pub offset: u64,
    /// Logical bytes; 0 is "to the end".
    pub size: u64,
    /// Who wants it.
    pub owner: Owner,
}

/// How bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// From a volume file of this host.
    Local,
    /// By RDMA READ from a peer.
    Verbs,
    /// Over TCP from a peer; why not by RDMA, where that would have been possible.
    Tcp(Option<Fallback>),
}

impl Transport {
    /// The names, in the order of their numbers.
    pub const LABELS: [&'static str; 3] = ["local", "verbs", "tcp"];

    /// Its name in the protocol.
    pub const fn as_str(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Its number.
    pub const fn index(self) -> usize {
        match self {
            Transport::Local => 0,
            Transport::Verbs => 1,
            Transport::Tcp(_) => 2,
        }
    }
}

/// Bytes in the pool.
#[derive(Debug)]
pub struct Landed {
    /// The buffer they are in.
    pub buffer: Buffer<Reserved>,
    /// Where in it.
    pub data: Range<usize>,
    /// CRC-32C of them.
    pub crc: u32,
    /// Logical length of the whole needle.
    pub needle_size: u64,
    /// The checksum stored with the needle was checked, and matched.
    pub crc_verified: bool,
    /// How they came.
    pub transport: Transport,
    /// From the submission to the last completion of the attempt that brought them.
    pub completion: Duration,
}

impl Wanted {
    /// The range clipped to a needle of `len` logical bytes; empty when it begins past the end.
    fn window(&self, len: u64) -> Range<u64> {
        let start = self.offset.min(len);
        let end = match self.size {
            0 => len,
            size => self.offset.saturating_add(size).min(len),
        };
        start..end.max(start)
    }

    /// The range of a needle of `len` logical bytes, if it is one that can be served.
    ///
    /// # Errors
    /// INVALID_REQUEST when it begins at or past the end (an empty needle may be read at 0),
    /// TRANSFER_TOO_LARGE when it is longer than `max_transfer`.
    fn checked_window(&self, len: u64, max_transfer: u64) -> Result<Range<u64>> {
        if self.offset >= len && (self.offset, len) != (0, 0) {
            let why = format!(
                "offset {} is at or past the end of the needle's {len} bytes",
                self.offset
            );
            return Err(Error::new(Code::InvalidRequest, why));
        }
        let window = self.window(len);
        let bytes = window.end - window.start;
        if bytes > max_transfer {
            return Err(Error::new(
                Code::TransferTooLarge,
                format!(
                    "{bytes} bytes are more than the {max_transfer} of one transfer; read the needle in ranges"
                ),
            ));
        }
        Ok(window)
    }
}

impl Reader {
    async fn reserve(
        &self,
        owner: Owner,
        bytes: usize,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Buffer<Reserved>> {
        let mut reserving = pin!(self.pool.reserve(owner, bytes, deadline));
        let reserved = match poll_fn(|cx| Poll::Ready(reserving.as_mut().poll(cx))).await {
            Poll::Ready(at_once) => at_once,
            Poll::Pending => {
                let begun = Stamp::now();
                let reserved = reserving.await;
                let waited = begun.elapsed();
                clock.waited(waited);
                self.metrics.pool_wait.record(waited);
                reserved
            }
        };
        reserved.map_err(|error| match error {
            ReserveError::Exhausted { .. } => {
                self.metrics.pool_exhausted.increment(1);
                Error::new(
                    Code::ResourceExhausted,
                    format!("{error}; complete reads sooner, or raise --buffer-size"),
                )
            }
            ReserveError::TooLarge { .. } => Error::new(
                Code::TransferTooLarge,
                format!(
                    "the read needs a buffer of {error}; read in ranges, or raise max_transfer_size"
                ),
            ),
        })
    }
}

/// A needle's read that failed below the format.
fn read_error(error: ReadError) -> Error {
    match error {
        ReadError::Truncated { at } => Error::new(
            Code::CorruptVolume,
            format!("the .dat file ends at byte {at}, inside a needle its index points to"),
        ),
        ReadError::Io { error, .. } => Error::new(
            Code::IoError,
            format!("reading the .dat file failed: {error}"),
        ),
    }
}

fn checksum_mismatch(stored: u32, computed: u32) -> Error {
    Error::new(
        Code::ChecksumMismatch,
        format!(
            "the data's CRC-32C is {computed:08x}, the needle says {stored:08x}; read another replica"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offset: u64, size: u64) -> Wanted {
        Wanted {
            needle_id: 1,
            cookie: 2,
            offset,
            size,
            owner: Owner::default(),
        }
    }

    #[test]
    fn a_window_is_clipped_to_the_needle() {
        assert_eq!(wanted(0, 0).window(10), 0..10);
        assert_eq!(wanted(3, 4).window(10), 3..7);
        assert_eq!(wanted(3, u64::MAX).window(10), 3..10);
        assert_eq!(wanted(u64::MAX, 5).window(10), 10..10);
    }

    #[test]
    fn a_range_past_the_end_is_invalid_but_an_empty_needle_can_be_read() {
        let code = |w: Wanted, len| w.checked_window(len, 100).map_err(|e| e.code);
        assert_eq!(code(wanted(10, 1), 10), Err(Code::InvalidRequest));
        assert_eq!(code(wanted(9, 1), 10), Ok(9..10));
        assert_eq!(code(wanted(0, 0), 0), Ok(0..0));
        assert_eq!(code(wanted(0, 7), 0), Ok(0..0));
        assert_eq!(code(wanted(1, 0), 0), Err(Code::InvalidRequest));
    }

    #[test]
    fn only_what_would_land_counts_towards_the_limit() {
        let code = |w: Wanted| w.checked_window(1000, 100).map_err(|e| e.code);
        assert_eq!(code(wanted(0, 0)), Err(Code::TransferTooLarge));
        assert_eq!(code(wanted(0, 101)), Err(Code::TransferTooLarge));
        assert_eq!(code(wanted(0, 100)), Ok(0..100));
        assert_eq!(code(wanted(900, u64::MAX)), Ok(900..1000));
    }
}
