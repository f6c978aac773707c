//! What a worker of the target does: serves its peers and keeps their deadlines.

use std::cell::{Cell, RefCell};
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
    /// Connections that begin now end at once.
    stopping: Cell<bool>,
}

/// A connection's place among those of its node. The connection ends with it, even where serving
/// it panicked.
pub(super) struct Open<'a> {
    connection: &'a Connection,
    key: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.connection.shut_down();
        self.connection.node.remove(self.key);
    }
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
        stopping: Cell::new(false),
    });
    let watched = Rc::clone(&node);
    let watch = tokio_uring::spawn(async move { watched.watch().await });
    while let Some(accepted) = inbox.recv().await {
        tokio_uring::spawn(serve(Rc::clone(&node), accepted));
    }
    node.stopping.set(true);
    for connection in node.connections() {
        connection.shut_down();
    }
    while !node.open.borrow().is_empty() {
        node.none_left.notified().await;
    }
    watch.abort();
}

impl Node {
    pub(super) fn open(connection: &Rc<Connection>) -> Open<'_> {
        let node = &connection.node;
        let key = node.open.borrow_mut().insert(Rc::downgrade(connection));
        // It may have been accepted just before the end.
        if node.stopping.get() {
            connection.shut_down();
        }
        Open { connection, key }
    }

    fn remove(&self, key: usize) {
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
