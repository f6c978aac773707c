//! What a worker of the engine does: serves its clients and keeps its links to the peers.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::daemon::WorkerThread;
use crate::engine::{Engine, Worker};
use crate::ipc::{Accepted, Links, serve};
use crate::peer::{self, Verbs};
use crate::source::Reader;
use crate::uring::{DataRing, Registration};
use crate::verbs::ReadQueue;

/// How long connections may take to write their last replies.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts worker `number` of `engine`.
pub(super) fn start(
    number: u16,
    engine: &Arc<Engine>,
    frame_timeout: Duration,
) -> io::Result<(WorkerThread<Accepted>, Registration)> {
    let shared = Arc::clone(engine);
    WorkerThread::start(number, &engine.pool, &engine.rings, move |ring, inbox| {
        let verbs = match &shared.network.adapter {
            None => None,
            Some(adapter) => {
                let queue = ReadQueue::new(adapter, shared.network.completion_poll);
                Some(Verbs {
                    adapter: Arc::clone(adapter),
                    queue: queue.map_err(io::Error::other)?,
                })
            }
        };
        Ok(serve_all(shared, ring, verbs, frame_timeout, inbox))
    })
}

async fn serve_all(
    engine: Arc<Engine>,
    ring: Rc<DataRing>,
    verbs: Option<Verbs>,
    frame_timeout: Duration,
    mut inbox: UnboundedReceiver<Accepted>,
) {
    let reader = Reader {
        ring,
        pool: Arc::clone(&engine.pool),
        max_transfer: engine.max_transfer(),
        decoders: Arc::clone(&engine.decoders),
        metrics: Arc::clone(&engine.metrics),
    };
    let reaper = verbs
        .as_ref()
        .map(|verbs| tokio_uring::spawn(Rc::clone(&verbs.queue).reap_forever()));
    let peers = peer::Links::new(&engine.network.peers, verbs, &engine.network.settings);
    let keeper = tokio_uring::spawn(Rc::clone(&peers).keep());
    let worker = Worker::new(engine, reader, Rc::clone(&peers));
    let links = Rc::new(Links::default());
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
    peers.stop();
    let _ = keeper.await;
    if let Some(reaper) = reaper {
        reaper.abort();
    }
}
