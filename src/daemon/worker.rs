//! A worker: one thread, one tokio-uring runtime for its sockets, one data ring.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::pool::Pool;
use crate::uring::{Counters, DataRing, Registration, Rings};

/// Entries of the ring for sockets. More that are ready at once are submitted in turns.
const SOCKET_RING_ENTRIES: u32 = 1024;

/// A running worker that serves connections of type `C`.
pub struct WorkerThread<C> {
    /// Bounded by the connection limit: one entry a connection.
    connections: UnboundedSender<C>,
    thread: JoinHandle<()>,
}

impl<C: Send + 'static> WorkerThread<C> {
    /// Starts worker `number`, whose ring is counted among `rings` and which runs what `serve`
    /// makes until that ends, and waits until its rings are set up and `serve` has made it.
    ///
    /// # Errors
    /// When there can be no thread or no ring, or `serve` fails.
    pub fn start<S, F>(
        number: u16,
        pool: &Arc<Pool>,
        rings: &Rings,
        serve: S,
    ) -> io::Result<(Self, Registration)>
    where
        S: FnOnce(Rc<DataRing>, UnboundedReceiver<C>) -> io::Result<F> + Send + 'static,
        F: Future<Output = ()>,
    {
        let (connections, inbox) = unbounded_channel();
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        let (pool, counters) = (Arc::clone(pool), rings.add());
        let thread = std::thread::Builder::new()
            .name(format!("rdma-worker-{number}"))
            .spawn(move || run(&pool, counters, inbox, serve, &report))?;
        let registration = reported
            .recv()
            .map_err(|_| io::Error::other("the worker ended before its rings were set up"))??;
        Ok((
            Self {
                connections,
                thread,
            },
            registration,
        ))
    }

    /// Hands the worker a connection.
    pub fn serve(&self, connection: C) {
        if self.connections.send(connection).is_err() {
            tracing::error!("a worker has ended; the connection is dropped");
        }
    }

    /// Ends workers once they have no more to serve, all at the same time.
    pub fn stop_all(workers: Vec<Self>) {
        let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

type Report = std::sync::mpsc::SyncSender<io::Result<Registration>>;

fn run<C, S, F>(
    pool: &Arc<Pool>,
    counters: Arc<Counters>,
    inbox: UnboundedReceiver<C>,
    serve: S,
    report: &Report,
) where
    S: FnOnce(Rc<DataRing>, UnboundedReceiver<C>) -> io::Result<F>,
    F: Future<Output = ()>,
{
    // The receiver waits for exactly one report, so sending never fails or blocks.
    let send = |result| drop(report.send(result));
    let mut tuned = tokio_uring::uring_builder();
    tuned.setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(SOCKET_RING_ENTRIES).uring_builder(&tuned);
    let runtime = tokio_uring::Runtime::new(&builder).or_else(|_| {
        // Kernels before 6.0 know neither flag.
        tokio_uring::Runtime::new(tokio_uring::builder().entries(SOCKET_RING_ENTRIES))
    });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return send(Err(error)),
    };
    let (ring, registration) = match DataRing::counted(pool, counters) {
        Ok(made) => made,
        Err(error) => return send(Err(error)),
    };
    runtime.block_on(async {
        let serving = match serve(Rc::clone(&ring), inbox) {
            Ok(serving) => serving,
            Err(error) => return send(Err(error)),
        };
        send(Ok(registration));
        let reaper = tokio_uring::spawn(async move {
            if let Err(error) = ring.reap_forever().await {
                tracing::error!(%error, "a worker can not watch its data ring: restart the daemon");
            }
        });
        serving.await;
        reaper.abort();
    });
}
