//! Lease and Fetch: a needle's bytes, staged to be lent or sent.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::{Connection, Out};
use super::lent::Loan;
use crate::daemon::boxed;
use crate::error::{Code, Error, Result};
use crate::peer::codec::encode;
use crate::peer::message::{Data, Facts, FromTarget, Leased, Read, TooLong};
use crate::pool::{GRANULE_BYTES, Owner};
use crate::source::local::{FilePart, Plain};
use crate::source::{Landed, Transport, Wanted, local};
use crate::telemetry::{Operation, StageClock, Stamp};
use crate::uring::Lent;
use crate::volume::Volume;

/// Bytes from which it pays to have the kernel send a file's pages, on a thread that may wait,
/// rather than to stage them. Measured by `cargo bench --bench sends`.
const SENDFILE_BYTES_MIN: u64 = 1 << 20;
/// The longest a request is worked on.
const PATIENCE_MAX: Duration = Duration::from_secs(600);

/// What there is to answer.
enum Answer {
    /// With its place among what is not yet written, or among what is lent.
    Staged(Landed, OwnedSemaphorePermit),
    File(Plain, FilePart),
    TooLong {
        length: u64,
        needle_size: u64,
    },
}

impl Connection {
    /// Serves a Lease or a Fetch beside the connection, which goes on with its next request.
    pub(super) fn read(self: &Rc<Self>, operation: Operation, read: Read) {
        if !self.takes_on(read.id) {
            let metrics = &self.node.target.metrics;
            return metrics.operation(operation, Err(Code::ShuttingDown), Duration::ZERO);
        }
        let connection = Rc::clone(self);
        tokio_uring::spawn(boxed(|| async move {
            let begun = Stamp::now();
            let clock = StageClock::new(begun);
            let serving = async {
                if operation == Operation::Lease {
                    connection.lend(&read, &clock, begun).await
                } else {
                    connection.fetch(&read, &clock).await
                }
            };
            let lent = tokio::select! {
                lent = serving => lent.map_err(Some),
                () = connection.gone() => Err(None),
            };
            let metrics = &connection.node.target.metrics;
            let lent = match lent {
                Ok(()) => Ok(()),
                Err(Some(error)) => Err(error),
                Err(None) => return metrics.given_up(operation, begun.elapsed()),
            };
            let label = lent.as_ref().map(|_| ()).map_err(|e| e.code);
            metrics.operation(operation, label, begun.elapsed());
            if let Err(error) = lent {
                let who = connection.identity.get(&metrics.clients);
                who.series.counts.errors.increment(1);
                connection.fail(read.id, &error);
            }
        }));
    }

    async fn lend(self: &Rc<Self>, read: &Read, clock: &StageClock, begun: Stamp) -> Result<()> {
        if !self.is_lendable() {
            let why = "Lease needs a queue pair: send Connect first, or Fetch";
            return Err(Error::new(Code::RdmaOperationFailed, why));
        }
        let promise = Promise::new(self)?;
        let (landed, place) = match self.find(read, false, clock).await? {
            Answer::Staged(landed, place) => (landed, place),
            Answer::TooLong {
                length,
                needle_size,
            } => {
                self.too_long(read.id, length, needle_size);
                return Ok(());
            }
            Answer::File(..) => return Err(Error::new(Code::Internal, "a file can not be lent")),
        };
        let target = &self.node.target;
        let adapter = target.adapter.as_ref().ok_or_else(|| {
            Error::new(Code::UnsupportedHardware, "this target has no RDMA device")
        })?;
        let duration = target.settings.lease_timeout;
        let facts = facts(&landed);
        let at = landed.data.start;
        let buffer = landed.buffer.lease();
        let (addr, rkey) = (
            buffer.local_address(at),
            adapter.remote_key(buffer.offset() + at),
        );
        self.count(read, facts.length);
        target.metrics.pool_leases.increment(1);
        let since = std::time::Instant::now();
        let loan = Loan {
            client: Arc::clone(self.identity.get(&target.metrics.clients)),
            volume: read.volume_id,
            needle: read.needle_id,
            bytes: facts.length,
            pool_bytes: buffer.size_bytes() as u64,
            took: begun.elapsed(),
            since,
            deadline: since + duration,
        };
        let lease = promise.keep(|leases| leases.lend(buffer, place, loan));
        self.answer(&FromTarget::Leased(Leased {
            id: read.id,
            lease,
            addr,
            rkey,
            lease_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            facts,
        }));
        Ok(())
    }

    async fn fetch(self: &Rc<Self>, read: &Read, clock: &StageClock) -> Result<()> {
        if !self.node.target.sends() {
            let why = "this target is set to verbs only; send Lease";
            return Err(Error::new(Code::RdmaOperationFailed, why));
        }
        let frame = |facts| {
            let mut frame = Vec::new();
            let data = Data { id: read.id, facts };
            encode(&FromTarget::Data(data), &mut frame);
            frame
        };
        let (length, out) = match self.find(read, true, clock).await? {
            Answer::Staged(landed, place) => {
                let facts = facts(&landed);
                let range = landed.data.clone();
                let lent = Lent::new(Rc::new(landed.buffer.lease()), range);
                (facts.length, Out::Lent(frame(facts), lent, place))
            }
            Answer::File(plain, part) => {
                let facts = Facts {
                    length: plain.len,
                    needle_size: plain.needle_size,
                    crc: None,
                    verified: false,
                    stored: plain.stored,
                };
                self.node.target.metrics.attempt(Transport::Tcp(None));
                (facts.length, Out::File(frame(facts), part))
            }
            Answer::TooLong {
                length,
                needle_size,
            } => {
                self.too_long(read.id, length, needle_size);
                return Ok(());
            }
        };
        self.count(read, length);
        self.put(out);
        Ok(())
    }

    /// Counts what is lent or sent, under the engine and the volume.
    fn count(&self, read: &Read, bytes: u64) {
        let metrics = &self.node.target.metrics;
        metrics.bytes_read(bytes);
        let client = &self.identity.get(&metrics.clients).series.counts;
        client.reads.increment(1);
        client.bytes.increment(bytes);
        let counted = &self.node.volumes_counted;
        counted.with(read.volume_id, metrics, |volume| {
            volume.counts.reads.increment(1);
            volume.counts.bytes.increment(bytes);
        });
    }

    fn too_long(&self, id: u64, length: u64, needle_size: u64) {
        self.answer(&FromTarget::TooLong(TooLong {
            id,
            length,
            needle_size,
        }));
    }

    /// Finds what is wanted, and stages it unless it can go out from its file.
    async fn find(&self, read: &Read, from_file: bool, clock: &StageClock) -> Result<Answer> {
        let target = &self.node.target;
        let patience = Duration::from_millis(read.patience_ms).min(PATIENCE_MAX);
        let deadline = Instant::now() + patience;
        let collection = read.collection.as_deref();
        let answer = async |volume: &Volume| {
            self.answer_from(volume, read, from_file, deadline, clock)
                .await
        };
        let volumes = &target.volumes;
        let found = volumes.read(read.volume_id, collection, answer);
        let found = tokio::time::timeout_at(deadline, found).await;
        let late = |_| {
            let why = format!("the needle could not be staged within {patience:?}");
            Err(Error::new(Code::NetworkTimeout, why))
        };
        found
            .unwrap_or_else(late)
            .inspect_err(|e| target.metrics.local_read_failed(e.code))
    }

    /// The same, from `volume`.
    async fn answer_from(
        &self,
        volume: &Volume,
        read: &Read,
        from_file: bool,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Answer> {
        let reader = &self.node.reader;
        let wanted = Wanted {
            needle_id: read.needle_id,
            cookie: read.cookie,
            offset: read.offset,
            size: read.size,
            owner: Owner(self.number),
        };
        let mut most = read.room.min(self.node.target.settings.max_transfer);
        // A little is staged at once; of more it is worth knowing first how much it is.
        if read.size == 0 || read.size >= SENDFILE_BYTES_MIN {
            let plain = local::look(reader, volume, &wanted, deadline, clock).await?;
            if let Some(plain) = plain {
                most = most.min(plain.len);
                if plain.len > read.room {
                    return Ok(Answer::TooLong {
                        length: plain.len,
                        needle_size: plain.needle_size,
                    });
                }
                // A volume that is read past the page cache is not sent through it, nor one
                // whose bytes are in several files.
                if from_file
                    && plain.len >= SENDFILE_BYTES_MIN
                    && let Some(part) = plain.part.clone()
                {
                    return Ok(Answer::File(plain, part));
                }
            }
        }
        if read.size > 0 {
            most = most.min(read.size);
        }
        let places = if from_file {
            &self.unsent
        } else {
            &self.lendable
        };
        let mut place = place(places, most).await?;
        let metrics = &self.node.target.metrics;
        metrics.attempt(Transport::Local);
        let landed = local::read(reader, volume, &wanted, deadline, clock).await?;
        metrics.completed(Transport::Local, landed.completion);
        let length = landed.data.len() as u64;
        if length > read.room {
            return Ok(Answer::TooLong {
                length,
                needle_size: landed.needle_size,
            });
        }
        // It may have turned out to be less than there was room for.
        let used = landed.buffer.size_bytes() / GRANULE_BYTES;
        drop(place.split(place.num_permits().saturating_sub(used)));
        Ok(Answer::Staged(landed, place))
    }
}

/// Waits until enough of what was answered before has been taken, or released, that there may be
/// `bytes` more.
async fn place(places: &Arc<Semaphore>, bytes: u64) -> Result<OwnedSemaphorePermit> {
    let granules = bytes.div_ceil(GRANULE_BYTES as u64);
    let granules = u32::try_from(granules).unwrap_or(u32::MAX);
    let place = Arc::clone(places).acquire_many_owned(granules);
    let closed = |_| Error::new(Code::Internal, "the places for answers are closed");
    place.await.map_err(closed)
}

fn facts(landed: &Landed) -> Facts {
    Facts {
        length: landed.data.len() as u64,
        needle_size: landed.needle_size,
        crc: Some(landed.crc),
        verified: landed.crc_verified,
        stored: None,
    }
}

/// A place among the leases that is given back unless it is used.
struct Promise<'a>(&'a Rc<Connection>, bool);

impl<'a> Promise<'a> {
    fn new(connection: &'a Rc<Connection>) -> Result<Self> {
        if connection.leases.borrow_mut().promise() {
            return Ok(Self(connection, true));
        }
        let limit = connection.node.target.settings.max_leases;
        Err(Error::new(
            Code::ResourceExhausted,
            format!("the connection holds the {limit} leases it may; release some"),
        ))
    }

    fn keep<R>(mut self, lend: impl FnOnce(&mut super::leases::Leases) -> R) -> R {
        self.1 = false;
        lend(&mut self.0.leases.borrow_mut())
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.leases.borrow_mut().withdraw();
        }
    }
}
