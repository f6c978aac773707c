//! The daemon: puts the parts together, runs them, and takes them down in order.
//!
//! The control thread (the one that calls [`run`]) accepts connections, sweeps sessions and
//! waits for signals; workers serve; telemetry has a thread of its own.

mod pages;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::engine::{Engine, Limits, StepsDown, Volumes};
use crate::ipc::{BindError, Listener, Policy};
use crate::pool::Pool;
use crate::session::Sessions;
use crate::telemetry::{Endpoints, ListenError, Metrics, Page, Readiness, State};
use crate::uring::Registration;
use crate::volume::{Registry, VolumeError};

use worker::WorkerThread;

/// How often leases and clients are looked at; deadlines are kept within twice this.
const SWEEP_INTERVAL: Duration = Duration::from_millis(40);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what it is")]
pub enum ServerError {
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("opening the volumes: {0}")]
    Volumes(#[from] VolumeError),
    #[error("the buffer pool of {bytes} bytes: {source}; {hint}")]
    Pool {
        bytes: u64,
        source: io::Error,
        hint: String,
    },
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        source: io::Error,
    },
}

impl ServerError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When something it needs can not be had at start.
pub fn run(config: &Config) -> Result<(), ServerError> {
    // First of all, so that a second daemon stops before it takes memory.
    let listener = Listener::bind(&config.ipc_socket)?;
    let (metrics, handle) = Metrics::install().map_err(|e| ServerError::Metrics(e.to_string()))?;
    let metrics = Arc::new(metrics);
    let registry = Registry::open(
        &config.volumes,
        config.index_dir.as_deref(),
        config.direct_io,
    )?;
    let (pool, ordinary_pages) = pages::allocate(config)?;
    let engine = Arc::new(engine(
        config,
        Arc::clone(&pool),
        registry,
        Arc::clone(&metrics),
    )?);
    let readiness = Arc::new(Readiness::new());
    let observe = Arc::clone(&engine) as _;
    let page = Page {
        metrics,
        handle,
        observe,
        readiness: Arc::clone(&readiness),
    };
    let endpoints = Endpoints::start(config.metrics_listen, page)?;
    let (workers, refused) = start_workers(config, &engine)?;
    engine.set_steps_down(StepsDown {
        hugepages: ordinary_pages,
        fixed_buffers: refused,
    });
    announce(config, &engine);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServerError::io("starting the control runtime"))?;
    let served = runtime.block_on(control(config, &engine, &readiness, listener, &workers));
    for worker in workers {
        worker.stop();
    }
    endpoints.stop();
    tracing::info!("stopped");
    served
}

fn engine(
    config: &Config,
    pool: Arc<Pool>,
    registry: Registry,
    metrics: Arc<Metrics>,
) -> Result<Engine, ServerError> {
    let limits = Limits {
        max_transfer: config.max_transfer_size,
        session_timeout: config.session_timeout,
        session_timeout_max: config.session_timeout_max,
    };
    let sessions = Sessions::new(config.max_sessions as usize);
    let token = config.auth_token.clone();
    Engine::new(
        pool,
        sessions,
        Volumes::new(registry),
        metrics,
        limits,
        token,
    )
    .map_err(|e| ServerError::Io {
        doing: "drawing a boot id",
        source: e.into(),
    })
}

/// Starts the workers. The second value says why their reads do without fixed buffers, if so.
fn start_workers(
    config: &Config,
    engine: &Arc<Engine>,
) -> Result<(Vec<WorkerThread>, Option<String>), ServerError> {
    let mut workers = Vec::new();
    let mut refused = None;
    for number in 0..config.workers {
        let (worker, registration) =
            WorkerThread::start(number, Arc::clone(engine), config.frame_timeout).map_err(
                ServerError::io(
                    "starting a worker's io_uring (is it disabled? see kernel.io_uring_disabled)",
                ),
            )?;
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
    workers: &[WorkerThread],
) -> Result<(), ServerError> {
    let mut terminate = Signals::new().map_err(ServerError::io("watching for signals"))?;
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
    tokio::select! {
        failed = accepting => return failed.map_err(ServerError::io("watching the socket")),
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

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
