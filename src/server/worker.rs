//! A worker: one thread, one tokio-uring runtime for its sockets, one data ring.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::engine::{Engine, Worker};
use crate::ipc::{Accepted, Links, serve};
use crate::source::Reader;
use crate::uring::{DataRing, Registration};

/// Entries of the ring for sockets. More that are ready at once are submitted in turns.
const SOCKET_RING_ENTRIES: u32 = 1024;
/// How long connections may take to write their last replies.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running worker.
pub(super) struct WorkerThread {
    /// Bounded by the connection limit: one entry a connection.
    connections: UnboundedSender<Accepted>,
    thread: JoinHandle<()>,
}

impl WorkerThread {
    /// Starts worker `number` and waits until its rings are set up.
    pub(super) fn start(
        number: u16,
        engine: Arc<Engine>,
        frame_timeout: Duration,
    ) -> io::Result<(Self, Registration)> {
        let (connections, inbox) = unbounded_channel();
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("rdma-worker-{number}"))
            .spawn(move || run(engine, frame_timeout, inbox, &report))?;
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
    pub(super) fn serve(&self, accepted: Accepted) {
        if self.connections.send(accepted).is_err() {
            tracing::error!("a worker has ended; the connection is dropped");
        }
    }

    /// Ends the worker once its connections have written what there is.
    pub(super) fn stop(self) {
        drop(self.connections);
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

type Report = std::sync::mpsc::SyncSender<io::Result<Registration>>;

fn run(
    engine: Arc<Engine>,
    frame_timeout: Duration,
    inbox: UnboundedReceiver<Accepted>,
    report: &Report,
) {
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
    let ring = match DataRing::new(&engine.pool) {
        Ok((ring, registration)) => {
            send(Ok(registration));
            ring
        }
        Err(error) => return send(Err(error)),
    };
    let reader = Reader {
        ring,
        pool: Arc::clone(&engine.pool),
        max_transfer: engine.max_transfer(),
        decoders: Arc::clone(&engine.decoders),
    };
    let worker = Worker::new(engine, reader);
    runtime.block_on(serve_all(worker, frame_timeout, inbox));
}

async fn serve_all(
    worker: Rc<Worker>,
    frame_timeout: Duration,
    mut inbox: UnboundedReceiver<Accepted>,
) {
    let links = Rc::new(Links::default());
    let reaper = tokio_uring::spawn(Rc::clone(&worker.reader.ring).reap_forever());
    let watched = Rc::clone(&links);
    let watch = tokio_uring::spawn(async move { watched.watch(frame_timeout).await });
    while let Some(accepted) = inbox.recv().await {
        tokio_uring::spawn(serve(Rc::clone(&worker), Rc::clone(&links), accepted));
    }
    if tokio::time::timeout(LAST_WORDS, links.end()).await.is_err() {
        tracing::warn!("connections are cut off before their last replies were taken");
        links.cut_off();
        links.end().await;
    }
    watch.abort();
    reaper.abort();
}
