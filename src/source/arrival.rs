//! Bytes of a volume on their way into the pool, from its `.dat` or from shards of it.
//!
//! Where a shard can not be read, the read begins again without it: its bytes are then computed
//! from the others' (see [`super::erasure`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::erasure::read_around;
use super::extents::{Span, place};
use super::{Reader, read_error};
use crate::error::{Code, Error, Result};
use crate::pool::{Buffer, Owner, Reserved};
use crate::telemetry::RateLimited;
use crate::uring::{Flight, Locate, PIECE_BYTES, Plan};
use crate::volume::Data;
use crate::volume::erasure::{ShardSet, Shards};

/// What to land, and for whom.
pub(super) struct Ask<const N: usize> {
    /// Ascending and without overlap.
    pub spans: [Span; N],
    /// Where in the buffer they begin: a multiple of the block of direct I/O.
    pub base: usize,
    pub owner: Owner,
    /// Until when to wait for room in the pool.
    pub deadline: Instant,
}

/// A read under way, or what has come of it.
pub(super) enum Arrival {
    Flight {
        flight: Flight,
        /// Where it failed and why, if it did.
        failed: Option<(u64, String)>,
    },
    Here {
        buffer: Buffer<Reserved>,
        plan: Plan,
        /// Pieces that have been shown.
        shown: u32,
    },
}

/// Why something did not land.
pub(super) enum Failure {
    /// A shard can not be read, and why.
    Shard(usize, String),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Lands what `ask` says of `data`. `watch` follows what has landed until it is all there; it may
/// be called again, from the beginning.
pub(super) async fn land<T, const N: usize>(
    reader: &Reader,
    data: &Data,
    ask: Ask<N>,
    mut watch: impl AsyncFnMut(&mut Arrival, &Plan) -> Result<T>,
) -> Result<(Buffer<Reserved>, Plan, T)> {
    let direct = matches!(
        data,
        Data::File {
            direct: Some(_),
            ..
        }
    );
    let mut plan = place(ask.spans, direct, ask.base);
    if matches!(data, Data::Shards(_)) {
        plan = plan.cut_at(PIECE_BYTES);
    }
    let mut failed = ShardSet::default();
    loop {
        let begun = begin(reader, data, &plan, &ask, failed).await;
        let failure = match begun {
            Err(failure) => failure,
            Ok(mut arrival) => match (watch(&mut arrival, &plan).await, arrival) {
                (Ok(seen), arrival) => return Ok((arrival.finish().await?, plan, seen)),
                (Err(error), Arrival::Flight { failed, .. }) => lost(data, failed, error),
                (Err(error), Arrival::Here { .. }) => Failure::Other(error),
            },
        };
        match (failure, data) {
            (Failure::Shard(number, why), Data::Shards(shards)) if !failed.contains(number) => {
                failed = failed.with(number);
                without(shards, number, &why, failed)?;
            }
            (Failure::Shard(_, why), _) => {
                return Err(Error::new(Code::Internal, why));
            }
            (Failure::Other(error), _) => return Err(error),
        }
    }
}

/// Takes note that a shard can not be read; an error if too few are left.
fn without(shards: &Shards, number: usize, why: &str, failed: ShardSet) -> Result<()> {
    let left = shards.there().without(failed).len();
    if left < shards.geometry().data() {
        return Err(Error::new(
            Code::IoError,
            format!(
                "shard {number} can not be read ({why}). {}; weed shell's ec.rebuild restores them",
                shards.too_few(failed)
            ),
        ));
    }
    static TOLD: RateLimited = RateLimited::new(Duration::from_secs(10));
    if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
        let (name, left) = (shards.name(), shards.there().without(failed));
        tracing::warn!(
            suppressed,
            "{name}: shard {number} can not be read ({why}); reading from {left}"
        );
    }
    Ok(())
}

/// The failure of a read, of which `error` was told.
fn lost(data: &Data, failed: Option<(u64, String)>, error: Error) -> Failure {
    match (data, failed) {
        (Data::Shards(shards), Some((at, why))) => match shards.geometry().locate(at) {
            Some(block) => Failure::Shard(block.shard, why),
            None => Failure::Other(error),
        },
        _ => Failure::Other(error),
    }
}

async fn begin<const N: usize>(
    reader: &Reader,
    data: &Data,
    plan: &Plan,
    ask: &Ask<N>,
    failed: ShardSet,
) -> Result<Arrival, Failure> {
    let file: Arc<dyn Locate> = match data {
        Data::File {
            direct: Some(file), ..
        }
        | Data::File { cached: file, .. } => file.clone(),
        Data::Shards(shards) => {
            let there = shards.there().without(failed);
            if there.len() < shards.geometry().total()
                && let Some(around) = read_around(shards, plan, there)?
            {
                let buffer = around.land(reader, ask.owner, ask.deadline).await?;
                return Ok(Arrival::Here {
                    buffer,
                    plan: *plan,
                    shown: 0,
                });
            }
            shards.clone()
        }
    };
    let bytes = plan.buffer_bytes();
    let buffer = reader.reserve(ask.owner, bytes, ask.deadline).await?;
    Ok(Arrival::Flight {
        flight: reader.ring.read(file, buffer, *plan),
        failed: None,
    })
}

impl Arrival {
    /// Waits until more has landed without a gap; true when that is all there is.
    pub async fn advance(&mut self) -> Result<bool> {
        match self {
            Self::Flight { flight, failed } => match flight.advance().await {
                Ok(done) => Ok(done),
                Err(error) => {
                    *failed = Some((error.at(), error.to_string()));
                    Err(read_error(error))
                }
            },
            Self::Here { plan, shown, .. } => {
                *shown += 1;
                Ok(*shown >= plan.pieces())
            }
        }
    }

    /// Bytes at the front of extent `number` that have landed.
    pub fn landed(&self, number: usize) -> usize {
        match self {
            Self::Flight { flight, .. } => flight.landed(number),
            Self::Here { plan, shown, .. } => plan.landed(number, *shown),
        }
    }

    /// Calls `look` with bytes `range` of extent `number`.
    ///
    /// # Panics
    /// When they have not all landed.
    pub fn with_bytes<R>(
        &self,
        number: usize,
        range: Range<usize>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> R {
        match self {
            Self::Flight { flight, .. } => flight.with_bytes(number, range, look),
            Self::Here { buffer, plan, .. } => {
                assert!(
                    range.end <= self.landed(number),
                    "bytes {range:?} have not landed"
                );
                let at = plan.extents().get(number).map_or(0, |e| e.at);
                look(buffer.bytes(at + range.start..at + range.end))
            }
        }
    }

    async fn finish(self) -> Result<Buffer<Reserved>> {
        match self {
            Self::Flight { flight, .. } => flight.finish().await.map_err(read_error),
            Self::Here { buffer, .. } => Ok(buffer),
        }
    }
}
