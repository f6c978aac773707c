//! The target: serves the volumes of a storage node to engines on other hosts.
//!
//! It stages a needle in its own registered pool and lends the memory for one-sided READs, or
//! sends the bytes over the connection where one side has no device. The control thread (the one
//! that calls [`run`]) accepts peers; workers serve; a thread of its own follows the volumes' files and
//! announces what has changed.

mod connection;
mod control;
mod greeting;
mod leases;
mod lent;
mod reads;
mod served;
mod strangers;
mod worker;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::config::{TargetConfig, Token, TransportChoice};
use crate::daemon::{FOLLOWING, STARTING_A_WORKER, StartError, WorkerThread, pages};
use crate::pool::{GRANULE_BYTES, Pool};
use crate::source::{Follower, Volumes};
use crate::telemetry::{Endpoints, Live, Metrics, Observe, Observed, Page, PoolState, Readiness};
use crate::uring::{Registration, Rings};
use crate::verbs::{Access, Adapter};
use crate::volume::Registry;

use connection::Accepted;
use lent::Lent;
use served::Served;
use strangers::Strangers;

/// What all of a target's threads share.
struct Target {
    pool: Arc<Pool>,
    adapter: Option<Arc<Adapter>>,
    volumes: Volumes,
    /// What is announced to peers.
    served: watch::Receiver<Served>,
    metrics: Arc<Metrics>,
    /// Needles that may be decompressed beside the workers at once.
    decoders: Arc<Semaphore>,
    /// Open connections.
    connections: Arc<AtomicU64>,
    /// Those of them that have not said who they are.
    strangers: Arc<Strangers>,
    leases: AtomicU64,
    /// Requests that are being served, or whose answers are not written yet.
    unanswered: AtomicU64,
    /// It is about to end: nothing more is lent or sent.
    draining: AtomicBool,
    /// What is lent, for those who look from outside.
    lent: Lent,
    /// What the workers' data rings count.
    rings: Rings,
    /// Numbers given to connections.
    next_connection: AtomicU64,
    secret: Option<Token>,
    settings: Settings,
    steps_down: OnceLock<[bool; 2]>,
}

/// The part of the configuration that serving needs.
struct Settings {
    transport: TransportChoice,
    max_transfer: u64,
    max_leases: u32,
    max_peers: u32,
    lease_timeout: Duration,
    peer_timeout: Duration,
}

/// Runs the target until SIGTERM or SIGINT.
///
/// # Errors
/// When something it needs can not be had at start.
pub fn run(config: &TargetConfig) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::io("starting the control runtime"))?;
    // First of all, so that a second daemon stops before it takes memory.
    let listener = runtime
        .block_on(TcpListener::bind(config.listen))
        .map_err(|source| StartError::Peers {
            address: config.listen,
            source,
        })?;
    let address = listener
        .local_addr()
        .map_err(StartError::io("asking for the address listened on"))?;
    let metrics = Arc::new(Metrics::install(&config.metrics_settings())?);
    let registry = Registry::open(
        &config.volumes,
        config.index_dir.as_deref(),
        config.direct_io,
    )?;
    let (pool, ordinary_pages) = pages::allocate(
        config.buffer_size,
        config.max_transfer_size,
        config.hugepages,
    )?;
    let ports = config.port_choice();
    let adapter = Adapter::open(&config.device, &ports, &pool, Access::LendReads)?;
    if adapter.is_none() && config.transport == TransportChoice::Verbs {
        return Err(StartError::NoDevice);
    }
    if let Some(adapter) = &adapter {
        metrics
            .registrations
            .increment(adapter.registrations() as u64);
    }
    let volumes = Volumes::new(registry);
    let (announce, served) = watch::channel(Served::of(&volumes));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let target = Arc::new(Target {
        pool,
        adapter,
        volumes,
        served,
        metrics: Arc::clone(&metrics),
        decoders: Arc::new(Semaphore::new(cores)),
        connections: Arc::default(),
        strangers: Arc::default(),
        leases: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
        draining: AtomicBool::new(false),
        lent: Lent::default(),
        rings: Rings::default(),
        next_connection: AtomicU64::new(0),
        secret: config.peer_secret.clone(),
        settings: Settings {
            transport: config.transport,
            max_transfer: config.max_transfer_size,
            max_leases: config.max_leases,
            max_peers: config.max_peers,
            lease_timeout: config.lease_timeout,
            peer_timeout: config.peer_timeout,
        },
        steps_down: OnceLock::new(),
    });
    let readiness = Arc::new(Readiness::new());
    let page = Page {
        metrics,
        observe: Arc::clone(&target) as _,
        readiness: Arc::clone(&readiness),
    };
    let endpoints = Endpoints::start(config.metrics_listen, page)?;
    let (workers, refused) = start_workers(config, &target)?;
    // Set once, here.
    let _ = target
        .steps_down
        .set([ordinary_pages.is_some(), refused.is_some()]);
    let follower = {
        let announcing = Arc::clone(&target);
        let looked = move || announce_changes(&announcing, &announce);
        Follower::start(&target.volumes, looked).map_err(StartError::io(FOLLOWING))?
    };
    target.announce_start(address);

    let served = runtime.block_on(control::run(
        config, &target, &readiness, listener, &workers,
    ));
    drop(follower);
    WorkerThread::stop_all(workers);
    endpoints.stop();
    tracing::info!("stopped");
    served
}

/// Tells the connections of changes in what is served.
fn announce_changes(target: &Target, announce: &watch::Sender<Served>) {
    let now = Served::of(&target.volumes);
    announce.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

type Workers = Vec<WorkerThread<Accepted>>;

fn start_workers(
    config: &TargetConfig,
    target: &Arc<Target>,
) -> Result<(Workers, Option<String>), StartError> {
    let mut workers = Vec::new();
    let mut refused = None;
    for number in 0..config.workers {
        let (worker, registration) =
            worker::start(number, target).map_err(StartError::io(STARTING_A_WORKER))?;
        workers.push(worker);
        match registration {
            Registration::Fixed(regions) => target.metrics.registrations.increment(regions as u64),
            Registration::Refused(error) => refused = Some(pages::registration_refused(&error)),
        }
    }
    if let Some(why) = &refused {
        tracing::warn!("{why}");
    }
    Ok((workers, refused))
}

impl Target {
    /// Peers can READ from it.
    fn lends(&self) -> bool {
        self.settings.transport != TransportChoice::Tcp
            && self.adapter.as_ref().is_some_and(|a| a.is_usable())
    }

    /// Granules of the pool one connection's answers may have before they are written: an eighth
    /// of it, but the largest of answers always fits.
    fn unsent_granules(&self) -> usize {
        self.granules(self.pool.size_bytes() / 8)
    }

    /// Granules of the pool one connection may have lent, likewise: half of it.
    fn lent_granules(&self) -> usize {
        self.granules(self.pool.size_bytes() / 2)
    }

    fn granules(&self, bytes: usize) -> usize {
        let largest = usize::try_from(self.settings.max_transfer).unwrap_or(usize::MAX);
        largest.max(bytes).div_ceil(GRANULE_BYTES)
    }

    /// Peers can have bytes over their connection.
    fn sends(&self) -> bool {
        self.settings.transport != TransportChoice::Verbs
    }

    fn announce_start(&self, listen: SocketAddr) {
        let device = self.adapter.as_ref().map_or("none", |a| a.name());
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            %listen,
            device,
            pool_bytes = self.pool.size_bytes(),
            page_bytes = self.pool.page_bytes(),
            volumes = self.volumes.count(),
            needles = self.volumes.needles(),
            "ready"
        );
    }
}

impl Observe for Target {
    fn observe(&self) -> Observed {
        let [hugepages, fixed_buffers] = self.steps_down.get().copied().unwrap_or_default();
        let settings = &self.settings;
        let (open, broken) = self.adapter.as_ref().map_or((0, 0), |a| a.queue_pairs());
        Observed {
            sessions_active: 0,
            sessions_limit: 0,
            connections_active: self.connections.load(Ordering::Relaxed),
            connections_limit: u64::from(settings.max_peers),
            leases_active: self.leases.load(Ordering::Relaxed),
            leases_limit: u64::from(settings.max_peers) * u64::from(settings.max_leases),
            pool: PoolState {
                usage: self.pool.usage(),
                page_size_bytes: self.pool.page_bytes() as u64,
                registered: !fixed_buffers,
            },
            volumes: self.volumes.count() as u64,
            volumes_unreadable: self.volumes.unreadable() as u64,
            needles: self.volumes.needles() as u64,
            follow_lag_seconds: self.volumes.follow_lag().as_secs_f64(),
            hugepages_stepped_down: hugepages,
            fixed_buffers_stepped_down: fixed_buffers,
            peers: Vec::new(),
            queue_pairs: [open - broken, broken, 0],
            rings: self.rings.state(),
            verbs: Adapter::state(self.adapter.as_deref()),
        }
    }

    fn sessions(&self) -> Vec<Live> {
        self.lent.live(Instant::now())
    }
}
