//! A worker's links to the peers: which there are, what they serve, and how each can be read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::conn::{Conn, Lost};
use super::greeting;
use super::lane::Lane;
use super::link::Link;
use super::status::{Counted, PeerStatus};
use crate::config::{Token, TransportChoice};
use crate::telemetry::RateLimited;
use crate::verbs::{Adapter, ReadQueue};

/// How often links are looked at, at the least.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// The lane for leased memory.
pub(super) const LEASES: u8 = 0;
/// The lane for memory that clients name.
pub(super) const NAMED: u8 = 1;

/// How peers are talked to; the same for all workers.
#[derive(Debug)]
pub struct PeerSettings {
    /// What both sides know.
    pub secret: Option<Token>,
    /// How peers may be read.
    pub transport: TransportChoice,
    /// How long one may take to answer.
    pub timeout: Duration,
    /// How often an idle one is asked for a sign of life.
    pub keepalive: Duration,
}

/// This worker's side of RDMA, where there is a device.
#[derive(Debug)]
pub struct Verbs {
    /// The device.
    pub adapter: Arc<Adapter>,
    /// The worker's completion queue.
    pub queue: Rc<ReadQueue>,
}

/// All links of a worker.
#[derive(Debug)]
pub struct Links {
    pub(super) links: Vec<Rc<Link>>,
    pub(super) verbs: Option<Verbs>,
    pub(super) settings: Arc<PeerSettings>,
    /// Where the next search begins, so that replicas share the load.
    pub(super) turn: Cell<usize>,
    stopping: Cell<bool>,
    stop: Notify,
}

impl Links {
    /// Links to `peers`, not yet connected.
    pub fn new(
        peers: &[Arc<PeerStatus>],
        verbs: Option<Verbs>,
        settings: &Arc<PeerSettings>,
    ) -> Rc<Self> {
        let link = |status: &Arc<PeerStatus>| {
            Rc::new(Link {
                status: Arc::clone(status),
                conn: RefCell::default(),
                served: RefCell::default(),
                leases: Lane::new(LEASES),
                named: Lane::new(NAMED),
            })
        };
        Rc::new(Self {
            links: peers.iter().map(link).collect(),
            verbs,
            settings: Arc::clone(settings),
            turn: Cell::new(0),
            stopping: Cell::new(false),
            stop: Notify::new(),
        })
    }

    /// Keeps all links connected until [`Self::stop`], and returns when they have ended.
    pub async fn keep(self: Rc<Self>) {
        let keepers: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let (links, link) = (Rc::clone(&self), Rc::clone(link));
                tokio_uring::spawn(async move { links.keep_one(&link).await })
            })
            .collect();
        for keeper in keepers {
            let _ = keeper.await;
        }
    }

    /// Ends all links.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.stop.notify_waiters();
        for link in &self.links {
            if let Some(conn) = &*link.conn.borrow() {
                conn.end("the engine is stopping");
            }
        }
    }

    /// The device of this worker.
    pub fn verbs(&self) -> Option<&Verbs> {
        self.verbs.as_ref()
    }

    /// How long a peer may take to answer.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    async fn keep_one(self: &Rc<Self>, link: &Rc<Link>) {
        let mut backoff = Backoff::default();
        let mut was_connected = false;
        while !self.stopping.get() {
            let lost = match self.connect(link).await {
                Ok(conn) => {
                    if std::mem::replace(&mut was_connected, true) {
                        link.status.reconnects.fetch_add(1, Ordering::Relaxed);
                    }
                    let begun = Instant::now();
                    let lost = self.run(link, conn).await;
                    if begun.elapsed() > self.settings.timeout {
                        backoff.reset();
                    }
                    lost
                }
                Err(lost) => lost,
            };
            if self.stopping.get() {
                return;
            }
            link.status.set_trouble(Some(lost.0.clone()));
            static TOLD: RateLimited = RateLimited::new(Duration::from_secs(5));
            if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
                let peer = &link.status.address;
                tracing::warn!(peer = peer.name, address = %peer, suppressed, "not connected: {lost}");
            }
            tokio::select! {
                () = self.stopped() => {}
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    async fn connect(self: &Rc<Self>, link: &Link) -> Result<Rc<Conn>, Lost> {
        let peer = &link.status.address;
        let patience = self.settings.timeout;
        let connecting = async {
            let mut last = Lost(format!("{} has no address", peer.host));
            for address in tokio::net::lookup_host((peer.host.as_str(), peer.port)).await? {
                match tokio::net::TcpStream::connect(address).await {
                    Ok(socket) => return Ok(Ok(socket)),
                    Err(error) => last = Lost(format!("connecting to {address}: {error}")),
                }
            }
            Ok::<_, std::io::Error>(Err(last))
        };
        let connecting = tokio::time::timeout(patience, connecting);
        let socket = tokio::select! {
            socket = connecting => socket,
            () = self.stopped() => return Err(Lost("the engine is stopping".to_owned())),
        };
        let socket = socket
            .map_err(|_| {
                Lost(format!(
                    "connecting to {peer} took longer than {patience:?}"
                ))
            })?
            .map_err(|e| Lost(format!("looking {} up: {e}", peer.host)))??;
        let socket = socket.into_std().map_err(|e| Lost(e.to_string()))?;
        let secret = self.settings.secret.as_ref().map(Token::as_bytes);
        let links = Rc::clone(self);
        let given_up = async move {
            // Whichever comes first; an end of the engine must not wait for a silent peer.
            let _ = tokio::time::timeout(patience, links.stopped()).await;
        };
        greeting::connect(socket, secret, patience, given_up).await
    }

    /// Waits for [`Self::stop`].
    async fn stopped(&self) {
        let stop = self.stop.notified();
        if !self.stopping.get() {
            stop.await;
        }
    }

    /// Runs a connection until it ends, with its queue pairs.
    async fn run(self: &Rc<Self>, link: &Rc<Link>, conn: Rc<Conn>) -> Lost {
        let peer = &link.status.address;
        let counted = Counted::new(&link.status.connected);
        link.served.borrow_mut().begin();
        *link.conn.borrow_mut() = Some(Rc::clone(&conn));
        link.status.set_trouble(None);
        tracing::info!(
            peer = peer.name, address = %peer, verbs = conn.welcome.verbs, tcp = conn.welcome.tcp,
            build = conn.welcome.build, "connected to a peer"
        );
        let (links, watched) = (Rc::clone(self), Rc::clone(&conn));
        let watch = tokio_uring::spawn(async move { links.watch(&watched).await });
        let mut lanes = Vec::new();
        if conn.welcome.verbs && self.wants_verbs() && self.verbs.is_some() {
            for named in [false, true] {
                let (links, link, conn) = (Rc::clone(self), Rc::clone(link), Rc::clone(&conn));
                lanes.push(tokio_uring::spawn(async move {
                    links.keep_lane(&link, &conn, named).await;
                }));
            }
        } else if self.verbs.is_some() && self.wants_verbs() {
            let why = "it has no RDMA device in use".to_owned();
            tracing::warn!(peer = peer.name, "read over tcp: {why}");
            link.status.set_trouble(Some(why));
        }
        if self.stopping.get() {
            conn.end("the engine is stopping");
        }
        let lost = conn.run(|news| link.hear(news)).await;
        *link.conn.borrow_mut() = None;
        watch.abort();
        link.leases.look();
        link.named.look();
        for lane in lanes {
            let _ = lane.await;
        }
        drop(counted);
        lost
    }

    async fn keep_lane(&self, link: &Link, conn: &Conn, named: bool) {
        let Some(verbs) = &self.verbs else { return };
        let lane = if named { &link.named } else { &link.leases };
        let peer = &link.status.address.name;
        let up: RefCell<Option<Counted<'_>>> = RefCell::default();
        let told = |now: Result<(), &str>| {
            if named {
                return;
            }
            match now {
                Ok(()) => {
                    tracing::info!(peer, device = verbs.adapter.name(), "read by verbs");
                    *up.borrow_mut() = Some(Counted::new(&link.status.with_verbs));
                    link.status.set_trouble(None);
                }
                Err(why) => {
                    static TOLD: RateLimited = RateLimited::new(Duration::from_secs(5));
                    let was_up = up.borrow_mut().take().is_some();
                    if conn.over().is_none()
                        && let Some(suppressed) = TOLD.pass(std::time::Instant::now())
                    {
                        let instead = if self.may_fall_back(conn) {
                            "read over tcp"
                        } else {
                            "not read"
                        };
                        tracing::warn!(peer, was_up, suppressed, "{instead}: {why}");
                    }
                    link.status.set_trouble(Some(why.to_owned()));
                }
            }
        };
        let states = &link.status.lanes;
        lane.keep(conn, verbs, states, told).await;
    }

    /// Looks after a connection's silence, for ever.
    async fn watch(&self, conn: &Conn) {
        let PeerSettings {
            timeout, keepalive, ..
        } = *self.settings;
        let period = (keepalive.min(timeout) / 4).clamp(Duration::from_millis(10), WATCH_INTERVAL);
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            conn.watch(std::time::Instant::now(), keepalive, timeout);
        }
    }
}
