//! One peer's connection: a task that reads its requests and one that writes the answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Target;
use super::leases::Leases;
use super::served::Served;
use super::strangers::Stranger;
use super::worker::Node;
use crate::error::{Code, Error};
use crate::peer::codec::{DecodeError, encode};
use crate::peer::message::{
    Connect, Connected, Failed, FromEngine, FromTarget, LANES, Pong, Refused, Volumes,
};
use crate::peer::stream::{Stream, StreamError};
use crate::protocol::MAX_FRAME_BYTES;
use crate::source::Transport;
use crate::source::local::FilePart;
use crate::telemetry::{Identity, Operation, RateLimited, Stamp};
use crate::uring::Lent;
use crate::verbs::Responder;

/// Requests of one connection that may be unanswered at once; the next is not read before one of
/// them has been answered, and the answer written.
pub(super) const UNANSWERED_MAX: usize = 256;

/// A peer that has connected and has yet to say who it is.
pub(super) struct Accepted {
    socket: std::net::TcpStream,
    address: SocketAddr,
    number: u64,
    stranger: Stranger,
    counted: Counted,
}

/// One of the open connections, for as long as it lives.
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Accepted {
    pub(super) fn new(
        socket: std::net::TcpStream,
        address: SocketAddr,
        target: &Target,
    ) -> io::Result<Self> {
        let number = target.next_connection.fetch_add(1, Ordering::Relaxed);
        let stranger = target.strangers.add(number, &socket)?;
        target.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            socket,
            address,
            number,
            stranger,
            counted: Counted(Arc::clone(&target.connections)),
        })
    }
}

/// An open connection.
pub(super) struct Connection {
    pub(super) node: Rc<Node>,
    /// Dropped before the leases: nobody READs a buffer that has gone to somebody else.
    responders: RefCell<[Option<Responder>; LANES as usize]>,
    pub(super) leases: RefCell<Leases>,
    /// Tells connections apart, for the pool's fairness.
    pub(super) number: u64,
    pub(super) stream: Stream,
    pub(super) peer: SocketAddr,
    /// What its counters are called: engines of one host share them.
    pub(super) identity: Identity,
    outbox: RefCell<VecDeque<Out>>,
    unanswered: Cell<usize>,
    /// Granules of the pool that answers may have before they are written: however slowly a peer
    /// takes them, the pool is never all its own.
    pub(super) unsent: Arc<Semaphore>,
    /// Granules of the pool it may have lent, whatever it does not release.
    pub(super) lendable: Arc<Semaphore>,
    /// There is something to write, or nothing more will come.
    to_write: Notify,
    /// An answer was written.
    room: Notify,
    /// Nobody waits for answers any more.
    gone: Notify,
    /// Nothing more will be asked.
    ended: Cell<bool>,
    /// The handshake is over.
    greeted: Cell<bool>,
    since: Instant,
}

/// Something to write.
pub(super) enum Out {
    /// A frame; an answer or an announcement.
    Frame { bytes: Vec<u8>, answers: bool },
    /// An answer, and bytes of the pool behind it; with their place among what is not written.
    Lent(Vec<u8>, Lent, OwnedSemaphorePermit),
    /// An answer, and bytes of a volume file behind it.
    File(Vec<u8>, FilePart),
}

/// Serves a peer until it, or the target, ends the connection.
pub(super) async fn serve(node: Rc<Node>, accepted: Accepted) {
    let Accepted {
        socket,
        address,
        number,
        stranger,
        counted,
    } = accepted;
    let patience = node.target.settings.peer_timeout;
    let stream = match Stream::new(socket, patience) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, peer = %address, "setting a socket up failed"),
    };
    let unsent = node.target.unsent_granules();
    let lendable = node.target.lent_granules();
    let connection = Rc::new(Connection {
        leases: RefCell::new(Leases::new(Arc::clone(&node.target))),
        node,
        number,
        stream,
        peer: address,
        identity: Identity::new(address.ip().to_string()),
        responders: RefCell::default(),
        outbox: RefCell::default(),
        unanswered: Cell::new(0),
        unsent: Arc::new(Semaphore::new(unsent)),
        lendable: Arc::new(Semaphore::new(lendable)),
        to_write: Notify::new(),
        room: Notify::new(),
        gone: Notify::new(),
        ended: Cell::new(false),
        greeted: Cell::new(false),
        since: Instant::now(),
    });
    let open = Node::open(&connection);
    match connection.greet().await {
        Ok(()) => {
            connection.greeted.set(true);
            drop(stranger);
            tracing::info!(peer = %address, "connected");
            connection.run().await;
            tracing::info!(peer = %address, "disconnected");
        }
        Err(refusal) => connection.refuse(&refusal).await,
    }
    // Requests that are still being served give up now; the queue pairs and then the leases go
    // with the last of them.
    drop(open);
    drop((connection, counted));
}

impl Connection {
    /// Serves requests until the connection ends.
    async fn run(self: &Rc<Self>) {
        let writing = Rc::clone(self);
        let writer = tokio_uring::spawn(async move { writing.write_answers().await });
        let announcing = Rc::clone(self);
        let announcer = tokio_uring::spawn(async move { announcing.announce().await });
        let error = self.read_requests().await;
        tracing::debug!(peer = %self.peer, %error, "no more requests");
        announcer.abort();
        // What is in the outbox is still written; the writer ends after it, or when it can not.
        self.ended.set(true);
        self.to_write.notify_one();
        let _ = writer.await;
    }

    async fn read_requests(self: &Rc<Self>) -> StreamError {
        let mut bytes = Vec::new();
        loop {
            while self.is_full() && !self.stream.is_shut() {
                self.room.notified().await;
            }
            bytes = match self.stream.frame(bytes, MAX_FRAME_BYTES).await {
                Ok(bytes) => bytes,
                Err(error @ StreamError::TooLong { .. }) => {
                    self.turn_away(&Error::new(Code::MessageTooLarge, error.to_string()));
                    return error;
                }
                Err(error) => return error,
            };
            match FromEngine::decode(&bytes) {
                Ok(FromEngine::Hello(_) | FromEngine::Proof(_)) => {
                    let why = "the handshake is over";
                    self.turn_away(&Error::new(Code::MalformedMessage, why));
                    return StreamError::Closed;
                }
                Ok(request) => self.serve(request),
                Err(DecodeError {
                    error,
                    id: Some(id),
                }) => {
                    self.expect_answer();
                    self.fail(id, &error);
                }
                Err(DecodeError { error, id: None }) => {
                    self.turn_away(&error);
                    return StreamError::Closed;
                }
            }
        }
    }

    /// Says why the connection is about to be closed.
    fn turn_away(&self, error: &Error) {
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if let Some(suppressed) = TOLD.pass(Instant::now()) {
            tracing::warn!(peer = %self.peer, %error, suppressed, "closing a peer's connection");
        }
        self.send(&FromTarget::Refused(Refused::new(error)));
    }

    fn serve(self: &Rc<Self>, request: FromEngine) {
        match request {
            FromEngine::Lease(read) => self.read(Operation::Lease, read),
            FromEngine::Fetch(read) => self.read(Operation::Fetch, read),
            FromEngine::Release(release) => {
                self.leases.borrow_mut().release(release.lease);
            }
            FromEngine::Ping(ping) => {
                self.expect_answer();
                self.answer(&FromTarget::Pong(Pong { id: ping.id }));
            }
            FromEngine::Connect(connect) => {
                self.expect_answer();
                let id = connect.id;
                match self.connect(&connect) {
                    Ok(connected) => self.answer(&FromTarget::Connected(connected)),
                    Err(error) => self.fail(id, &error),
                }
            }
            // Not here: the reader knows them.
            FromEngine::Hello(_) | FromEngine::Proof(_) => {}
        }
    }

    /// Answers a queue pair with another. The one before is given up.
    fn connect(&self, request: &Connect) -> Result<Connected, Error> {
        let target = &self.node.target;
        let adapter = target.adapter.as_ref().filter(|_| target.lends());
        let adapter = adapter.ok_or_else(|| {
            Error::new(
                Code::UnsupportedHardware,
                "this target has no RDMA device in use",
            )
        })?;
        let lane = usize::from(request.lane);
        let put = |responder| {
            if let Some(place) = self.responders.borrow_mut().get_mut(lane) {
                *place = responder;
            }
        };
        // First, so that a peer never has more than one a lane.
        put(None);
        let (responder, endpoint) = Responder::accept(adapter, &request.endpoint).map_err(|e| {
            Error::new(
                Code::RdmaOperationFailed,
                format!("connecting a queue pair: {e}"),
            )
        })?;
        put(Some(responder));
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if let Some(suppressed) = TOLD.pass(Instant::now()) {
            let qpn = endpoint.qpn;
            tracing::info!(peer = %self.peer, qpn, suppressed, "queue pair connected");
        }
        Ok(Connected {
            id: request.id,
            endpoint,
        })
    }

    /// Whether the peer can READ.
    pub(super) fn is_lendable(&self) -> bool {
        self.responders.borrow().iter().any(Option::is_some)
    }

    pub(super) fn expect_answer(&self) {
        self.unanswered.set(self.unanswered.get() + 1);
        // Before a look at whether the target is draining, which looks at this after saying so.
        self.node.target.unanswered.fetch_add(1, Ordering::SeqCst);
    }

    fn answered(&self, count: usize) {
        let count = count.min(self.unanswered.get());
        self.unanswered.set(self.unanswered.get() - count);
        let target = &self.node.target;
        target.unanswered.fetch_sub(count as u64, Ordering::SeqCst);
    }

    /// Whether no more requests are taken on before something has been written. What is refused
    /// while the target is draining only waits to be written.
    fn is_full(&self) -> bool {
        self.unanswered.get().max(self.outbox.borrow().len()) >= UNANSWERED_MAX
    }

    /// Takes a read on; false when the target is draining, and the peer is told so. Such an answer
    /// holds no end of the target up.
    pub(super) fn takes_on(&self, id: u64) -> bool {
        self.expect_answer();
        let draining = self.node.target.draining.load(Ordering::SeqCst);
        if draining {
            self.answered(1);
            let why = "the target is shutting down; another may have the needle";
            let error = Error::new(Code::ShuttingDown, why);
            self.send(&FromTarget::Failed(failed(id, &error)));
        }
        !draining
    }

    pub(super) fn answer(&self, message: &FromTarget) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        self.put(Out::Frame {
            bytes,
            answers: true,
        });
    }

    pub(super) fn fail(&self, id: u64, error: &Error) {
        self.answer(&FromTarget::Failed(failed(id, error)));
    }

    /// Sends what answers nothing that is waited for.
    fn send(&self, message: &impl Serialize) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        self.put(Out::Frame {
            bytes,
            answers: false,
        });
    }

    pub(super) fn put(&self, out: Out) {
        if !self.stream.is_shut() {
            self.outbox.borrow_mut().push_back(out);
            self.to_write.notify_one();
        }
    }

    async fn write_answers(&self) {
        loop {
            let next = self.outbox.borrow_mut().pop_front();
            let Some(next) = next else {
                if self.ended.get() {
                    return;
                }
                self.to_write.notified().await;
                continue;
            };
            let (written, answers) = match next {
                Out::Frame { bytes, answers } => {
                    let (bytes, answers) = self.gather(bytes, usize::from(answers));
                    (self.stream.write(bytes).await.map(drop), answers)
                }
                Out::Lent(frame, bytes, place) => {
                    let written = self.stream.write_with(frame, bytes).await;
                    drop(place);
                    (written, 1)
                }
                Out::File(frame, bytes) => (self.send_file(frame, bytes).await, 1),
            };
            if let Err(error) = written {
                tracing::debug!(peer = %self.peer, %error, "an answer could not be written");
                self.shut_down();
                self.outbox.borrow_mut().clear();
                return;
            }
            self.answered(answers);
            self.room.notify_one();
        }
    }

    /// Sends an answer and a file's bytes, which are read only now.
    async fn send_file(&self, frame: Vec<u8>, bytes: FilePart) -> Result<(), StreamError> {
        let metrics = &self.node.target.metrics;
        let begun = Stamp::now();
        let sent = self.stream.write_file(frame, bytes).await;
        match &sent {
            Ok(()) => metrics.completed(Transport::Tcp(None), begun.elapsed()),
            Err(_) => metrics.attempt_failed(Transport::Tcp(None)),
        }
        sent
    }

    /// Adds the frames that wait behind one, so that one write carries them all.
    fn gather(&self, mut bytes: Vec<u8>, mut count: usize) -> (Vec<u8>, usize) {
        let mut outbox = self.outbox.borrow_mut();
        while let Some(Out::Frame {
            bytes: more,
            answers,
        }) = outbox.front()
            && bytes.len() < MAX_FRAME_BYTES
        {
            bytes.extend_from_slice(more);
            count += usize::from(*answers);
            outbox.pop_front();
        }
        (bytes, count)
    }

    /// Says what is served, now and whenever it changes.
    async fn announce(&self) {
        let mut served = self.node.target.served.clone();
        let mut told = Served::default();
        let mut is_first = true;
        loop {
            let now = served.borrow_and_update().clone();
            let mut news = now.news(&told);
            if std::mem::take(&mut is_first) && news.is_empty() {
                news.push(Volumes::default());
            }
            for news in news {
                self.send(&FromTarget::Volumes(news));
            }
            told = now;
            if served.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends leases whose time has come, and the connection if the peer has kept it waiting.
    pub(super) fn sweep(&self, now: Instant) {
        let expired = self.leases.borrow_mut().expire(now);
        if expired > 0 {
            tracing::debug!(peer = %self.peer, expired, "leases came to their deadline");
            self.node
                .target
                .metrics
                .leases_expired
                .increment(expired as u64);
        }
        let limit = self.node.target.settings.peer_timeout;
        let over = |since: Instant| now.saturating_duration_since(since) >= limit;
        let why = if !self.greeted.get() && over(self.since) {
            "it did not say who it is"
        } else if over(self.stream.heard()) && !self.is_full() {
            "it was silent"
        } else if self.stream.writing_since().is_some_and(over) {
            "it does not take its answers"
        } else {
            return;
        };
        if !self.stream.is_shut() {
            tracing::warn!(peer = %self.peer, "closing a peer's connection: {why} for {limit:?}");
            self.shut_down();
        }
    }

    /// Ends the connection, whatever its tasks wait for.
    pub(super) fn shut_down(&self) {
        self.stream.shut_down();
        self.gone.notify_waiters();
        self.to_write.notify_one();
        self.room.notify_one();
    }

    /// Returns once the connection has ended.
    pub(super) async fn gone(&self) {
        let gone = self.gone.notified();
        if !self.stream.is_shut() {
            gone.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.answered(self.unanswered.get());
    }
}

fn failed(id: u64, error: &Error) -> Failed {
    Failed {
        id,
        code: error.code.as_str().to_owned(),
        message: error.message.clone(),
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
