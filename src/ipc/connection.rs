//! What goes over one connection: a task that reads requests and one that writes replies.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_uring::buf::BoundedBuf;

use super::descriptor::write_with_pool;
use super::link::{Link, Links};
use super::listener::Accepted;
use super::outbox::{Reply, Ticket};
use crate::daemon::boxed;
use crate::engine::Worker;
use crate::error::{Code, Error, Result};
use crate::protocol::frame::{Next, next_frame};
use crate::protocol::message::{CompleteRead, CompleteReadResponse, StartRead, StartReadResponse};
use crate::protocol::{Request, Response};
use crate::session::{ClientKey, SessionId};
use crate::telemetry::{Operation, RateLimited, StageClock, Stamp, Tick};

/// Bytes a connection's receive buffer has to begin with, and goes back to after a large frame.
const BUFFER_BYTES: usize = 16 << 10;

/// How long a connection's requests are served before others get a turn, in nanoseconds.
const TURN_NANOS: u64 = 1_000_000;

/// Serves a connection until the client, or the engine, ends it.
pub async fn serve(worker: Rc<Worker>, links: Rc<Links>, accepted: Accepted) {
    let Accepted {
        stream,
        pid,
        uid,
        counted,
    } = accepted;
    let (client, identity) = worker.engine.clients.connected(pid, uid);
    let peer = format!("uid {uid} pid {}", pid.unwrap_or(0));
    tracing::debug!(peer, client = client.0, "connected");
    let stream = tokio_uring::net::UnixStream::from_std(stream);
    let link = Link::new(stream, peer, identity);
    let _open = Open {
        worker: &worker,
        links: &links,
        key: links.add(&link),
        link: &link,
        client,
    };
    let writer = tokio_uring::spawn(write_replies(Rc::clone(&worker), Rc::clone(&link)));

    Receiver {
        worker: &worker,
        link: &link,
        client,
    }
    .run()
    .await;

    if link.peer_has_gone() {
        forget(&worker, &link);
    }
    // A client that only asks no more still gets its answers, within the time for a frame.
    link.reading_since.set(Some(Instant::now()));
    link.finish();
    // The writer ends by itself: when everything is answered and written, or when the link is
    // closed, by a write that fails or by the watch.
    let _ = writer.await;
    drop(counted);
}

/// A connection in the books, until it ends, however it does.
struct Open<'a> {
    worker: &'a Worker,
    links: &'a Links,
    key: usize,
    link: &'a Link,
    client: ClientKey,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let engine = &self.worker.engine;
        forget(self.worker, self.link);
        let holds_sessions = engine.sessions.any_of(self.client);
        engine
            .clients
            .disconnected(self.client, Instant::now(), holds_sessions);
        self.links.remove(self.key);
        tracing::debug!(
            peer = self.link.peer,
            client = self.client.0,
            "disconnected"
        );
    }
}

/// Closes the link, and frees what was landed for it without its client ever knowing.
fn forget(worker: &Worker, link: &Link) {
    for session in link.close() {
        worker.engine.forget(session);
    }
}

async fn write_replies(worker: Rc<Worker>, link: Rc<Link>) {
    loop {
        let next = link.outbox.borrow_mut().take();
        let Some(mut chunk) = next else {
            if link.is_closed() || (link.is_finishing() && link.outbox.borrow().is_idle()) {
                return;
            }
            link.to_write.notified().await;
            continue;
        };
        link.writing_since.set(Some(Instant::now()));
        let bytes = std::mem::take(&mut chunk.bytes);
        let (result, bytes) = if chunk.with_pool {
            write_with_pool(&link.stream, bytes, worker.engine.pool.fd()).await
        } else {
            link.stream.write_all(bytes).await
        };
        link.writing_since.set(None);
        chunk.bytes = bytes;
        if let Err(error) = result {
            tracing::debug!(peer = link.peer, %error, "a reply could not be written");
            for session in chunk.sessions.drain(..) {
                worker.engine.forget(session);
            }
            return forget(&worker, &link);
        }
        link.outbox.borrow_mut().written(chunk);
        link.room.notify_one();
    }
}

/// The reading side of a connection.
struct Receiver<'a> {
    worker: &'a Rc<Worker>,
    link: &'a Rc<Link>,
    client: ClientKey,
}

impl Receiver<'_> {
    /// Reads and serves requests until the stream ends or can not be followed any further.
    async fn run(&self) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut begun = None;
        loop {
            let (consumed, needed) = match self.serve_frames(&buffer).await {
                Ok(progress) => progress,
                Err(error) => return self.refuse_stream(error),
            };
            buffer.drain(..consumed);
            if buffer.is_empty() {
                buffer.shrink_to(BUFFER_BYTES);
                begun = None;
            } else if consumed > 0 || begun.is_none() {
                begun = Some(Instant::now());
            }
            let filled = buffer.len();
            // A length that is only announced takes no memory: the buffer at most doubles.
            buffer.reserve_exact((needed - filled).clamp(1, filled.max(BUFFER_BYTES)));

            self.link.reading_since.set(begun);
            let (read, slice) = self.link.stream.read(buffer.slice(filled..)).await;
            self.link.reading_since.set(None);
            buffer = slice.into_inner();
            match read {
                Ok(0) if filled == 0 => return,
                Ok(0) => {
                    return tracing::debug!(
                        peer = self.link.peer,
                        "the stream ended inside a frame"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    return tracing::debug!(peer = self.link.peer, %error, "reading failed");
                }
            }
        }
    }

    /// Serves the whole frames at the front of `bytes`. Returns how many bytes they took, and
    /// how many the next frame needs.
    async fn serve_frames(&self, bytes: &[u8]) -> Result<(usize, usize)> {
        let mut consumed = 0;
        let mut turn_began = Tick::now();
        // When the one before was answered: that is when the next one begins.
        let mut answered = None;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            match next_frame(rest).map_err(|e| Error::new(Code::MessageTooLarge, e.to_string()))? {
                Next::Need(bytes) => return Ok((consumed, bytes)),
                Next::Frame(payload, length) => {
                    while !self.link.outbox.borrow().has_room() && !self.link.is_closed() {
                        answered = None;
                        self.link.room.notified().await;
                    }
                    let mut begun = answered.unwrap_or_else(Tick::now);
                    if begun.nanos_since(turn_began) >= TURN_NANOS {
                        tokio::task::yield_now().await;
                        begun = Tick::now();
                        turn_began = begun;
                    }
                    answered = self.serve_frame(payload, begun.into()).await;
                    consumed += length;
                }
            }
        }
    }

    /// Serves a request; returns when it was answered, if it was at once and that was measured.
    async fn serve_frame(&self, payload: &[u8], begun: Stamp) -> Option<Tick> {
        let engine = &self.worker.engine;
        let (operation, request_id, result) = match Request::decode(payload) {
            Ok(Request::StartRead(request)) => return self.start_read(request, begun).await,
            Ok(Request::CompleteRead(request)) => return self.complete_read(&request, begun),
            Ok(Request::Ping(r)) => {
                self.hear(r.client_id.as_deref());
                let reply = Response::Pong(engine.ping(&r));
                (Operation::Ping, r.request_id, Ok(reply))
            }
            Ok(Request::GetCapabilities(r)) => {
                self.hear(r.client_id.as_deref());
                let reply = Response::GetCapabilitiesResponse(engine.capabilities());
                (Operation::GetCapabilities, r.request_id, Ok(reply))
            }
            Ok(Request::AttachPool(r)) => {
                self.hear(r.client_id.as_deref());
                let result = engine.attach_pool(&r).map(Response::AttachPoolResponse);
                (Operation::AttachPool, r.request_id, result)
            }
            Err(failed) => {
                tracing::debug!(peer = self.link.peer, error = %failed.error, "not a request");
                (Operation::Unknown, failed.request_id, Err(failed.error))
            }
        };
        let with_pool = operation == Operation::AttachPool && result.is_ok();
        let reply = result.map(|response| Reply {
            response,
            session: None,
            with_pool,
        });
        self.answer(operation, request_id, begun).give(reply)
    }

    fn complete_read(&self, request: &CompleteRead, begun: Stamp) -> Option<Tick> {
        let completed = self.worker.engine.complete_read(request);
        let answer = self.answer(Operation::CompleteRead, request.request_id, begun);
        answer.give_completed(completed)
    }

    /// The client says, or does not, who it is.
    fn hear(&self, client_id: Option<&str>) {
        if let Some(id) = client_id {
            self.link.identity.say(id);
        }
    }

    /// A read that is done at once (from the page cache, with room in the pool) is answered at
    /// once; another goes on beside the connection, which serves its next request meanwhile.
    async fn start_read(&self, request: StartRead, begun: Stamp) -> Option<Tick> {
        let answer = self.answer(Operation::StartRead, request.request_id, begun);
        let (worker, client) = (Rc::clone(self.worker), self.client);
        let link = Rc::clone(self.link);
        let mut read = boxed(|| async move {
            let (who, clock) = (&link.identity, StageClock::new(begun));
            let (response, session) = worker.start_read(client, who, &request, &clock).await?;
            Ok((response, session, clock.last()))
        });
        match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(result) => answer.give_read(result),
            Poll::Pending => {
                let link = Rc::clone(self.link);
                tokio_uring::spawn(async move {
                    tokio::select! {
                        result = read => { answer.give_read(result); }
                        () = link.gone() => {}
                    }
                });
                None
            }
        }
    }

    fn answer(&self, operation: Operation, request_id: Option<u64>, begun: Stamp) -> Answer {
        Answer {
            worker: Rc::clone(self.worker),
            link: Rc::clone(self.link),
            operation,
            ticket: Some(self.link.outbox.borrow_mut().expect(request_id)),
            begun,
        }
    }

    /// Says why the connection is about to be closed.
    fn refuse_stream(&self, error: Error) {
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if let Some(suppressed) = TOLD.pass(Instant::now()) {
            tracing::warn!(peer = self.link.peer, %error, suppressed, "closing a connection");
        }
        self.answer(Operation::Unknown, None, Stamp::now())
            .give(Err(error));
    }
}

/// A request that is to be answered. If it is dropped without an answer, because something
/// panicked, it answers that; on a closed link nobody is told anything.
struct Answer {
    worker: Rc<Worker>,
    link: Rc<Link>,
    operation: Operation,
    /// Its place among the replies; taken when it is answered.
    ticket: Option<Ticket>,
    begun: Stamp,
}

/// A read's reply, the session that depends on it, and when it was made.
type Read = (StartReadResponse, SessionId, Stamp);

impl Answer {
    /// Gives the answer; returns when that was, if it was measured.
    fn give(mut self, result: Result<Reply>) -> Option<Tick> {
        let ticket = self.ticket.take()?;
        let now = Stamp::now();
        match result {
            Ok(reply) => {
                let (metrics, elapsed) = (&self.worker.engine.metrics, now.since(self.begun));
                metrics.operation(self.operation, Ok(()), elapsed);
                self.send(ticket, reply);
            }
            Err(error) => self.fail(ticket, &error, now),
        }
        now.tick()
    }

    fn give_read(mut self, result: Result<Read>) -> Option<Tick> {
        let (response, session, made) = match result {
            Ok(read) => read,
            Err(error) => return self.give(Err(error)),
        };
        let ticket = self.ticket.take()?;
        let reply = Reply {
            response: Response::StartReadResponse(response),
            session: Some(session),
            with_pool: false,
        };
        self.send(ticket, reply);
        made.tick()
    }

    fn give_completed(mut self, result: Result<(CompleteReadResponse, Duration)>) -> Option<Tick> {
        let (response, age) = match result {
            Ok(completed) => completed,
            Err(error) => return self.give(Err(error)),
        };
        let ticket = self.ticket.take()?;
        let now = Stamp::now();
        self.worker.journal.completed(age, now.since(self.begun));
        let reply = Reply {
            response: Response::CompleteReadResponse(response),
            session: None,
            with_pool: false,
        };
        self.send(ticket, reply);
        now.tick()
    }

    fn fail(&self, ticket: Ticket, error: &Error, now: Stamp) {
        let metrics = &self.worker.engine.metrics;
        metrics.operation(self.operation, Err(error.code), now.since(self.begun));
        let who = self.link.identity.get(&metrics.clients);
        who.series.counts.errors.increment(1);
        let reply = Reply {
            response: Response::error(error),
            session: None,
            with_pool: false,
        };
        self.send(ticket, reply);
    }

    fn send(&self, ticket: Ticket, reply: Reply) {
        if let Some(session) = self.link.answer(ticket, reply) {
            self.worker.engine.forget(session);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        if self.link.is_closed() {
            let metrics = &self.worker.engine.metrics;
            metrics.given_up(self.operation, self.begun.elapsed());
        } else {
            let given_up = Error::new(Code::Internal, "the request was given up");
            self.fail(ticket, &given_up, Stamp::now());
        }
    }
}
