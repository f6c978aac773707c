//! What a worker of the target does: serves its peers and keeps their deadlines.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

use super::Target;
use super::connection::{Accepted, Connection, serve};
use crate::daemon::WorkerThread;
use crate::source::Reader;
use crate::telemetry::VolumesCounted;
use crate::uring::{DataRing, Registration};

/// How often leases and silent peers are looked at; deadlines are kept within twice this.
const SWEEP_INTERVAL: Duration = Duration::from_millis(40);

/// One thread's part of a target.
pub(super) struct Node {
    pub(super) target: Arc<Target>,
    pub(super) reader: Reader,
    pub(super) volumes_counted: VolumesCounted,
    open: RefCell<Slab<Weak<Connection>>>,
    none_left: Notify,
}

/// Starts worker `number`.
pub(super) fn start(
    number: u16,
    target: &Arc<Target>,
) -> io::Result<(WorkerThread<Accepted>, Registration)> {
    let shared = Arc::clone(target);
    WorkerThread::start(number, &target.pool, &target.rings, move |ring, inbox| {
        Ok(serve_all(shared, ring, inbox))
    })
}

async fn serve_all(
    target: Arc<Target>,
    ring: Rc<DataRing>,
    mut inbox: UnboundedReceiver<Accepted>,
) {
    let reader = Reader {
        ring,
        pool: Arc::clone(&target.pool),
        max_transfer: target.settings.max_transfer,
        decoders: Arc::clone(&target.decoders),
        metrics: Arc::clone(&target.metrics),
    };
    let node = Rc::new(Node {
        target,
        reader,
        volumes_counted: VolumesCounted::default(),
        open: RefCell::default(),
        none_left: Notify::new(),
    });
    let watched = Rc::clone(&node);
    let watch = tokio_uring::spawn(async move { watched.watch().await });
    while let Some(accepted) = inbox.recv().await {
        tokio_uring::spawn(serve(Rc::clone(&node), accepted));
    }
    for connection in node.connections() {
        connection.shut_down();
    }
    while !node.open.borrow().is_empty() {
        node.none_left.notified().await;
    }
    watch.abort();
}

impl Node {
    pub(super) fn add(&self, connection: &Rc<Connection>) -> usize {
        self.open.borrow_mut().insert(Rc::downgrade(connection))
    }

    pub(super) fn remove(&self, key: usize) {
        let mut open = self.open.borrow_mut();
        open.try_remove(key);
        if open.is_empty() {
            self.none_left.notify_one();
        }
    }

    fn connections(&self) -> Vec<Rc<Connection>> {
        let open = self.open.borrow();
        open.iter().filter_map(|(_, c)| c.upgrade()).collect()
    }

    /// Ends leases whose deadline has come and connections that are stuck, for ever.
    async fn watch(&self) {
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = Instant::now();
            for connection in self.connections() {
                connection.sweep(now);
            }
        }
    }
}
