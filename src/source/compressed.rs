//! Needles stored compressed, served as the bytes that were compressed.
//!
//! The stored bytes are landed behind the room for the decoded ones, in one reservation (a read
//! that held one buffer while it waits for another could deadlock with its like), checked
//! against their checksum, and decoded to the front. The whole needle is decoded whatever range
//! was asked for: only its end tells how long it is.

use std::ops::Range;

use tokio::time::Instant;

use super::extents::{Span, place};
use super::local::data_file;
use super::{Landed, Reader, Transport, Wanted, checksum_mismatch, read_error};
use crate::crc::{Crc32c, stored_matches};
use crate::error::{Code, Error, Result};
use crate::pool::{Buffer, GRANULE_BYTES, Reserved};
use crate::volume::{Decoder, Encoding, Volume};

/// Bytes decoded before others get a turn.
const STEP_BYTES: usize = 256 << 10;
/// The most bytes a needle may decode to: SeaweedFS counts them in 32 bits.
const LOGICAL_MAX: u64 = u32::MAX as u64;

/// Compressed data as it is stored.
#[derive(Debug)]
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
) -> Result<Landed> {
    // Without a length the first pass only finds it, and the second decodes.
    let mut len = stored.len_hint;
    loop {
        let window = match len {
            Some(len) => wanted.checked_window(len, reader.max_transfer)?,
            None => 0..0,
        };
        let room = (window.end - window.start) as usize;
        let mut buffer = stored.land(reader, volume, room, deadline).await?;
        let decoding = Decoding {
            stored,
            wanted,
            max_transfer: reader.max_transfer,
        };
        let (decoded_len, crc) = decoding.run(&mut buffer, &window).await?;
        let exact = wanted.checked_window(decoded_len, reader.max_transfer)?;
        if len.is_some() && exact == window {
            buffer.truncate(room);
            return Ok(Landed {
                buffer,
                data: 0..room,
                crc,
                needle_size: decoded_len,
                crc_verified: true,
                transport: Transport::Local,
            });
        }
        len = Some(decoded_len);
    }
}

impl Stored {
    /// Where the stored bytes begin in a buffer with `room` before them.
    fn at(&self, room: usize) -> usize {
        room.next_multiple_of(GRANULE_BYTES) + (self.offset % GRANULE_BYTES as u64) as usize
    }

    /// Lands the stored bytes behind `room` for decoded ones, and checks them.
    async fn land(
        &self,
        reader: &Reader,
        volume: &Volume,
        room: usize,
        deadline: Instant,
    ) -> Result<Buffer<Reserved>> {
        let (file, direct) = data_file(volume);
        let span = Span {
            offset: self.offset,
            len: self.len,
        };
        let plan = place([span], direct, room.next_multiple_of(GRANULE_BYTES));
        let buffer = reader.reserve(plan.buffer_bytes(), deadline).await?;
        let mut flight = reader.ring.read(file, buffer, plan);
        let mut crc = Crc32c::new();
        let skip = plan.find(self.offset, self.len).map_or(0, |(_, skip)| skip);
        let mut done = skip;
        while !flight.advance().await.map_err(read_error)? {
            let landed = flight.landed(0);
            flight.with_bytes(0, done..landed.max(done), |bytes| crc.update(bytes));
            done = landed.max(done);
            tokio::task::yield_now().await;
        }
        flight.with_bytes(0, done..skip + self.len, |bytes| crc.update(bytes));
        if !stored_matches(self.crc, crc.value()) {
            return Err(checksum_mismatch(self.crc, crc.value()));
        }
        flight.finish().await.map_err(read_error)
    }
}

/// One pass over the stored bytes.
struct Decoding<'a> {
    stored: &'a Stored,
    wanted: &'a Wanted,
    max_transfer: u64,
}

impl Decoding<'_> {
    /// Decodes everything, and puts what lies in `window` at the front of the buffer. Returns
    /// the decoded length and the checksum of the window.
    async fn run(&self, buffer: &mut Buffer<Reserved>, window: &Range<u64>) -> Result<(u64, u32)> {
        let room = (window.end - window.start) as usize;
        let at = self.stored.at(room);
        let middle = room.next_multiple_of(GRANULE_BYTES);
        let (front, back) = buffer.split(middle);
        let stored = back
            .get(at - middle..at - middle + self.stored.len)
            .unwrap_or_default();
        let mut decoder = Decoder::new(stored)?;
        let mut discarded = vec![0; STEP_BYTES.min(64 << 10)];
        let mut crc = Crc32c::new();
        let mut position = 0;
        loop {
            // Before the window, inside it, or past it.
            let into = if window.contains(&position) {
                let start = (position - window.start) as usize;
                &mut front[start..room.min(start + STEP_BYTES)]
            } else {
                let left = window.start.checked_sub(position).filter(|&left| left > 0);
                let step = left.map_or(discarded.len(), |left| discarded.len().min(left as usize));
                &mut discarded[..step]
            };
            let decoded = decoder.read(into)?;
            if window.contains(&position) {
                crc.update(&into[..decoded]);
            }
            position += decoded as u64;
            if decoded == 0 {
                return Ok((position, crc.value()));
            }
            self.check_growth(position)?;
            tokio::task::yield_now().await;
        }
    }

    /// Stops a needle that expands past what could be served, as soon as that is known.
    fn check_growth(&self, decoded: u64) -> Result<()> {
        let to_the_end = self.wanted.size == 0;
        let beyond = decoded.saturating_sub(self.wanted.offset);
        if decoded > LOGICAL_MAX || (to_the_end && beyond > self.max_transfer) {
            return Err(Error::new(
                Code::TransferTooLarge,
                format!(
                    "the needle's {} stored bytes expand past the {} of one transfer; read it in ranges",
                    self.stored.len, self.max_transfer
                ),
            ));
        }
        Ok(())
    }
}
