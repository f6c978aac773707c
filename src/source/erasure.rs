//! Reading around missing shards: what is in them is computed from the same range of others.
//!
//! That takes the bytes of as many shards as have data, a little at a time, in room behind that of
//! the read itself: one reservation, since a read that held one buffer while it waits for another
//! could deadlock with its like. The sums are made on threads beside the workers, where they are
//! long.

use std::sync::Arc;

use tokio::time::Instant;

use super::Reader;
use super::arrival::Failure;
use crate::error::{Code, Error, Result};
use crate::pool::{Buffer, GRANULE_BYTES, Owner, Reserved};
use crate::telemetry::{Stage, StageClock, Stamp};
use crate::uring::{Extent, Flight, PIECE_BYTES, Plan, ReadError};
use crate::volume::erasure::{Recipe, ShardSet, Shards, Survivors};

/// Bytes of a missing shard that are computed at a time, where there may be room for as many of
/// each of the others.
const STEP_BYTES: usize = 128 << 10;
/// Sums of more bytes than this are made on a thread that may take its time.
const INLINE_BYTES: usize = 256 << 10;

/// A read some of whose bytes are in shards that can not be read.
pub(super) struct Around {
    shards: Arc<Shards>,
    /// Bytes of buffer before the room for others' bytes.
    room: usize,
    /// What can be read as it is.
    whole: Vec<Extent>,
    lost: Vec<Lost>,
    recipes: Vec<(usize, Arc<Recipe>)>,
}

/// Bytes of one block that are to be computed.
struct Lost {
    recipe: Arc<Recipe>,
    /// Where in the shards they are.
    offset: u64,
    /// Where in the buffer they go.
    at: usize,
    len: usize,
}

/// How to read `plan` from the shards that are `there`; `None` if it needs no other.
pub(super) fn read_around(
    shards: &Arc<Shards>,
    plan: &Plan,
    there: ShardSet,
) -> Result<Option<Around>> {
    let mut around = Around {
        shards: Arc::clone(shards),
        room: plan.buffer_bytes(),
        whole: Vec::new(),
        lost: Vec::new(),
        recipes: Vec::new(),
    };
    for extent in plan.extents() {
        around.split(extent, there)?;
    }
    Ok((!around.lost.is_empty()).then_some(around))
}

impl Around {
    /// Divides an extent by blocks into what can be read and what can not.
    fn split(&mut self, extent: &Extent, there: ShardSet) -> Result<()> {
        let mut done = 0;
        // The part that can be read and has not been taken yet.
        let mut from = 0;
        while done < extent.len {
            let offset = extent.file_offset + done as u64;
            let block =
                self.shards.geometry().locate(offset).ok_or_else(|| {
                    Error::new(Code::Internal, "a read past the end of the volume")
                })?;
            let left = (extent.len - done) as u64;
            let len = block.left.min(left) as usize;
            if !there.contains(block.shard) {
                self.take(extent, from, done);
                from = done + len;
                let recipe = self.recipe(there, block.shard)?;
                self.lost.push(Lost {
                    recipe,
                    offset: block.offset,
                    at: extent.at + done,
                    len,
                });
            }
            done += len;
        }
        self.take(extent, from, done);
        Ok(())
    }

    fn take(&mut self, extent: &Extent, from: usize, to: usize) {
        if from < to {
            self.whole.push(Extent {
                file_offset: extent.file_offset + from as u64,
                at: extent.at + from,
                len: to - from,
                required: to - from,
            });
        }
    }

    fn recipe(&mut self, there: ShardSet, shard: usize) -> Result<Arc<Recipe>> {
        if let Some((_, recipe)) = self.recipes.iter().find(|(number, _)| *number == shard) {
            return Ok(Arc::clone(recipe));
        }
        let recipe = Recipe::new(self.shards.geometry(), there, shard);
        let recipe = Arc::new(recipe.ok_or_else(|| {
            let all = self.shards.there();
            Error::new(Code::IoError, self.shards.too_few(all.without(there)))
        })?);
        self.recipes.push((shard, Arc::clone(&recipe)));
        Ok(recipe)
    }

    /// Lands everything. Also returns when there was room and it began.
    pub(super) async fn land(
        self,
        reader: &Reader,
        owner: Owner,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<(Buffer<Reserved>, Stamp), Failure> {
        let middle = self.room.next_multiple_of(GRANULE_BYTES);
        let data = self.shards.geometry().data();
        let longest = self.lost.iter().map(|lost| lost.len).max().unwrap_or(0);
        let fits = reader.pool.largest_bytes().saturating_sub(middle) / data;
        let fits = (fits - fits % GRANULE_BYTES).max(GRANULE_BYTES);
        let most = longest.min(STEP_BYTES).min(fits);
        let mut buffer = reader
            .reserve(owner, middle + most * data, deadline, clock)
            .await?;
        let begun = Stamp::now();
        clock.lap(Stage::Submit, begun);
        for extents in self.whole.chunks(Plan::MAX_EXTENTS) {
            let plan = Plan::new(extents).cut_at(PIECE_BYTES);
            let flight = reader.ring.read(self.shards.clone(), buffer, plan);
            buffer = landed(flight).await.map_err(|error| {
                let block = self.shards.geometry().locate(error.at());
                broken(block.map(|block| block.shard), &error)
            })?;
        }
        for lost in &self.lost {
            for step in (0..lost.len).step_by(most.max(1)) {
                let len = most.min(lost.len - step);
                buffer = self
                    .step(reader, buffer, middle, lost, step..step + len)
                    .await?;
            }
        }
        buffer.truncate(self.room);
        Ok((buffer, begun))
    }

    /// Computes a part of what is lost.
    async fn step(
        &self,
        reader: &Reader,
        buffer: Buffer<Reserved>,
        middle: usize,
        lost: &Lost,
        part: std::ops::Range<usize>,
    ) -> Result<Buffer<Reserved>, Failure> {
        let len = part.len();
        let numbers: Vec<usize> = lost.recipe.sources().collect();
        let bytes = numbers.len() * len;
        let offset = lost.offset + part.start as u64;
        let survivors = Arc::new(Survivors::new(&self.shards, numbers, offset, len));
        let extent = Extent {
            file_offset: 0,
            at: middle,
            len: bytes,
            required: bytes,
        };
        let plan = Plan::new(&[extent]).cut_at(len);
        let flight = reader.ring.read(survivors.clone(), buffer, plan);
        let mut buffer = landed(flight)
            .await
            .map_err(|error| broken(survivors.shard(error.at()), &error))?;
        let at = lost.at + part.start;
        let recipe = Arc::clone(&lost.recipe);
        let cook = move || {
            let (front, back) = buffer.split(middle);
            if let (Some(wanted), Some(sources)) = (front.get_mut(at..at + len), back.get(..bytes))
            {
                recipe.cook(sources, wanted);
            }
            buffer
        };
        if bytes <= INLINE_BYTES {
            return Ok(cook());
        }
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(Code::Internal, format!("computing a missing shard: {why}"))
        };
        let permit = Arc::clone(&reader.decoders).acquire_owned().await;
        let permit = permit.map_err(|e| failed(&e))?;
        let cooked = tokio::task::spawn_blocking(move || {
            let buffer = cook();
            drop(permit);
            buffer
        });
        Ok(cooked.await.map_err(|e| failed(&e))?)
    }
}

/// The buffer, once everything is in it; other clients get a turn meanwhile.
async fn landed(mut flight: Flight) -> Result<Buffer<Reserved>, ReadError> {
    while !flight.advance().await? {
        tokio::task::yield_now().await;
    }
    flight.finish().await
}

fn broken(shard: Option<usize>, error: &ReadError) -> Failure {
    match shard {
        Some(number) => Failure::Shard(number, error.to_string()),
        None => Failure::Other(Error::new(Code::Internal, error.to_string())),
    }
}
