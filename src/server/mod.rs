//! The daemon: puts the parts together, runs them, and takes them down in order.
//!
//! The control thread (the one that calls [`run`]) accepts connections, sweeps sessions and
//! waits for signals; workers serve; telemetry, and following the volumes' files, have a thread of
//! their own each.

mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::{Config, TransportChoice};
use crate::daemon::{FOLLOWING, STARTING_A_WORKER, Signals, StartError, WorkerThread, pages};
use crate::engine::{Engine, Limits, Network, StepsDown};
use crate::ipc::{Accepted, Listener, Policy};
use crate::peer::{PeerSettings, PeerStatus};
use crate::pool::Pool;
use crate::session::Sessions;
use crate::source::{Follower, Volumes};
use crate::telemetry::{Endpoints, Metrics, Page, Readiness, State};
use crate::uring::Registration;
use crate::verbs::{Access, Adapter};
use crate::volume::Registry;

/// How often leases and clients are looked at; deadlines are kept within twice this.
const SWEEP_INTERVAL: Duration = Duration::from_millis(40);

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When something it needs can not be had at start.
pub fn run(config: &Config) -> Result<(), StartError> {
    // First of all, so that a second daemon stops before it takes memory.
    let listener = Listener::bind(&config.ipc_socket)?;
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
    let adapter = Adapter::open(&config.device, &ports, &pool, Access::LandReads)?;
    if adapter.is_none() && config.transport == TransportChoice::Verbs {
        return Err(StartError::NoDevice);
    }
    if let Some(adapter) = &adapter {
        metrics
            .registrations
            .increment(adapter.registrations() as u64);
    }
    let engine = Arc::new(engine(
        config,
        adapter,
        Arc::clone(&pool),
        registry,
        Arc::clone(&metrics),
    )?);
    let readiness = Arc::new(Readiness::new());
    let observe = Arc::clone(&engine) as _;
    let page = Page {
        metrics,
        observe,
        readiness: Arc::clone(&readiness),
    };
    let endpoints = Endpoints::start(config.metrics_listen, page)?;
    let (workers, refused) = start_workers(config, &engine)?;
    engine.set_steps_down(StepsDown {
        hugepages: ordinary_pages,
        fixed_buffers: refused,
    });
    let follower = Follower::start(&engine.volumes, || ()).map_err(StartError::io(FOLLOWING))?;
    announce(config, &engine);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::io("starting the control runtime"))?;
    let served = runtime.block_on(control(config, &engine, &readiness, listener, &workers));
    drop(follower);
    WorkerThread::stop_all(workers);
    endpoints.stop();
    tracing::info!("stopped");
    served
}

fn engine(
    config: &Config,
    adapter: Option<Arc<Adapter>>,
    pool: Arc<Pool>,
    registry: Registry,
    metrics: Arc<Metrics>,
) -> Result<Engine, StartError> {
    let limits = Limits {
        max_transfer: config.max_transfer_size,
        session_timeout: config.session_timeout,
        session_timeout_max: config.session_timeout_max,
        max_connections: u64::from(config.max_connections),
    };
    let sessions = Sessions::new(config.max_sessions as usize);
    let token = config.auth_token.clone();
    let peers = config.peers.iter().cloned();
    let network = Network {
        adapter,
        peers: peers.map(|peer| Arc::new(PeerStatus::new(peer))).collect(),
        settings: Arc::new(PeerSettings {
            secret: config.peer_secret.clone(),
            transport: config.transport,
            timeout: config.peer_timeout,
            keepalive: config.peer_keepalive,
        }),
        completion_poll: config.completion_poll,
    };
    Engine::new(
        pool,
        sessions,
        Volumes::new(registry),
        metrics,
        network,
        limits,
        token,
    )
    .map_err(|e| StartError::Io {
        doing: "drawing a boot id",
        source: e.into(),
    })
}

/// Starts the workers. The second value says why their reads do without fixed buffers, if so.
fn start_workers(
    config: &Config,
    engine: &Arc<Engine>,
) -> Result<(Vec<WorkerThread<Accepted>>, Option<String>), StartError> {
    let mut workers = Vec::new();
    let mut refused = None;
    for number in 0..config.workers {
        let (worker, registration) = worker::start(number, engine, config.frame_timeout)
            .map_err(StartError::io(STARTING_A_WORKER))?;
        workers.push(worker);
        match registration {
            Registration::Fixed(regions) => engine.metrics.registrations.increment(regions as u64),
            Registration::Refused(error) => refused = Some(pages::registration_refused(&error)),
        }
    }
    if let Some(why) = &refused {
        tracing::warn!("{why}");
    }
    Ok((workers, refused))
}

fn announce(config: &Config, engine: &Engine) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.ipc_socket.display(),
        device = engine.network.adapter.as_ref().map_or("none", |a| a.name()),
        peers = engine.network.peers.len(),
        pool_bytes = engine.pool.size_bytes(),
        page_bytes = engine.pool.page_bytes(),
        max_transfer_bytes = config.max_transfer_size,
        workers = config.workers,
        volumes = engine.volumes.count(),
        needles = engine.volumes.needles(),
        "ready"
    );
}

/// Accepts, sweeps, and waits for a signal; then drains.
async fn control(
    config: &Config,
    engine: &Arc<Engine>,
    readiness: &Readiness,
    mut listener: Listener,
    workers: &[WorkerThread<Accepted>],
) -> Result<(), StartError> {
    let mut terminate = Signals::new().map_err(StartError::io("watching for signals"))?;
    let policy = Policy {
        allowed_uids: config.allowed_uids.clone(),
        max_connections: u64::from(config.max_connections),
    };
    let mut turn = workers.iter().cycle();
    let deal = |accepted| {
        if let Some(worker) = turn.next() {
            worker.serve(accepted);
        }
    };
    readiness.set(State::Ready);
    let accepting = listener.accept(&policy, &engine.connections, &engine.metrics, deal);
    let sweeping = sweep(engine, config.client_grace);
    let events = async {
        if let Some(adapter) = &engine.network.adapter {
            Arc::clone(adapter).follow_events().await;
        }
        // Without a device, reads go on over TCP and of local volumes.
        std::future::pending().await
    };
    tokio::select! {
        () = events => {}
        failed = accepting => return failed.map_err(StartError::io("watching the socket")),
        () = sweeping => {}
        () = async {
            terminate.next().await;
            readiness.set(State::Draining);
            engine.drain();
            tokio::select! {
                () = drained(engine, config.shutdown_timeout) => {}
                () = terminate.next() => tracing::warn!("stopping at once"),
            }
        } => {}
    }
    Ok(())
}

/// Keeps deadlines and takes back what dead clients held; never ends by itself.
async fn sweep(engine: &Engine, client_grace: Duration) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        engine.sweep(Instant::now(), client_grace);
    }
}

/// Returns once no session is left, or `limit` is over.
async fn drained(engine: &Engine, limit: Duration) {
    let deadline = Instant::now() + limit;
    let (sessions, reading) = engine.sessions.count();
    tracing::info!(
        sessions,
        reading,
        "draining: new reads are refused, those under way finish"
    );
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tick.tick().await;
        let (sessions, reading) = engine.sessions.count();
        if sessions == 0 {
            return;
        }
        if Instant::now() >= deadline {
            let connections = engine.connections.load(Ordering::Relaxed);
            tracing::warn!(
                sessions,
                reading,
                connections,
                "stopping with sessions still held"
            );
            return;
        }
    }
}
