//! An engine's connection to a target: requests out, answers in.
//!
//! One task reads and one writes. Bytes that follow an answer are received into the buffer that
//! came with the request, which belongs to the connection from then until they have landed,
//! whatever becomes of who asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::codec::encode;
use super::message::{
    Connect, Data, Facts, Failed, FromEngine, FromTarget, Leased, Ping, Read, Release, TooLong,
    Volumes, Welcome,
};
use super::stream::{Stream, StreamError};
use crate::crc::Crc32c;
use crate::pool::{Buffer, Reserved};
use crate::protocol::MAX_FRAME_BYTES;
use crate::uring::Landing;
use crate::verbs::Endpoint;

/// Requests that may be unanswered at once: what a target takes on, but for a Ping, which is to be
/// read however long the others take.
const UNANSWERED_MAX: usize = 255;
/// What has to come of an answer within the time a peer may take, so that it does not count as
/// stuck: nobody is served by less.
const PROGRESS_BYTES: usize = 64 << 10;

/// Why a connection is not made, or is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

impl From<StreamError> for Lost {
    fn from(error: StreamError) -> Self {
        Self(error.to_string())
    }
}

/// A connection that is past its handshake.
pub struct Conn {
    /// What the target said of itself.
    pub welcome: Welcome,
    stream: Rc<Stream>,
    out: RefCell<Vec<u8>>,
    to_write: Notify,
    pending: RefCell<HashMap<u64, Waiting>>,
    next_id: Cell<u64>,
    /// Leases that the target allows at once, from their request until they are given back.
    leases: Arc<Semaphore>,
    sent: Cell<Instant>,
    pinged: Cell<Instant>,
    /// When an answer, or [`PROGRESS_BYTES`] of one, last came.
    progress: Cell<Instant>,
    /// Bytes that follow an answer are being received.
    landing: Cell<bool>,
    /// A request was answered.
    room: Notify,
    /// Why it is over.
    over: RefCell<Option<Lost>>,
    pub(super) ended: Notify,
}

/// A request that is not answered yet.
struct Waiting {
    /// When it should be.
    due: Instant,
    what: Pending,
}

enum Pending {
    Connect(oneshot::Sender<Result<Endpoint, Lost>>),
    Lease {
        to: oneshot::Sender<Lent>,
        place: OwnedSemaphorePermit,
    },
    Bytes {
        to: oneshot::Sender<Fetched>,
        buffer: Buffer<Reserved>,
        room: u64,
    },
}

/// What a Fetch was answered with.
pub enum Fetched {
    /// The bytes, at the buffer's front.
    Landed {
        /// Where they are.
        buffer: Buffer<Reserved>,
        /// What the target says of them.
        facts: Facts,
        /// CRC-32C of what came.
        crc: u32,
    },
    /// There are more than the buffer has room for.
    TooLong(TooLong),
    /// They can not be had.
    Failed(Failed),
}

/// What a Lease was answered with.
pub enum Lent {
    /// The bytes are lent.
    Leased(Loan),
    /// There are more than there is room for.
    TooLong(TooLong),
    /// They can not be had.
    Failed(Failed),
}

/// A lease that is given back when dropped.
pub struct Loan {
    conn: Rc<Conn>,
    /// What the target said.
    pub leased: Leased,
    /// Given back after the Release, so that the next Lease is written behind it.
    _place: OwnedSemaphorePermit,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.conn.release(self.leased.lease);
    }
}

impl Conn {
    pub(super) fn new(welcome: Welcome, stream: Rc<Stream>) -> Rc<Self> {
        let leases = usize::try_from(welcome.max_leases).unwrap_or(usize::MAX);
        let leases = leases.clamp(1, Semaphore::MAX_PERMITS);
        Rc::new(Self {
            welcome,
            stream,
            out: RefCell::default(),
            to_write: Notify::new(),
            pending: RefCell::default(),
            next_id: Cell::new(1),
            leases: Arc::new(Semaphore::new(leases)),
            sent: Cell::new(Instant::now()),
            pinged: Cell::new(Instant::now()),
            progress: Cell::new(Instant::now()),
            landing: Cell::new(false),
            room: Notify::new(),
            over: RefCell::default(),
            ended: Notify::new(),
        })
    }

    /// Whether the connection has ended, and why.
    pub fn over(&self) -> Option<Lost> {
        self.over.borrow().clone()
    }

    /// Runs the connection until it ends. `volumes` is told of what the target serves.
    ///
    /// It ends the connection with an error.
    pub async fn run(self: &Rc<Self>, volumes: impl Fn(Volumes) -> Result<(), Lost>) -> Lost {
        let writing = Rc::clone(self);
        let writer = tokio_uring::spawn(async move { writing.write_requests().await });
        let why = match self.read_answers(volumes).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        self.end(&why.0);
        let _ = writer.await;
        // Buffers and questions of those who still wait; they are told by their going.
        drop(std::mem::take(&mut *self.pending.borrow_mut()));
        self.over().unwrap_or(why)
    }

    /// Ends the connection. The first reason given is the one that counts.
    pub fn end(&self, why: &str) {
        let first = self.over.borrow().is_none();
        if first {
            *self.over.borrow_mut() = Some(Lost(why.to_owned()));
        }
        self.stream.shut_down();
        self.leases.close();
        self.to_write.notify_one();
        self.room.notify_waiters();
        self.ended.notify_waiters();
    }

    /// Asks for a sign of life when nothing was heard, or said, for `keepalive`, and ends the
    /// connection when nothing comes for `patience`, or no answer where one should.
    pub fn watch(&self, now: Instant, keepalive: Duration, patience: Duration) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let unheard = since(self.stream.heard());
        if unheard >= patience {
            return self.end(&format!("nothing came from it for {patience:?}"));
        }
        if self
            .stream
            .writing_since()
            .is_some_and(|at| since(at) >= patience)
        {
            return self.end(&format!(
                "it took nothing that was sent to it for {patience:?}"
            ));
        }
        let late = |waiting: &Waiting| since(waiting.due) >= patience;
        let is_due = self.landing.get() || self.pending.borrow().values().any(late);
        if is_due && since(self.progress.get()) >= patience {
            return self.end(&format!(
                "no answer, nor {PROGRESS_BYTES} bytes of one, came for {patience:?}"
            ));
        }
        let silence = Duration::from_millis(self.welcome.silence_ms);
        // Soon enough for the answer to come before either side's patience is over.
        let keepalive = keepalive.min(silence / 3).min(patience / 3);
        // While requests go out, too: a target that has no answer ready has a Pong.
        let unheard = unheard >= keepalive && since(self.pinged.get()) >= keepalive;
        if unheard || since(self.sent.get()) >= keepalive {
            self.pinged.set(now);
            let id = self.next_id();
            self.send(&FromEngine::Ping(Ping { id }));
        }
    }

    /// Asks for a needle to be lent, once there is a place among the leases. `read.id` is set here.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub async fn lease(&self, read: Read) -> Result<Lent, Lost> {
        let place = Arc::clone(&self.leases).acquire_owned().await;
        let place = place.map_err(|_| self.lost())?;
        let due = due(&read);
        let request = |id| FromEngine::Lease(Read { id, ..read });
        self.ask(request, due, |to| Pending::Lease { to, place })
            .await
    }

    /// Connects a queue pair.
    ///
    /// # Errors
    /// When the target can not, or the connection ends.
    pub async fn connect_lane(&self, lane: u8, endpoint: Endpoint) -> Result<Endpoint, Lost> {
        let request = |id| FromEngine::Connect(Connect { id, lane, endpoint });
        self.ask(request, Instant::now(), Pending::Connect).await?
    }

    /// Asks for a needle's bytes, into `buffer`, of which `read.room` bytes may be used.
    ///
    /// # Errors
    /// When the connection ends before they are there.
    pub async fn fetch(&self, read: Read, buffer: Buffer<Reserved>) -> Result<Fetched, Lost> {
        let (due, room) = (due(&read), read.room.min(buffer.size_bytes() as u64));
        let request = |id| FromEngine::Fetch(Read { id, room, ..read });
        self.ask(request, due, |to| Pending::Bytes { to, buffer, room })
            .await
    }

    async fn ask<A>(
        &self,
        request: impl FnOnce(u64) -> FromEngine,
        due: Instant,
        pending: impl FnOnce(oneshot::Sender<A>) -> Pending,
    ) -> Result<A, Lost> {
        self.await_room().await?;
        let (to, answer) = oneshot::channel();
        let id = self.next_id();
        let what = pending(to);
        let waiting = Waiting { due, what };
        self.pending.borrow_mut().insert(id, waiting);
        self.send(&request(id));
        answer.await.map_err(|_| self.lost())
    }

    /// A target takes only so many requests on at once.
    async fn await_room(&self) -> Result<(), Lost> {
        loop {
            if let Some(lost) = self.over() {
                return Err(lost);
            }
            if self.pending.borrow().len() < UNANSWERED_MAX {
                return Ok(());
            }
            self.room.notified().await;
        }
    }

    fn release(&self, lease: u64) {
        self.send(&FromEngine::Release(Release { lease }));
    }

    fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    fn lost(&self) -> Lost {
        let unknown = || Lost("the connection ended".to_owned());
        self.over().unwrap_or_else(unknown)
    }

    fn send(&self, message: &impl Serialize) {
        if self.over.borrow().is_none() {
            encode(message, &mut self.out.borrow_mut());
            self.to_write.notify_one();
        }
    }

    async fn write_requests(&self) {
        let mut spare = Vec::new();
        while self.over.borrow().is_none() {
            if self.out.borrow().is_empty() {
                self.to_write.notified().await;
                continue;
            }
            spare = {
                let frames = self.out.replace(spare);
                self.sent.set(Instant::now());
                match self.stream.write(frames).await {
                    Ok(frames) => frames,
                    Err(error) => return self.end(&format!("writing to it failed: {error}")),
                }
            };
            spare.clear();
        }
    }

    async fn read_answers(
        self: &Rc<Self>,
        volumes: impl Fn(Volumes) -> Result<(), Lost>,
    ) -> Result<std::convert::Infallible, Lost> {
        let mut bytes = Vec::new();
        loop {
            bytes = self.stream.frame(bytes, MAX_FRAME_BYTES).await?;
            let message =
                FromTarget::decode(&bytes).map_err(|e| Lost(format!("it sent nonsense: {e}")))?;
            match message {
                FromTarget::Volumes(news) => volumes(news)?,
                FromTarget::Data(data) => self.land(data).await?,
                FromTarget::Refused(refused) => {
                    return Err(Lost(format!("{}: {}", refused.code, refused.message)));
                }
                FromTarget::Challenge(_) | FromTarget::Welcome(_) => {
                    return Err(Lost("it began a second handshake".to_owned()));
                }
                FromTarget::Pong(_) => {}
                FromTarget::Connected(ref m) => self.give(m.id, message)?,
                FromTarget::Leased(ref m) => self.give(m.id, message)?,
                FromTarget::TooLong(ref m) => self.give(m.id, message)?,
                FromTarget::Failed(ref m) => self.give(m.id, message)?,
            }
        }
    }

    /// What is answered now, if anybody asked for it.
    fn take(&self, id: u64) -> Option<Pending> {
        self.progress.set(Instant::now());
        let waiting = self.pending.borrow_mut().remove(&id)?;
        Some(waiting.what)
    }

    /// Hands an answer to who asked. Where nobody waits any more it is dropped, and what was lent
    /// or landed goes back with it.
    fn give(self: &Rc<Self>, id: u64, message: FromTarget) -> Result<(), Lost> {
        let pending = self.take(id);
        self.room.notify_one();
        match (pending, message) {
            (Some(Pending::Lease { to, place }), FromTarget::Leased(leased)) => {
                let loan = Loan {
                    conn: Rc::clone(self),
                    leased,
                    _place: place,
                };
                drop(to.send(Lent::Leased(loan)));
            }
            (Some(Pending::Lease { to, .. }), FromTarget::TooLong(m)) => {
                drop(to.send(Lent::TooLong(m)));
            }
            (Some(Pending::Lease { to, .. }), FromTarget::Failed(m)) => {
                drop(to.send(Lent::Failed(m)));
            }
            (Some(Pending::Bytes { to, .. }), FromTarget::TooLong(m)) => {
                drop(to.send(Fetched::TooLong(m)));
            }
            (Some(Pending::Bytes { to, .. }), FromTarget::Failed(m)) => {
                drop(to.send(Fetched::Failed(m)));
            }
            (Some(Pending::Connect(to)), FromTarget::Connected(m)) => {
                drop(to.send(Ok(m.endpoint)));
            }
            (Some(Pending::Connect(to)), FromTarget::Failed(m)) => {
                drop(to.send(Err(Lost(format!("{}: {}", m.code, m.message)))));
            }
            (_, message) => {
                let kind = message.kind();
                return Err(Lost(format!("it sent a {kind} that nobody asked for")));
            }
        }
        Ok(())
    }

    /// Receives the bytes behind a Data into the buffer that is there for them.
    async fn land(&self, data: Data) -> Result<(), Lost> {
        let Data { id, facts } = data;
        let pending = self.take(id);
        let Some(Pending::Bytes { to, buffer, room }) = pending else {
            return Err(Lost("it sent bytes that nobody asked for".to_owned()));
        };
        let length = usize::try_from(facts.length)
            .ok()
            .filter(|_| facts.length <= room);
        let Some(length) = length else {
            let length = facts.length;
            return Err(Lost(format!(
                "it sent {length} bytes where there was room for {room}"
            )));
        };
        let mut crc = Crc32c::new();
        let mut checked = 0;
        let mut noted = 0;
        let landing = Landing::new(buffer, length);
        let landing = self.stream.land(landing, |landing| {
            let filled = landing.filled();
            landing.with_bytes(checked..filled, |bytes| crc.update(bytes));
            checked = filled;
            if filled - noted >= PROGRESS_BYTES {
                noted = filled;
                self.progress.set(Instant::now());
            }
        });
        self.landing.set(true);
        let landed = landing.await;
        self.landing.set(false);
        let landed = landed?.finish();
        self.progress.set(Instant::now());
        self.room.notify_one();
        if let Some(mut buffer) = landed {
            buffer.truncate(length);
            let crc = crc.value();
            // Nobody waits any more: the buffer goes back.
            let _ = to.send(Fetched::Landed { buffer, facts, crc });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").finish_non_exhaustive()
    }
}

/// When a target should have answered.
fn due(read: &Read) -> Instant {
    Instant::now() + Duration::from_millis(read.patience_ms)
}

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
