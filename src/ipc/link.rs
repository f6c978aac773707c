//! One connection's socket, and what its tasks and the worker's watch share.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use slab::Slab;
use tokio::sync::Notify;
use tokio_uring::net::UnixStream;

use super::outbox::{Outbox, Reply, Ticket};
use crate::session::SessionId;
use crate::telemetry::{Identity, RateLimited};

/// A connection.
pub struct Link {
    pub(super) stream: UnixStream,
    pub(super) outbox: RefCell<Outbox>,
    /// There is something to write, or nothing more will come.
    pub(super) to_write: Notify,
    /// A reply was written.
    pub(super) room: Notify,
    /// Nothing more will be asked; what is answered is still written.
    finishing: Cell<bool>,
    /// Nobody listens any more.
    closed: Cell<bool>,
    gone: Notify,
    /// Since when a frame has been incomplete, or a client that asks no more has waited.
    pub(super) reading_since: Cell<Option<Instant>>,
    /// Since when a write has been waiting for the client.
    pub(super) writing_since: Cell<Option<Instant>>,
    /// Who it is, for logs.
    pub(super) peer: String,
    /// What its process calls itself.
    pub(super) identity: Arc<Identity>,
}

impl Link {
    pub(super) fn new(stream: UnixStream, peer: String, identity: Arc<Identity>) -> Rc<Self> {
        Rc::new(Self {
            stream,
            outbox: RefCell::default(),
            to_write: Notify::new(),
            room: Notify::new(),
            finishing: Cell::new(false),
            closed: Cell::new(false),
            gone: Notify::new(),
            reading_since: Cell::new(None),
            writing_since: Cell::new(None),
            peer,
            identity,
        })
    }

    /// Puts a reply into the outbox. Returns its session if the connection has gone.
    pub(super) fn answer(&self, ticket: Ticket, reply: Reply) -> Option<SessionId> {
        if self.closed.get() {
            return reply.session;
        }
        self.outbox.borrow_mut().answer(ticket, reply);
        self.to_write.notify_one();
        None
    }

    /// Nothing more will be asked: the writer ends once it has written what there is.
    pub(super) fn finish(&self) {
        self.finishing.set(true);
        self.to_write.notify_one();
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.get()
    }

    /// The client can not be reached any more. Returns sessions it was never told of.
    pub(super) fn close(&self) -> Vec<SessionId> {
        self.hang_up();
        self.outbox.borrow_mut().abandon()
    }

    /// Ends the connection, whatever its tasks wait for.
    fn hang_up(&self) {
        self.closed.set(true);
        self.gone.notify_waiters();
        self.to_write.notify_one();
        self.room.notify_one();
        self.shut_down();
    }

    /// Whether the client has closed its end altogether, and not only said its last word.
    pub(super) fn peer_has_gone(&self) -> bool {
        let socket = super::descriptor::borrow(&self.stream);
        let mut polled = [PollFd::new(&socket, PollFlags::empty())];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut polled, Some(&at_once)).is_err()
            || polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Returns once the client can not be reached any more.
    pub(super) async fn gone(&self) {
        let gone = self.gone.notified();
        if !self.closed.get() {
            gone.await;
        }
    }

    /// Ends whatever the connection's tasks wait for.
    fn shut_down(&self) {
        match self.stream.shutdown(Shutdown::Both) {
            // The client was faster.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => {
                tracing::warn!(peer = self.peer, %error, "shutting a connection down failed")
            }
            Ok(()) => {}
        }
    }

    fn stalled(&self, now: Instant, limit: Duration) -> Option<&'static str> {
        let over = |since: &Cell<Option<Instant>>| {
            since
                .get()
                .is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        if over(&self.reading_since) {
            Some("it began a frame, or stopped asking, and did not finish")
        } else if over(&self.writing_since) {
            Some("it does not read its replies")
        } else {
            None
        }
    }
}

/// A worker's connections.
#[derive(Default)]
pub struct Links {
    open: RefCell<Slab<Weak<Link>>>,
    none_left: Notify,
}

impl Links {
    pub(super) fn add(&self, link: &Rc<Link>) -> usize {
        self.open.borrow_mut().insert(Rc::downgrade(link))
    }

    pub(super) fn remove(&self, key: usize) {
        let mut open = self.open.borrow_mut();
        open.try_remove(key);
        if open.is_empty() {
            self.none_left.notify_one();
        }
    }

    /// Closes connections whose client has kept the engine waiting longer than `limit`: forever,
    /// unless something else ends it.
    pub async fn watch(&self, limit: Duration) {
        let period = (limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = Instant::now();
            for (_, link) in &*self.open.borrow() {
                let Some(link) = link.upgrade() else {
                    continue;
                };
                // Nobody reads from it just then, and so nobody sees that it has ended.
                if !link.outbox.borrow().has_room() && link.peer_has_gone() {
                    link.hang_up();
                } else if let Some(why) = link.stalled(now, limit) {
                    static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
                    if let Some(suppressed) = TOLD.pass(now) {
                        tracing::warn!(
                            peer = link.peer,
                            suppressed,
                            "closing a connection: {why} within {limit:?}"
                        );
                    }
                    link.hang_up();
                }
            }
        }
    }

    /// Ends all connections once they have written what there is, and waits for them to be gone.
    pub async fn end(&self) {
        for (_, link) in &*self.open.borrow() {
            if let Some(link) = link.upgrade() {
                // Ends the reading; the writer goes on until its outbox is empty.
                let _ = link.stream.shutdown(Shutdown::Read);
            }
        }
        while !self.open.borrow().is_empty() {
            self.none_left.notified().await;
        }
    }

    /// Cuts off the connections that are left.
    pub fn cut_off(&self) {
        for (_, link) in &*self.open.borrow() {
            if let Some(link) = link.upgrade() {
                link.hang_up();
            }
        }
    }
}
