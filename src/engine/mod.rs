//! What each request does.
//!
//! [`Engine`] is what all workers share, on the way of a read behind short locks that are never
//! held across an await; [`Worker`] is what one thread has to itself.

mod complete;
mod info;
mod read;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use crate::config::Token;
use crate::error::{Code, Error, Result};
use crate::peer::{Links, PeerSettings, PeerStatus};
use crate::pool::Pool;
use crate::session::{Clients, Ended, Opening, SessionError, Sessions};
use crate::source::{Reader, Volumes};
use crate::telemetry::{
    Journal, Live, Metrics, Observe, Observed, PoolState, RateLimited, VolumesCounted,
};
use crate::uring::Rings;
use crate::verbs::Adapter;

/// The limits a request meets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes one read may land.
    pub max_transfer: u64,
    /// How long a session lives when the client does not say.
    pub session_timeout: Duration,
    /// The longest a client may ask for.
    pub session_timeout_max: Duration,
    /// Connections that may be open at once.
    pub max_connections: u64,
}

/// What does not run as well as it could on this host.
#[derive(Clone, Debug, Default)]
pub struct StepsDown {
    /// Why the pool lies on ordinary pages, and what would avoid it.
    pub hugepages: Option<String>,
    /// Why the pool is not registered, and what would avoid it.
    pub fixed_buffers: Option<String>,
}

/// What there is beyond this host.
#[derive(Debug)]
pub struct Network {
    /// The RDMA device in use.
    pub adapter: Option<Arc<Adapter>>,
    /// The peers.
    pub peers: Vec<Arc<PeerStatus>>,
    /// How they are talked to.
    pub settings: Arc<PeerSettings>,
    /// How long to poll for an RDMA completion before sleeping.
    pub completion_poll: Duration,
}

/// Everything the workers share.
pub struct Engine {
    /// Where reads land.
    pub pool: Arc<Pool>,
    /// Who holds what.
    pub sessions: Arc<Sessions>,
    /// Who is connected.
    pub clients: Clients,
    /// What can be read.
    pub volumes: Volumes,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Needles that may be decompressed beside the workers at once.
    pub decoders: Arc<Semaphore>,
    /// Open connections.
    pub connections: Arc<AtomicU64>,
    /// What there is beyond this host.
    pub network: Network,
    /// What the workers' data rings count.
    pub rings: Rings,
    limits: Limits,
    token: Option<Token>,
    boot_id: String,
    steps_down: OnceLock<StepsDown>,
    draining: AtomicBool,
}

/// One thread's part.
pub struct Worker {
    /// What it shares.
    pub engine: Arc<Engine>,
    /// What it reads with.
    pub reader: Reader,
    /// Its links to the peers.
    pub links: Rc<Links>,
    /// What it counts of reads that were answered.
    pub journal: Journal,
    /// The counters of volumes it has read.
    volumes_counted: VolumesCounted,
}

impl Engine {
    /// An engine that serves `volumes` into `pool`.
    ///
    /// # Errors
    /// When the kernel has no random bytes for the boot id.
    pub fn new(
        pool: Arc<Pool>,
        sessions: Arc<Sessions>,
        volumes: Volumes,
        metrics: Arc<Metrics>,
        network: Network,
        limits: Limits,
        token: Option<Token>,
    ) -> Result<Self, getrandom::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut random = [0; 12];
        getrandom::fill(&mut random)?;
        Ok(Self {
            pool,
            sessions,
            clients: Clients::default(),
            volumes,
            metrics,
            decoders: Arc::new(Semaphore::new(cores)),
            connections: Arc::default(),
            network,
            rings: Rings::default(),
            limits,
            token,
            boot_id: crate::session::SessionId::new(0, random).to_string(),
            steps_down: OnceLock::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// States, once, what does not run as well as it could.
    pub fn set_steps_down(&self, steps: StepsDown) {
        // Set once, by the server before the first request; a second call changes nothing.
        let _ = self.steps_down.set(steps);
    }

    /// From now on new reads are refused.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Ends leases whose deadline has come, and takes back those of clients that have gone.
    pub fn sweep(&self, now: Instant, client_grace: Duration) {
        let expired = self.sessions.expire(now);
        self.metrics
            .sessions_expired
            .increment(expired.len() as u64);
        let ended = |session: &Ended, result| {
            self.metrics.session_ended(session.tell(now, result));
        };
        for session in &expired {
            ended(session, "expired");
        }
        for client in self
            .clients
            .gone(client_grace, now, |client| self.sessions.any_of(client))
        {
            let (held, waited_for) = self.sessions.reclaim(client);
            for session in &held {
                ended(session, "reclaimed");
            }
            let reclaimed = held.len() + waited_for;
            if reclaimed > 0 {
                self.metrics.sessions_reclaimed.increment(reclaimed as u64);
                static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
                if let Some(suppressed) = TOLD.pass(now) {
                    tracing::info!(
                        client = client.0,
                        reclaimed,
                        suppressed,
                        "a client died holding sessions; they were taken back"
                    );
                }
            }
        }
    }

    /// The most bytes one read may land.
    pub fn max_transfer(&self) -> u64 {
        self.limits.max_transfer
    }

    fn steps_down(&self) -> StepsDown {
        self.steps_down.get().cloned().unwrap_or_default()
    }

    fn authenticate(&self, shown: Option<&str>) -> Result<()> {
        match (&self.token, shown) {
            (None, _) => Ok(()),
            (Some(token), Some(shown)) if token.matches(shown) => Ok(()),
            (Some(_), Some(_)) => Err(Error::new(
                Code::Unauthenticated,
                "the auth_token is not the engine's",
            )),
            (Some(_), None) => Err(Error::new(
                Code::Unauthenticated,
                "this engine wants an auth_token; send the one of its auth_token_file",
            )),
        }
    }
}

impl Network {
    /// Peers that are read by RDMA, those that are connected but not, and those that are not.
    fn peers_by_state(&self) -> [u64; 3] {
        let mut states = [0; 3];
        for peer in &self.peers {
            let state = match (
                peer.with_verbs.load(Ordering::Relaxed),
                peer.connected.load(Ordering::Relaxed),
            ) {
                (1.., _) => 0,
                (0, 1..) => 1,
                (0, 0) => 2,
            };
            states[state] += 1;
        }
        states
    }
}

impl Worker {
    /// A worker of `engine` that reads with `reader` and over `links`.
    pub fn new(engine: Arc<Engine>, reader: Reader, links: Rc<Links>) -> Rc<Self> {
        Rc::new(Self {
            journal: Journal::new(Arc::clone(&engine.metrics)),
            engine,
            reader,
            links,
            volumes_counted: VolumesCounted::default(),
        })
    }
}

impl Observe for Engine {
    fn observe(&self) -> Observed {
        let steps = self.steps_down();
        Observed {
            sessions_active: self.sessions.count().0 as u64,
            sessions_limit: self.sessions.limit() as u64,
            connections_active: self.connections.load(Ordering::Relaxed),
            connections_limit: self.limits.max_connections,
            leases_active: 0,
            leases_limit: 0,
            pool: PoolState {
                usage: self.pool.usage(),
                page_size_bytes: self.pool.page_bytes() as u64,
                registered: steps.fixed_buffers.is_none(),
            },
            volumes: self.volumes.count() as u64,
            volumes_unreadable: self.volumes.unreadable() as u64,
            needles: self.volumes.needles() as u64,
            follow_lag_seconds: self.volumes.follow_lag().as_secs_f64(),
            hugepages_stepped_down: steps.hugepages.is_some(),
            fixed_buffers_stepped_down: steps.fixed_buffers.is_some(),
            peers: self.network.peers.iter().map(|peer| peer.state()).collect(),
            queue_pairs: PeerStatus::queue_pairs(&self.network.peers),
            rings: self.rings.state(),
            verbs: Adapter::state(self.network.adapter.as_deref()),
        }
    }

    fn sessions(&self) -> Vec<Live> {
        self.sessions.live(Instant::now())
    }
}

impl Ended {
    /// Tells of the session the one line it has in the log: it is over `now`, because of `result`.
    /// Returns its age.
    fn tell(&self, now: Instant, result: &str) -> Duration {
        let age = now.saturating_duration_since(self.since);
        let Opening {
            client,
            volume,
            needle,
        } = &self.opening;
        let [buffer_wait, submit, transport, verify, reply] = self.came.stages.times();
        tracing::debug!(
            session = %self.short,
            client = client.name,
            volume,
            needle = format_args!("{needle:x}"),
            transport = self.came.transport.as_str(),
            bytes = self.transfer_size,
            buffer_wait_seconds = buffer_wait.as_secs_f64(),
            submit_seconds = submit.as_secs_f64(),
            transport_seconds = transport.as_secs_f64(),
            verify_seconds = verify.as_secs_f64(),
            reply_seconds = reply.as_secs_f64(),
            age_seconds = age.as_secs_f64(),
            result,
            "session ended"
        );
        age
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        let code = match error {
            SessionError::TooMany { .. } => Code::TooManySessions,
            SessionError::NotFound | SessionError::Abandoned => Code::SessionNotFound,
            SessionError::Expired => Code::SessionExpired,
        };
        Error::new(code, error.to_string())
    }
}

/// Nanoseconds since the Unix epoch.
fn unix_ns(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
