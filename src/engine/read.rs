//! StartRead: a place in the slab, a buffer, the bytes, a lease.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::{Engine, Worker, unix_ns};
use crate::error::{Code, Error, Result};
use crate::pool::Owner;
use crate::protocol::message::{StartRead, StartReadResponse};
use crate::session::{Came, ClientKey, Held, Opening, SessionId};
use crate::source::remote::{Place, Remote};
use crate::source::{Landed, Transport, Wanted, local};
use crate::telemetry::{Identity, Landing, Named, RateLimited, Stage, StageClock, Stages, Stamp};
use crate::verbs::RemoteMemory;
use crate::volume::Volume;

impl Worker {
    /// Serves a StartRead of `client`, the process called `who`, whose time `clock` divides among
    /// its stages. Returns the reply, which is counted as given, and the session that is lost if it
    /// can not be delivered.
    ///
    /// May be dropped at any await: the place, the buffer and the I/O in flight see to
    /// themselves.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn start_read(
        &self,
        client: ClientKey,
        who: &Identity,
        request: &StartRead,
        clock: &StageClock,
    ) -> Result<(StartReadResponse, SessionId)> {
        let who = who.get(&self.engine.metrics.clients);
        let span = tracing::debug_span!(
            "read",
            session = Empty,
            client = who.name,
            volume = request.volume_id,
            needle = format_args!("{:x}", request.needle_id),
            transport = Empty,
            buffer_wait_seconds = Empty,
            submit_seconds = Empty,
            transport_seconds = Empty,
            verify_seconds = Empty,
            reply_seconds = Empty,
        );
        // Cloned first: what could panic while there is a future has it moved, all of its size.
        let around = span.clone();
        self.read_in(&span, client, who, request, clock)
            .instrument(around)
            .await
    }

    async fn read_in(
        &self,
        span: &Span,
        client: ClientKey,
        who: &Arc<Named>,
        request: &StartRead,
        clock: &StageClock,
    ) -> Result<(StartReadResponse, SessionId)> {
        // In this order, so that what the client is told is never later than the deadline.
        let (wall, started) = (SystemTime::now(), Instant::now());
        let engine = &*self.engine;
        engine.admit_reads(request)?;
        let timeout = engine.timeout(request.timeout_secs);
        let deadline = started + timeout;
        let opening = Opening {
            client: Arc::clone(who),
            volume: request.volume_id,
            needle: request.needle_id,
        };
        let times = (started.into_std(), deadline.into_std());
        let admission = engine.sessions.admit(client, opening, times)?;
        span.record("session", tracing::field::display(admission.id().short()));

        let landed =
            tokio::time::timeout_at(deadline, self.fetch(client, request, deadline, clock))
                .await
                .unwrap_or_else(|_| {
                    Err(Error::new(
                        Code::SessionExpired,
                        format!("the read took longer than its {timeout:?}"),
                    ))
                })
                .map_err(|e| engine.explain(request, e))
                .inspect_err(|e| {
                    describe(span, None, &clock.stages());
                    let took_seconds = started.elapsed().as_secs_f64();
                    tracing::debug!(took_seconds, result = e.code.as_str(), "session ended");
                })?;

        clock.lap(Stage::Verify, Stamp::now());
        let transfer_size = landed.data.len() as u64;
        let landing = Landing {
            transport: landed.transport,
            bytes: transfer_size,
            completion: u64::try_from(landed.completion.as_nanos()).unwrap_or(u64::MAX),
            client: who.series.number,
            volume: self.volume_number(request),
        };
        let lease = landed.buffer.lease();
        let mut reply = StartReadResponse {
            local_key: engine.network.adapter.as_ref().map_or(0, |adapter| {
                adapter.local_key(lease.offset() + landed.data.start)
            }),
            local_addr: lease.local_address(landed.data.start),
            pool_offset: (lease.offset() + landed.data.start) as u64,
            transfer_size,
            expected_crc: landed.crc,
            expires_at_ns: unix_ns(wall + timeout),
            needle_size: landed.needle_size,
            transport: landed.transport.as_str().to_owned(),
            crc_verified: landed.crc_verified,
            completion_ns: u64::try_from(landed.completion.as_nanos()).ok(),
            ..StartReadResponse::default()
        };
        clock.lap(Stage::Reply, Stamp::now());
        let stages = clock.stages();
        describe(span, Some(landed.transport), &stages);
        let held = Held {
            lease,
            transfer_size,
            crc: landed.crc,
            came: Came {
                transport: landed.transport,
                stages,
            },
        };
        let session = admission.hold(held);
        let session = session.inspect_err(|_| engine.metrics.landed(&landing))?;
        self.journal.answered(landing, stages);
        reply.session_id = session.to_string();
        reply.elapsed_ns = u64::try_from(stages.total().as_nanos()).ok();
        tracing::trace!(bytes = transfer_size, "landed");
        Ok((reply, session))
    }

    async fn fetch(
        &self,
        client: ClientKey,
        request: &StartRead,
        deadline: Instant,
        clock: &StageClock,
    ) -> Result<Landed> {
        let wanted = Wanted {
            needle_id: request.needle_id,
            cookie: request.cookie,
            offset: request.offset,
            size: request.size,
            owner: Owner(client.0),
        };
        let remote = Remote {
            reader: &self.reader,
            links: &self.links,
            metrics: &self.engine.metrics,
        };
        let place = Place {
            volume_id: request.volume_id,
            collection: request.collection.as_deref(),
            peer: request.peer.as_deref(),
        };
        if names_memory(request) {
            let memory = RemoteMemory {
                addr: request.remote_addr,
                rkey: request.remote_key,
            };
            return remote
                .read_named(place.peer, memory, &wanted, deadline, clock)
                .await;
        }
        let volumes = &self.engine.volumes;
        let id = request.volume_id;
        // A volume of this host first; the disk is not looked at for one that a peer has.
        let here = place.peer.is_none() && (volumes.knows(id) || !self.links.serve(id));
        if here {
            let read = async |volume: &Volume| {
                self.journal.attempted();
                local::read(&self.reader, volume, &wanted, deadline, clock).await
            };
            match volumes.read(id, place.collection, read).await {
                Err(error) if error.code == Code::VolumeNotFound && !self.links.is_empty() => {}
                Err(error) => {
                    self.engine.metrics.local_read_failed(error.code);
                    if !is_damage(error.code) || !self.links.serve(id) {
                        return Err(error);
                    }
                    // A peer's copy may be whole.
                    self.engine.explain(request, error.clone());
                    let elsewhere = remote.read(place, &wanted, deadline, clock).await;
                    return elsewhere.map_err(|_| error);
                }
                landed => return landed,
            }
        }
        remote.read(place, &wanted, deadline, clock).await
    }

    /// The number of the series the read is counted under. Memory that a client names is of no
    /// volume, whatever number it gives.
    fn volume_number(&self, request: &StartRead) -> u32 {
        let metrics = &self.engine.metrics;
        if names_memory(request) {
            return metrics.volumes.other().number;
        }
        let counted = &self.volumes_counted;
        counted.with(request.volume_id, metrics, |series| series.number)
    }
}

/// Whether that is wrong with this copy of a needle alone.
fn is_damage(code: Code) -> bool {
    matches!(
        code,
        Code::ChecksumMismatch | Code::CorruptNeedle | Code::CorruptVolume | Code::IoError
    )
}

fn names_memory(request: &StartRead) -> bool {
    request.remote_addr != 0 || request.remote_key != 0
}

/// Tells the span what is known of the read now. What a failed read's stages lack to its whole
/// time is that of the stage it failed in.
fn describe(span: &Span, transport: Option<Transport>, stages: &Stages) {
    if span.is_disabled() {
        return;
    }
    let [buffer_wait, submit, transport_time, verify, reply] =
        stages.times().map(|s| s.as_secs_f64());
    if let Some(transport) = transport {
        span.record("transport", transport.as_str());
    }
    span.record("buffer_wait_seconds", buffer_wait)
        .record("submit_seconds", submit)
        .record("transport_seconds", transport_time)
        .record("verify_seconds", verify)
        .record("reply_seconds", reply);
}

impl Engine {
    fn admit_reads(&self, request: &StartRead) -> Result<()> {
        self.authenticate(request.auth_token.as_deref())?;
        if self.draining.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Error::new(
                Code::ShuttingDown,
                "the engine is shutting down; read elsewhere or try again soon",
            ));
        }
        Ok(())
    }

    fn timeout(&self, asked_secs: u64) -> Duration {
        match asked_secs {
            0 => self.limits.session_timeout,
            asked => Duration::from_secs(asked).min(self.limits.session_timeout_max),
        }
    }

    /// Says which needle it was, and warns of what an operator must know of.
    fn explain(&self, request: &StartRead, error: Error) -> Error {
        let needle = format!(
            "volume {}, needle {:x}",
            request.volume_id, request.needle_id
        );
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if is_damage(error.code)
            && let Some(suppressed) = TOLD.pass(std::time::Instant::now())
        {
            tracing::warn!(suppressed, code = %error.code, needle, "{}", error.message);
        }
        Error::new(error.code, format!("{needle}: {}", error.message))
    }
}
