//! Needles of a peer's volumes, and memory of a peer's: by RDMA READ, or over TCP.
//!
//! A read that fails on one path is tried once on another. What came is checked against what the
//! peer said of it before it is handed out: how long it is, and its checksum.

use std::rc::Rc;

use tokio::time::Instant;

use super::memory::{Came, read_memory};
use super::{Landed, Reader, Transport, Wanted};
use crate::error::{Code, Error, Result};
use crate::peer::message::{Failed, Read, TooLong};
use crate::peer::{Fetched, Lent, Link, Links, Loan, Lost, NoPath, Path, Via};
use crate::pool::{Buffer, Owner, Reserved};
use crate::telemetry::{Metrics, Stage, StageClock, Stamp};
use crate::verbs::{ReadFailure, RemoteMemory, Requester};

/// Paths a read is tried on.
const ATTEMPTS: usize = 2;
/// Room for a needle that is wanted to its end, whose length only the peer knows.
const ROOM_GUESS: u64 = 256 << 10;
/// Times a peer may say that there is more.
const ROUNDS_MAX: usize = 4;

/// What a worker reads from peers with.
pub struct Remote<'a> {
    /// Its pool and bounds.
    pub reader: &'a Reader,
    /// Its links.
    pub links: &'a Rc<Links>,
    /// What is counted.
    pub metrics: &'a Metrics,
}

/// Where a needle is to be looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its volume.
    pub volume_id: u32,
    /// The collection the volume must belong to.
    pub collection: Option<&'a str>,
    /// The peer to read from; None is any that serves the volume.
    pub peer: Option<&'a str>,
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// No path would do better.
    Final(Error),
    /// Another path may do better.
    OfPath(Error),
}

impl From<NoPath> for Error {
    fn from(error: NoPath) -> Self {
        match error {
            NoPath::UnknownPeer => Error::new(
                Code::NoRoute,
                "no such peer is configured, or it is not clear which of several; name one of --peer",
            ),
            NoPath::NotServed => Error::new(
                Code::VolumeNotFound,
                "neither this host nor any peer serves the volume",
            ),
            NoPath::Unreachable(why) => Error::new(Code::PeerUnavailable, why),
            NoPath::NoDevice => Error::new(
                Code::UnsupportedHardware,
                "this engine has no RDMA device in use (see rdma-engine devices, --device and --transport)",
            ),
            NoPath::NoVerbs(why) => Error::new(Code::RdmaOperationFailed, why),
        }
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        let why = format!("the peer's connection was lost: {lost}");
        Self::OfPath(Error::new(Code::PeerUnavailable, why))
    }
}

impl From<ReadFailure> for Failure {
    fn from(failure: ReadFailure) -> Self {
        Self::OfPath(rdma_failed(&failure))
    }
}

pub(super) fn rdma_failed(failure: &ReadFailure) -> Error {
    Error::new(
        Code::RdmaOperationFailed,
        format!("the RDMA READ failed: {failure}"),
    )
}

impl Remote<'_> {
    /// Reads `wanted` from a peer that serves the volume.
    ///
    /// # Errors
    /// NO_ROUTE, VOLUME_NOT_FOUND, PEER_UNAVAILABLE or RDMA_OPERATION_FAILED when there is no
    /// path or the last one failed; what a peer says of the needle; what is wrong with what came.
    pub async fn read(
        &self,
        place: Place<'_>,
        wanted: &Wanted,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Landed> {
        let mut tried: Vec<Path> = Vec::new();
        let mut failed = None;
        loop {
            let path = self.next_path(place, &tried, deadline).await;
            // What went wrong before is the cause; that there is no other path is not.
            let path = path.map_err(|none| failed.take().unwrap_or(none))?;
            let label = path.transport();
            self.metrics.attempt(label);
            let attempted = self.attempt(&path, place, wanted, deadline, clock).await;
            match attempted {
                Ok(landed) => return Ok(landed),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::OfPath(error)) => {
                    let peer = path.link.status.address.name.clone();
                    let error = Error::new(error.code, format!("peer {peer}: {}", error.message));
                    self.metrics.attempt_failed(label);
                    clock.lap(Stage::Transport, Stamp::now());
                    path.link.look_at_queue_pairs();
                    tracing::debug!(peer, transport = label.as_str(), %error, "an attempt failed");
                    tried.push(path);
                    if tried.len() >= ATTEMPTS || !self.has_another(place, &tried) {
                        return Err(error);
                    }
                    failed = Some(error);
                }
            }
        }
    }

    /// Whether there is a path that was not tried, or one that broke and is being made anew.
    fn has_another(&self, place: Place<'_>, tried: &[Path]) -> bool {
        self.untried(place, tried).is_ok_and(|path| path.is_some())
            || tried.last().is_some_and(|path| {
                matches!(path.via, Via::Verbs(_)) && path.link.connection().is_some()
            })
    }

    fn untried(&self, place: Place<'_>, tried: &[Path]) -> Result<Option<Path>, NoPath> {
        let paths = self
            .links
            .paths(place.volume_id, place.collection, place.peer)?;
        let same_link = |path: &Path| tried.iter().any(|t| Rc::ptr_eq(&t.link, &path.link));
        let same = |path: &Path| {
            let alike =
                |t: &Path| Rc::ptr_eq(&t.link, &path.link) && t.transport() == path.transport();
            tried.iter().any(alike)
        };
        let another_peer = paths.iter().find(|path| !same_link(path));
        Ok(another_peer
            .or_else(|| paths.iter().find(|path| !same(path)))
            .cloned())
    }

    async fn next_path(&self, place: Place<'_>, tried: &[Path], deadline: Instant) -> Result<Path> {
        match (self.untried(place, tried), tried.last()) {
            (Ok(Some(path)), _) => Ok(path),
            // The same way once more, over a new queue pair.
            (
                _,
                Some(Path {
                    link,
                    via: Via::Verbs(_),
                    ..
                }),
            ) => self.over_new_queue_pair(link, deadline).await,
            (Ok(None), _) => Err(NoPath::NotServed.into()),
            // A volume that only a peer without RDMA has, where nothing else is allowed, or one
            // whose queue pair is just being made.
            (Err(NoPath::NoVerbs(why)), None) => self.await_verbs(place, why, deadline).await,
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn await_verbs(&self, place: Place<'_>, why: String, deadline: Instant) -> Result<Path> {
        let serving = self
            .links
            .serving(place.volume_id, place.collection, place.peer)?;
        match serving {
            Some(link) => self.over_new_queue_pair(&link, deadline).await,
            None => Err(NoPath::NoVerbs(why).into()),
        }
    }

    async fn over_new_queue_pair(&self, link: &Rc<Link>, deadline: Instant) -> Result<Path> {
        let requester = self.links.queue_pair(link, false, deadline).await?;
        let unreachable = || NoPath::Unreachable("the connection ended".to_owned());
        Ok(Path {
            conn: link.connection().ok_or_else(unreachable)?,
            link: Rc::clone(link),
            via: Via::Verbs(requester),
        })
    }

    async fn attempt(
        &self,
        path: &Path,
        place: Place<'_>,
        wanted: &Wanted,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Landed, Failure> {
        let max = self.reader.max_transfer;
        let mut room = match wanted.size {
            0 => ROOM_GUESS.min(max),
            size => size.min(max),
        };
        for _ in 0..ROUNDS_MAX {
            let buffer = self
                .reserve(wanted.owner, room, deadline, clock)
                .await
                .map_err(Failure::Final)?;
            let patience = deadline.saturating_duration_since(Instant::now());
            let patience = patience.min(self.links.timeout());
            let read = Read {
                id: 0,
                volume_id: place.volume_id,
                collection: place.collection.map(str::to_owned),
                needle_id: wanted.needle_id,
                cookie: wanted.cookie,
                offset: wanted.offset,
                size: wanted.size,
                room,
                patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            };
            let begun = Stamp::now();
            clock.lap(Stage::Submit, begun);
            let outcome = match &path.via {
                Via::Verbs(requester) => match path.conn.lease(read).await? {
                    Lent::Leased(loan) => {
                        return self
                            .read_lent(requester, &loan, wanted, buffer, clock)
                            .await;
                    }
                    Lent::TooLong(more) => Outcome::TooLong(more),
                    Lent::Failed(failed) => Outcome::Failed(failed),
                },
                Via::Tcp(fallback) => match path.conn.fetch(read, buffer).await? {
                    Fetched::Landed { buffer, facts, crc } => {
                        let end = Stamp::now();
                        clock.lap(Stage::Transport, end);
                        let came = Came {
                            buffer,
                            length: facts.length as usize,
                            crc,
                            transport: Transport::Tcp(*fallback),
                            completion: end.since(begun),
                        };
                        return came.check(&facts, wanted, self.metrics);
                    }
                    Fetched::TooLong(more) => Outcome::TooLong(more),
                    Fetched::Failed(failed) => Outcome::Failed(failed),
                },
            };
            room = match outcome {
                Outcome::Failed(failed) => return Err(explain(failed)),
                Outcome::TooLong(more) if more.length > max => {
                    let bytes = more.length;
                    return Err(Failure::Final(Error::new(
                        Code::TransferTooLarge,
                        format!(
                            "{bytes} bytes are more than the {max} of one transfer; read the needle in ranges"
                        ),
                    )));
                }
                Outcome::TooLong(more) => more.length.max(room),
            };
            clock.lap(Stage::Transport, Stamp::now());
        }
        let why = "it said again and again that there is more";
        Err(Failure::OfPath(Error::new(Code::PeerUnavailable, why)))
    }

    pub(super) async fn reserve(
        &self,
        owner: Owner,
        bytes: u64,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Buffer<Reserved>> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.reader.reserve(owner, bytes, deadline, clock).await
    }

    async fn read_lent(
        &self,
        requester: &Rc<Requester>,
        loan: &Loan,
        wanted: &Wanted,
        buffer: Buffer<Reserved>,
        clock: &StageClock,
    ) -> Result<Landed, Failure> {
        let leased = &loan.leased;
        let length = usize::try_from(leased.facts.length)
            .ok()
            .filter(|&length| length <= buffer.size_bytes());
        let Some(length) = length else {
            return Err(broken("it lent more than there is room for"));
        };
        let from = RemoteMemory {
            addr: leased.addr,
            rkey: leased.rkey,
        };
        let came = read_memory(requester, from, buffer, length).await?;
        clock.lap(Stage::Transport, Stamp::now());
        if leased.facts.crc.is_none() {
            return Err(broken("it lent bytes without their checksum"));
        }
        came.check(&leased.facts, wanted, self.metrics)
    }
}

enum Outcome {
    TooLong(TooLong),
    Failed(Failed),
}

impl Path {
    fn transport(&self) -> Transport {
        match self.via {
            Via::Verbs(_) => Transport::Verbs,
            Via::Tcp(fallback) => Transport::Tcp(fallback),
        }
    }
}

/// A peer that does not keep to the protocol.
pub(super) fn broken(why: &str) -> Failure {
    Failure::OfPath(Error::new(Code::PeerUnavailable, why))
}

/// What a peer says of a needle. What is wrong with the peer, or its copy, may be right elsewhere.
fn explain(failed: Failed) -> Failure {
    let code = Code::ALL.into_iter().find(|c| c.as_str() == failed.code);
    // It is of a newer build.
    let code = code.unwrap_or(Code::Internal);
    // It is not this engine that ends.
    let told = match code {
        Code::ShuttingDown => Code::PeerUnavailable,
        code => code,
    };
    let error = Error::new(told, failed.message);
    match code {
        Code::NeedleNotFound
        | Code::CookieMismatch
        | Code::InvalidRequest
        | Code::TransferTooLarge => Failure::Final(error),
        _ => Failure::OfPath(error),
    }
}
