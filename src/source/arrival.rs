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
use crate::telemetry::{RateLimited, Stage, StageClock, Stamp};
use crate::uring::{Flight, Locate, PIECE_BYTES, Plan};
use crate::volume::Data;
use crate::volume::erasure::{ShardSet, Shards};

/// What to land, and for whom.
pub(super) struct Ask<'a, const N: usize> {
    /// Ascending and without overlap.
    pub spans: [Span; N],
    /// Where in the buffer they begin: a multiple of the block of direct I/O.
    pub base: usize,
    pub owner: Owner,
    /// Until when to wait for room in the pool.
    pub deadline: Instant,
    /// What the time it takes is given to.
    pub clock: &'a StageClock,
}

/// What has landed.
pub(super) struct Arrived<T> {
    pub buffer: Buffer<Reserved>,
    pub plan: Plan,
    /// From the submission to the last completion.
    pub completion: Duration,
    /// What was found while it landed.
    pub seen: T,
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
        /// From the first submission to the end of the computation.
        took: Duration,
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
    ask: Ask<'_, N>,
    mut watch: impl AsyncFnMut(&mut Arrival, &Plan) -> Result<T>,
) -> Result<Arrived<T>> {
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
                (Ok(seen), arrival) => {
                    let completion = arrival.lap(ask.clock);
                    let buffer = arrival.finish().await?;
                    return Ok(Arrived {
                        buffer,
                        plan,
                        completion,
                        seen,
                    });
                }
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
    ask: &Ask<'_, N>,
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
                let (buffer, begun) = around
                    .land(reader, ask.owner, ask.deadline, ask.clock)
                    .await?;
                let landed = Stamp::now();
                ask.clock.lap(Stage::Transport, landed);
                return Ok(Arrival::Here {
                    buffer,
                    plan: *plan,
                    took: landed.since(begun),
                    shown: 0,
                });
            }
            shards.clone()
        }
    };
    let bytes = plan.buffer_bytes();
    let buffer = reader
        .reserve(ask.owner, bytes, ask.deadline, ask.clock)
        .await?;
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

    /// Gives the time of what has landed to its stages; how long it took.
    fn lap(&self, clock: &StageClock) -> Duration {
        match self {
            Self::Flight { flight, .. } => flight.lap(clock),
            Self::Here { took, .. } => *took,
        }
    }

    async fn finish(self) -> Result<Buffer<Reserved>> {
        match self {
            Self::Flight { flight, .. } => flight.finish().await.map_err(read_error),
            Self::Here { buffer, .. } => Ok(buffer),
        }
    }
}
