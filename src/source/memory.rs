//! Memory of a peer's, READ into the pool; and what is made sure of before it is handed out.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::remote::{Failure, Remote, broken, rdma_failed};
use super::{Landed, Transport, Wanted, checksum_mismatch};
use crate::crc::{Crc32c, stored_matches};
use crate::error::{Code, Error, Result};
use crate::peer::message::Facts;
use crate::pool::{Buffer, Reserved};
use crate::telemetry::{Metrics, Stage, StageClock, Stamp};
use crate::verbs::{ReadFailure, RemoteMemory, Requester, WcStatus};

/// What is read of memory that a client names, if it does not say how much.
const NAMED_BYTES_DEFAULT: u64 = 65_536;

/// How often a read of named memory is tried again that failed with another's.
const FLUSHED_MAX: u32 = 8;

impl Remote<'_> {
    /// Reads exactly the memory that a client names, of the peer it names, or the only one.
    ///
    /// # Errors
    /// NO_ROUTE, PEER_UNAVAILABLE, RDMA_OPERATION_FAILED with the cause, TRANSFER_TOO_LARGE.
    pub async fn read_named(
        &self,
        peer: Option<&str>,
        from: RemoteMemory,
        wanted: &Wanted,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Landed> {
        let size = match wanted.size {
            0 => NAMED_BYTES_DEFAULT,
            size => size,
        };
        let max = self.reader.max_transfer;
        if size > max {
            let why = format!("{size} bytes are more than the {max} of one transfer");
            return Err(Error::new(Code::TransferTooLarge, why));
        }
        let addr = from
            .addr
            .checked_add(wanted.offset)
            .filter(|a| a.checked_add(size).is_some());
        let addr = addr.ok_or_else(|| {
            Error::new(
                Code::InvalidRequest,
                "the range ends past the end of all memory",
            )
        })?;
        let from = RemoteMemory { addr, ..from };
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let link = Rc::clone(self.links.named(peer)?);
        let mut flushed = 0;
        loop {
            let requester = self.links.queue_pair(&link, true, deadline).await?;
            let buffer = self.reserve(wanted.owner, size, deadline, clock).await?;
            self.metrics.attempt(Transport::Verbs);
            clock.lap(Stage::Submit, Stamp::now());
            let came = read_memory(&requester, from, buffer, length).await;
            clock.lap(Stage::Transport, Stamp::now());
            match came {
                Ok(came) => return Ok(came.landed(size, false)),
                Err(failure) => {
                    self.metrics.attempt_failed(Transport::Verbs);
                    link.look_at_queue_pairs();
                    // Another's failure took this one with it: again, over a new queue pair.
                    if failure.status == WcStatus::WrFlushErr && flushed < FLUSHED_MAX {
                        flushed += 1;
                        continue;
                    }
                    return Err(rdma_failed(&failure));
                }
            }
        }
    }
}

/// Bytes that have come.
pub(super) struct Came {
    pub buffer: Buffer<Reserved>,
    pub length: usize,
    pub crc: u32,
    pub transport: Transport,
    pub completion: Duration,
}

pub(super) async fn read_memory(
    requester: &Rc<Requester>,
    from: RemoteMemory,
    buffer: Buffer<Reserved>,
    length: usize,
) -> Result<Came, ReadFailure> {
    let mut crc = Crc32c::new();
    let (mut buffer, completion) = if length == 0 {
        (buffer, Duration::ZERO)
    } else {
        let mut flight = requester.read(from, buffer, length);
        let mut checked = 0;
        while checked < length {
            flight.advance().await?;
            let landed = flight.landed();
            flight.with_bytes(checked..landed, |bytes| crc.update(bytes));
            checked = landed;
        }
        let completion = flight.post_to_completion().unwrap_or_default();
        (flight.finish().await?, completion)
    };
    buffer.truncate(length);
    Ok(Came {
        buffer,
        length,
        crc: crc.value(),
        transport: Transport::Verbs,
        completion,
    })
}

impl Came {
    /// Makes sure that this is what was wanted, as far as the peer's word on it goes.
    pub(super) fn check(
        self,
        facts: &Facts,
        wanted: &Wanted,
        metrics: &Metrics,
    ) -> Result<Landed, Failure> {
        let window = wanted.checked_window(facts.needle_size, u64::MAX);
        if !window.is_ok_and(|window| window.end - window.start == facts.length) {
            return Err(broken("it gave another range than was asked for"));
        }
        if let Some(crc) = facts.crc.filter(|&crc| crc != self.crc) {
            let why = format!(
                "the bytes that came have CRC-32C {:08x}, the peer's had {crc:08x}: they changed on the way, or were no longer lent",
                self.crc
            );
            return Err(Failure::OfPath(Error::new(Code::ChecksumMismatch, why)));
        }
        let stored = facts
            .stored
            .map(|stored| (stored, stored_matches(stored, self.crc)));
        if let Some((stored, false)) = stored {
            metrics.checksum_mismatches.increment(1);
            return Err(Failure::OfPath(checksum_mismatch(stored, self.crc)));
        }
        let verified = facts.verified || stored.is_some();
        Ok(self.landed(facts.needle_size, verified))
    }

    fn landed(self, needle_size: u64, crc_verified: bool) -> Landed {
        Landed {
            data: 0..self.length,
            buffer: self.buffer,
            crc: self.crc,
            needle_size,
            crc_verified,
            transport: self.transport,
            completion: self.completion,
        }
    }
}
