//! Needles from volume files of this host, plain or erasure-coded, read with the data ring straight
//! into the pool.
//!
//! A needle's head, the range wanted and its tail are asked for together, before the head has
//! told how long the data is: the index bounds it. Nothing is handed out before the head's id,
//! size and cookie, the tail, and (where the whole was read) the checksum have been checked.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::arrival::{Arrival, Ask, land};
use super::compressed::{self, Stored};
use super::extents::Span;
use super::{Landed, Reader, Transport, Wanted, checksum_mismatch};
use crate::crc::{Crc32c, stored_matches};
use crate::error::{Code, Error, Result};
use crate::pool::{Buffer, Reserved};
use crate::telemetry::StageClock;
use crate::uring::Plan;
use crate::volume::{
    Data, Encoding, Header, Layout, Located, Tail, Volume, VolumeError, decoded_len_hint,
};

/// Bytes of a needle's end asked for at first: enough for flags, name, type and times, and for
/// the last bytes of the data, which say how long a compressed needle is. Only pairs (user
/// metadata) can be longer.
const TAIL_GUESS: usize = 1024;
/// Bytes after the head asked for with it: the frame header that says how long compressed data
/// is.
const PEEK: usize = 18;

/// Reads `wanted` from `volume`.
///
/// # Errors
/// Those of the protocol for needles that are not there, not the client's, damaged or too
/// large, and for a pool without room until `deadline`. The caller keeps the deadline of the
/// read itself.
pub async fn read(
    reader: &Reader,
    volume: &Volume,
    wanted: &Wanted,
    deadline: Instant,
    clock: &StageClock,
) -> Result<Landed> {
    let located = volume.lookup(wanted.needle_id)?;
    let needle = Needle {
        volume,
        layout: Layout::new(volume.version(), located),
        wanted,
        located,
        clock,
    };
    let mut guess = Guess {
        data: Some(wanted.window(needle.layout.max_data_bytes())),
        tail_len: TAIL_GUESS,
    };
    guess
        .data
        .take_if(|data| data.end - data.start > reader.max_transfer);
    loop {
        match needle.attempt(reader, &guess, deadline).await? {
            Attempt::Again(better) => guess = better,
            Attempt::Compressed(stored) => {
                return compressed::read(reader, volume, &stored, wanted, deadline, clock).await;
            }
            Attempt::Landed(landed) => return Ok(landed),
        }
    }
}

/// Where the bytes of a needle are that are stored as they are.
#[derive(Clone, Debug)]
pub struct Plain {
    /// Where they are in a file, if they are in one that is read by way of the page cache.
    pub part: Option<FilePart>,
    /// How many.
    pub len: u64,
    /// Logical length of the whole needle.
    pub needle_size: u64,
    /// The checksum stored with the needle, if they are all of it.
    pub stored: Option<u32>,
}

/// Some bytes of a file.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// Where in it they begin.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// Finds out where the bytes `wanted` are without reading them: None if they are compressed.
/// Head and tail are checked, the data is not.
///
/// # Errors
/// As [`read`].
pub async fn look(
    reader: &Reader,
    volume: &Volume,
    wanted: &Wanted,
    deadline: Instant,
    clock: &StageClock,
) -> Result<Option<Plain>> {
    let located = volume.lookup(wanted.needle_id)?;
    let needle = Needle {
        volume,
        layout: Layout::new(volume.version(), located),
        wanted,
        located,
        clock,
    };
    let mut tail_len = TAIL_GUESS;
    loop {
        let guess = Guess {
            data: None,
            tail_len,
        };
        let (buffer, plan, data_size, ..) = needle.land(reader, &guess, deadline).await?;
        let landed = Bytes {
            buffer: &buffer,
            plan: &plan,
        };
        match needle.look_at_tail(&landed, data_size)? {
            Seen::TailIsLonger(longer) => tail_len = longer,
            Seen::Compressed(_) => return Ok(None),
            Seen::Plain(tail) => {
                let data_size = u64::from(data_size);
                let window = wanted.checked_window(data_size, reader.max_transfer)?;
                let len = window.end - window.start;
                let part = match volume.data() {
                    Data::File {
                        cached,
                        direct: None,
                    } => Some(FilePart {
                        file: cached,
                        offset: needle.layout.data_offset() + window.start,
                        len,
                    }),
                    Data::File { .. } | Data::Shards(_) => None,
                };
                return Ok(Some(Plain {
                    part,
                    len,
                    needle_size: data_size,
                    stored: (window == (0..data_size)).then_some(tail.stored_crc),
                }));
            }
        }
    }
}

/// The needle being read.
struct Needle<'a> {
    volume: &'a Volume,
    layout: Layout,
    wanted: &'a Wanted,
    located: Located,
    clock: &'a StageClock,
}

/// What to ask for before the needle's own length is known.
struct Guess {
    /// The stored bytes wanted, as a range of the data; `None` to look at head and tail only.
    data: Option<Range<u64>>,
    tail_len: usize,
}

enum Attempt {
    Landed(Landed),
    Compressed(Stored),
    Again(Guess),
}

/// What a needle's tail says.
enum Seen {
    Plain(Tail),
    Compressed(Stored),
    /// It is this long, longer than what was read of it.
    TailIsLonger(usize),
}

/// What the landed bytes say.
enum Verdict {
    /// The bytes wanted are in this part of the buffer.
    Good {
        data: Range<usize>,
        crc_verified: bool,
    },
    Compressed(Stored),
    Again(Guess),
}

impl Needle<'_> {
    async fn attempt(&self, reader: &Reader, guess: &Guess, deadline: Instant) -> Result<Attempt> {
        let (buffer, plan, data_size, crc, completion) = self.land(reader, guess, deadline).await?;
        let landed = Bytes {
            buffer: &buffer,
            plan: &plan,
        };
        match self.judge(reader, &landed, guess, data_size, crc)? {
            Verdict::Again(better) => Ok(Attempt::Again(better)),
            Verdict::Compressed(stored) => Ok(Attempt::Compressed(stored)),
            Verdict::Good { data, crc_verified } => Ok(Attempt::Landed(Landed {
                buffer,
                data,
                crc,
                needle_size: u64::from(data_size),
                crc_verified,
                transport: Transport::Local,
                completion,
            })),
        }
    }

    /// Lands what is guessed. Also returns the data's size, the checksum of the bytes wanted, and
    /// how long it was from the submission to the last completion.
    async fn land(
        &self,
        reader: &Reader,
        guess: &Guess,
        deadline: Instant,
    ) -> Result<(Buffer<Reserved>, Plan, u32, u32, Duration)> {
        let ask = Ask {
            spans: self.spans(guess),
            base: 0,
            owner: self.wanted.owner,
            deadline,
            clock: self.clock,
        };
        let data = self.volume.data();
        let watch =
            async |arrival: &mut Arrival, plan: &Plan| self.watch(arrival, plan, guess).await;
        let arrived = land(reader, &data, ask, watch).await?;
        let (data_size, crc) = arrived.seen;
        Ok((
            arrived.buffer,
            arrived.plan,
            data_size,
            crc,
            arrived.completion,
        ))
    }

    /// Ascending and without overlap: what one span covers is not asked for again.
    fn spans(&self, guess: &Guess) -> [Span; 3] {
        let layout = &self.layout;
        let head_len = (layout.head_len() + PEEK).min(layout.whole_len() as usize);
        let head = Span {
            offset: layout.header_offset(),
            len: head_len,
        };
        let head_end = head.offset + head.len as u64;

        let tail_start = layout
            .end()
            .saturating_sub(guess.tail_len as u64)
            .max(head_end);
        let tail = Span {
            offset: tail_start,
            len: (layout.end() - tail_start) as usize,
        };

        let data = guess.data.clone().unwrap_or(0..0);
        let between = |at: u64| (layout.data_offset() + at).clamp(head_end, tail_start);
        let (start, end) = (between(data.start), between(data.end));
        [
            head,
            Span {
                offset: start,
                len: (end - start) as usize,
            },
            tail,
        ]
    }

    /// Follows the read: checks the head as soon as it is there, and computes the checksum of
    /// each piece while the next is on its way. Returns the data's size and the checksum of
    /// the bytes wanted.
    async fn watch(&self, flight: &mut Arrival, plan: &Plan, guess: &Guess) -> Result<(u32, u32)> {
        let mut data_size = None;
        let mut progress = Progress::default();
        loop {
            let done = flight.advance().await?;
            if data_size.is_none() {
                data_size = self.look_at_head(flight, plan)?;
            }
            if let (Some(size), Some(_)) = (data_size, &guess.data) {
                progress.update(self, flight, plan, size);
            }
            match (done, data_size) {
                (true, Some(size)) => return Ok((size, progress.crc.value())),
                (true, None) => {
                    return Err(Error::new(
                        Code::Internal,
                        "a needle landed without its head",
                    ));
                }
                // A read of many pieces gives others a turn between them.
                (false, _) => tokio::task::yield_now().await,
            }
        }
    }

    /// The data's size, once the head has landed and is the right one.
    fn look_at_head(&self, flight: &Arrival, plan: &Plan) -> Result<Option<u32>> {
        let len = self.layout.head_len();
        match plan.find(self.layout.header_offset(), len) {
            Some((extent, skip)) if flight.landed(extent) >= skip + len => {
                let size = flight.with_bytes(extent, skip..skip + len, |head| self.check(head))?;
                Ok(Some(size))
            }
            _ => Ok(None),
        }
    }

    fn check(&self, head: &[u8]) -> Result<u32, VolumeError> {
        Header::parse(head)?.check(self.wanted.needle_id, self.wanted.cookie, self.located)?;
        self.layout.data_size(head)
    }

    fn judge(
        &self,
        reader: &Reader,
        landed: &Bytes<'_>,
        guess: &Guess,
        data_size: u32,
        crc: u32,
    ) -> Result<Verdict> {
        let layout = &self.layout;
        let tail = match self.look_at_tail(landed, data_size)? {
            Seen::Plain(tail) => tail,
            Seen::Compressed(stored) => return Ok(Verdict::Compressed(stored)),
            Seen::TailIsLonger(tail_len) => {
                return Ok(Verdict::Again(Guess {
                    data: guess.data.clone(),
                    tail_len,
                }));
            }
        };
        let data_size = u64::from(data_size);
        let exact = self.wanted.checked_window(data_size, reader.max_transfer)?;
        if guess.data.is_none() && !exact.is_empty() {
            return Ok(Verdict::Again(Guess {
                data: Some(exact),
                tail_len: guess.tail_len,
            }));
        }
        let whole = exact == (0..data_size);
        if whole && !stored_matches(tail.stored_crc, crc) {
            return Err(checksum_mismatch(tail.stored_crc, crc));
        }
        let len = (exact.end - exact.start) as usize;
        let at = landed
            .position(layout.data_offset() + exact.start, len)
            .ok_or_else(|| {
                Error::new(Code::Internal, "the bytes wanted are not among those read")
            })?;
        Ok(Verdict::Good {
            data: at..at + len,
            crc_verified: whole,
        })
    }

    fn look_at_tail(&self, landed: &Bytes<'_>, data_size: u32) -> Result<Seen> {
        let layout = &self.layout;
        let Some(tail) = landed.get(layout.tail_offset(data_size)..layout.end()) else {
            return Ok(Seen::TailIsLonger(layout.tail_len(data_size)));
        };
        let tail = Tail::parse(self.volume.version(), tail)?;
        self.check_tail(&tail)?;
        if tail.compressed() {
            let stored = self.stored(landed, data_size, &tail);
            if stored.encoding != Encoding::Plain {
                return Ok(Seen::Compressed(stored));
            }
        }
        Ok(Seen::Plain(tail))
    }

    fn stored(&self, landed: &Bytes<'_>, data_size: u32, tail: &Tail) -> Stored {
        let data = self.layout.data_offset()..self.layout.tail_offset(data_size);
        let first = data.start..data.end.min(data.start + PEEK as u64);
        let last = data.end.saturating_sub(4).max(data.start)..data.end;
        let first = landed.get(first).unwrap_or_default();
        let last = landed.get(last).and_then(<[u8]>::first_chunk);
        Stored {
            encoding: Encoding::of(first),
            offset: data.start,
            len: data_size as usize,
            crc: tail.stored_crc,
            len_hint: last.and_then(|last| decoded_len_hint(first, *last)),
        }
    }

    fn check_tail(&self, tail: &Tail) -> Result<()> {
        if tail.expired(now_ns()) {
            return Err(Error::new(Code::NeedleNotFound, "the needle's TTL is over"));
        }
        if tail.chunk_manifest() {
            return Err(Error::new(
                Code::InvalidRequest,
                "the needle is a chunk manifest, which names the needles that hold the data; read those",
            ));
        }
        Ok(())
    }
}

/// How far the checksum of the bytes wanted has come.
#[derive(Default)]
struct Progress {
    crc: Crc32c,
    /// Bytes of the range wanted that are in it.
    done: u64,
}

impl Progress {
    fn update(&mut self, needle: &Needle<'_>, flight: &Arrival, plan: &Plan, data_size: u32) {
        let exact = needle.wanted.window(u64::from(data_size));
        let left = (exact.end - exact.start - self.done) as usize;
        let next = needle.layout.data_offset() + exact.start + self.done;
        let Some((extent, skip)) = plan.find(next, left) else {
            return;
        };
        let landed = flight.landed(extent).min(skip + left);
        if skip < landed {
            flight.with_bytes(extent, skip..landed, |bytes| self.crc.update(bytes));
            self.done += (landed - skip) as u64;
        }
    }
}

/// The bytes of an attempt, by their place in the file.
struct Bytes<'a> {
    buffer: &'a Buffer<Reserved>,
    plan: &'a Plan,
}

impl Bytes<'_> {
    fn position(&self, offset: u64, len: usize) -> Option<usize> {
        let (extent, skip) = self.plan.find(offset, len)?;
        Some(self.plan.extents()[extent].at + skip)
    }

    fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let at = self.position(range.start, len)?;
        Some(self.buffer.bytes(at..at + len))
    }
}

fn now_ns() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
