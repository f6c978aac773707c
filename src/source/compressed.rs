//! Needles stored compressed, served as the bytes that were compressed.
//!
//! The stored bytes are landed behind the room for the decoded ones, in one reservation (a read
//! that held one buffer while it waits for another could deadlock with its like), checked
//! against their checksum, and decoded to the front, in place. The whole needle is decoded
//! whatever range was asked for: only its end tells how long it is. Long ones are decoded on
//! threads beside the workers, as many at once as there are cores.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::arrival::{Arrival, Ask, land};
use super::extents::Span;
use super::{Landed, Reader, Transport, Wanted, checksum_mismatch};
use crate::crc::{Crc32c, stored_matches};
use crate::error::{Code, Error, Result};
use crate::pool::{Buffer, GRANULE_BYTES, Owner, Reserved};
use crate::telemetry::{Stage, StageClock, Stamp};
use crate::uring::Plan;
use crate::volume::{Decoder, Encoding, Volume};

/// Needles that have, or claim to decode to, more than this are decoded on a thread that may take
/// its time; a worker has other clients to serve.
const INLINE_BYTES: u64 = 256 << 10;
/// Bytes decoded at a time where nobody wants them.
const DISCARD_BYTES: usize = 64 << 10;
/// The most bytes a needle may decode to: SeaweedFS counts them in 32 bits.
const LOGICAL_MAX: u64 = u32::MAX as u64;

/// Compressed data as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it begins in the .dat file.
    pub offset: u64,
    /// Its bytes.
    pub len: usize,
    /// Its checksum, as stored.
    pub crc: u32,
    /// How it is compressed.
    pub encoding: Encoding,
    /// How many bytes it claims to decode to.
    pub len_hint: Option<u64>,
}

/// Reads and decodes `stored`, and lands the part of it that is `wanted`.
///
/// # Errors
/// As [`super::local::read`]; also when it decodes to more than it may.
pub async fn read(
    reader: &Reader,
    volume: &Volume,
    stored: &Stored,
    wanted: &Wanted,
    deadline: Instant,
    clock: &StageClock,
) -> Result<Landed> {
    // The length the data claims is a guess. Where it is wrong, or none that could be served, the
    // first pass finds the true one, and a second puts the right bytes in place.
    let claimed = stored.len_hint.map(|len| wanted.window(len));
    let servable = |window: &Range<u64>| window.end - window.start <= reader.max_transfer;
    let mut window = claimed.filter(servable).unwrap_or(0..0);
    loop {
        let room = (window.end - window.start) as usize;
        let (buffer, completion) = stored
            .land(reader, volume, (wanted.owner, room), deadline, clock)
            .await?;
        let decoding = Decoding {
            stored: stored.clone(),
            wanted: *wanted,
            max_transfer: reader.max_transfer,
            window: window.clone(),
            buffer,
        };
        let pass = match stored.len_hint {
            Some(len) if len.max(stored.len as u64) <= INLINE_BYTES => {
                decoding.run(INLINE_BYTES, &AtomicBool::new(false))?
            }
            _ => Pass::TooLong(decoding),
        };
        let decoded = match pass {
            Pass::Done(decoded) => decoded,
            Pass::TooLong(decoding) => decoding.run_aside(&reader.decoders).await?,
        };
        let Decoded {
            mut buffer,
            len,
            crc,
        } = decoded;
        let exact = wanted.checked_window(len, reader.max_transfer)?;
        if exact == window {
            buffer.truncate(room);
            return Ok(Landed {
                buffer,
                data: 0..room,
                crc,
                needle_size: len,
                crc_verified: true,
                transport: Transport::Local,
                completion,
            });
        }
        clock.lap(Stage::Verify, Stamp::now());
        window = exact;
    }
}

impl Stored {
    /// Where the stored bytes begin in a buffer with `room` before them.
    fn at(&self, room: usize) -> usize {
        room.next_multiple_of(GRANULE_BYTES) + (self.offset % GRANULE_BYTES as u64) as usize
    }

    /// Lands the stored bytes behind `room` for decoded ones of `owner`'s, and checks them. Also
    /// returns how long it was from the submission to the last completion.
    async fn land(
        &self,
        reader: &Reader,
        volume: &Volume,
        (owner, room): (Owner, usize),
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<(Buffer<Reserved>, Duration)> {
        let span = Span {
            offset: self.offset,
            len: self.len,
        };
        let ask = Ask {
            spans: [span],
            base: room.next_multiple_of(GRANULE_BYTES),
            owner,
            deadline,
            clock,
        };
        let watch = async |arrival: &mut Arrival, plan: &Plan| self.watch(arrival, plan).await;
        let arrived = land(reader, &volume.data(), ask, watch).await?;
        Ok((arrived.buffer, arrived.completion))
    }

    /// Follows the stored bytes as they land, and checks them.
    async fn watch(&self, arrival: &mut Arrival, plan: &Plan) -> Result<()> {
        let mut crc = Crc32c::new();
        let skip = plan.find(self.offset, self.len).map_or(0, |(_, skip)| skip);
        let mut done = skip;
        while !arrival.advance().await? {
            let landed = arrival.landed(0);
            arrival.with_bytes(0, done..landed.max(done), |bytes| crc.update(bytes));
            done = landed.max(done);
            tokio::task::yield_now().await;
        }
        arrival.with_bytes(0, done..skip + self.len, |bytes| crc.update(bytes));
        if !stored_matches(self.crc, crc.value()) {
            return Err(checksum_mismatch(self.crc, crc.value()));
        }
        Ok(())
    }
}

/// One pass over the stored bytes.
struct Decoding {
    stored: Stored,
    wanted: Wanted,
    max_transfer: u64,
    /// What goes to the front of the buffer.
    window: Range<u64>,
    buffer: Buffer<Reserved>,
}

/// The end of a pass.
struct Decoded {
    buffer: Buffer<Reserved>,
    /// Bytes the needle decodes to.
    len: u64,
    /// Checksum of those in the window.
    crc: u32,
}

/// How far a pass has come.
enum Pass {
    Done(Decoded),
    /// It decodes to more than was allowed for: nothing of it counts.
    TooLong(Decoding),
}

/// Tells a pass that nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Decoding {
    /// Decodes on a thread of its own, when one of `decoders` is free.
    async fn run_aside(self, decoders: &Arc<Semaphore>) -> Result<Decoded> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(
                Code::Internal,
                format!("decompressing the needle failed: {why}"),
            )
        };
        let permit = Arc::clone(decoders)
            .acquire_owned()
            .await
            .map_err(|e| failed(&e))?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(Arc::clone(&cancelled));
        let pass = tokio::task::spawn_blocking(move || {
            let pass = self.run(LOGICAL_MAX, &cancelled);
            drop(permit);
            pass
        });
        match pass.await.map_err(|e| failed(&e))?? {
            Pass::Done(decoded) => Ok(decoded),
            Pass::TooLong(_) => Err(failed(&"it decodes to more than 4 GiB")),
        }
    }

    /// Decodes everything, up to about `limit` bytes, and puts what lies in the window at the
    /// front of the buffer.
    fn run(mut self, limit: u64, cancelled: &AtomicBool) -> Result<Pass> {
        let room = (self.window.end - self.window.start) as usize;
        let at = self.stored.at(room);
        let middle = room.next_multiple_of(GRANULE_BYTES);
        let (front, back) = self.buffer.split(middle);
        let stored = back
            .get(at - middle..at - middle + self.stored.len)
            .unwrap_or_default();
        let mut decoder = Decoder::new(stored)?;
        let mut discarded = vec![0; DISCARD_BYTES];
        let (mut crc, mut position) = (Crc32c::new(), 0);
        loop {
            let wanted = self.window.contains(&position);
            let into = if wanted {
                &mut front[(position - self.window.start) as usize..room]
            } else {
                // Up to the window, or whatever comes after it.
                let left = self
                    .window
                    .start
                    .checked_sub(position)
                    .filter(|&left| left > 0);
                let step = left.map_or(DISCARD_BYTES, |left| {
                    left.min(DISCARD_BYTES as u64) as usize
                });
                &mut discarded[..step]
            };
            let decoded = decoder.read(into)?;
            if wanted {
                crc.update(&into[..decoded]);
            }
            if decoded == 0 {
                break;
            }
            position += decoded as u64;
            check_growth(&self.wanted, self.max_transfer, self.stored.len, position)?;
            if position > limit {
                return Ok(Pass::TooLong(self));
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err(Error::new(
                    Code::SessionExpired,
                    "nobody waits for the needle any more",
                ));
            }
        }
        Ok(Pass::Done(Decoded {
            buffer: self.buffer,
            len: position,
            crc: crc.value(),
        }))
    }
}

/// Stops a needle that expands past what could be served, as soon as that is known.
fn check_growth(wanted: &Wanted, max_transfer: u64, stored_len: usize, decoded: u64) -> Result<()> {
    let to_the_end = wanted.size == 0;
    let beyond = decoded.saturating_sub(wanted.offset);
    if decoded > LOGICAL_MAX || (to_the_end && beyond > max_transfer) {
        return Err(Error::new(
            Code::TransferTooLarge,
            format!(
                "the needle's {stored_len} stored bytes expand past the {max_transfer} of one transfer; \
                 read it in ranges"
            ),
        ));
    }
    Ok(())
}
