//! A queue pair of a connection, kept connected: what breaks is made anew, with a back-off.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::conn::Conn;
use super::links::{NAMED, Verbs};
use super::status::{LaneState, Standing};
use crate::telemetry::RateLimited;
use crate::verbs::{Adapter, ReadFailure, ReadQueue, Requester};

/// How often an idle queue pair, or a port that is down, is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A lane: a queue pair, or why there is none.
#[derive(Debug)]
pub(super) struct Lane {
    number: u8,
    state: RefCell<State>,
    /// The state has changed.
    changed: Notify,
    /// The state should be looked at.
    doubted: Notify,
}

#[derive(Debug)]
enum State {
    Up(Rc<Requester>),
    Down(String),
}

impl Lane {
    pub(super) fn new(number: u8) -> Rc<Self> {
        Rc::new(Self {
            number,
            state: RefCell::new(State::Down(
                "its queue pair is not connected yet".to_owned(),
            )),
            changed: Notify::new(),
            doubted: Notify::new(),
        })
    }

    /// The queue pair, if it works as far as is known; else why not.
    pub(super) fn requester(&self) -> Result<Rc<Requester>, String> {
        match &*self.state.borrow() {
            State::Up(requester) => match requester.failure() {
                None => Ok(Rc::clone(requester)),
                Some(failure) => Err(format!("its queue pair failed: {failure}")),
            },
            State::Down(why) => Err(why.clone()),
        }
    }

    /// Waits for a queue pair that works, until `deadline`; then says why there is none.
    pub(super) async fn wait(&self, deadline: Instant) -> Result<Rc<Requester>, String> {
        loop {
            let changed = self.changed.notified();
            match self.requester() {
                Ok(requester) => return Ok(requester),
                Err(why) => {
                    self.look();
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(why);
                    }
                }
            }
        }
    }

    /// Something went wrong with the queue pair: it is looked at now.
    pub(super) fn look(&self) {
        self.doubted.notify_one();
    }

    fn set(&self, state: State) {
        let before = self.state.replace(state);
        self.changed.notify_waiters();
        if let State::Up(requester) = before {
            requester.close();
        }
    }

    /// Keeps the lane connected for as long as the connection lives. `told` hears of each change.
    pub(super) async fn keep(
        &self,
        conn: &Conn,
        verbs: &Verbs,
        states: &[AtomicU64; 3],
        told: impl Fn(Result<(), &str>),
    ) {
        let (queue, adapter) = (&verbs.queue, &verbs.adapter);
        let mut standing = Standing::new(states, LaneState::Connecting);
        let mut backoff = Backoff::default();
        while conn.over().is_none() {
            standing.becomes(LaneState::Connecting);
            match self.connect(conn, queue, adapter).await {
                Ok(requester) => {
                    standing.becomes(LaneState::Ready);
                    let qpn = requester.qpn();
                    tracing::debug!(lane = self.number, qpn, "queue pair connected");
                    let up = Instant::now();
                    self.set(State::Up(Rc::clone(&requester)));
                    told(Ok(()));
                    let why = self.await_failure(conn, &requester, adapter).await;
                    if self.did_well(up.elapsed(), requester.failure()) {
                        backoff.reset();
                    }
                    told(Err(&why));
                    self.set(State::Down(why));
                }
                Err(why) => {
                    told(Err(&why));
                    self.set(State::Down(why));
                }
            }
            standing.becomes(LaneState::Error);
            if conn.over().is_none() {
                tokio::select! {
                    () = conn.ended.notified() => {}
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
        self.set(State::Down("the connection ended".to_owned()));
    }

    /// Whether a queue pair that was up for so long, and ended so, is made anew without waiting
    /// any longer than the last time. One that breaks at once, again and again, is not; but memory
    /// that a client names may be wrong, and other clients must not wait for that.
    fn did_well(&self, up: Duration, failure: Option<ReadFailure>) -> bool {
        let clients_fault =
            || self.number == NAMED && failure.is_some_and(|f| f.is_of_the_request());
        up > Duration::from_secs(1) || clients_fault()
    }

    async fn connect(
        &self,
        conn: &Conn,
        queue: &Rc<ReadQueue>,
        adapter: &Adapter,
    ) -> Result<Rc<Requester>, String> {
        if !adapter.is_usable() {
            return Err(format!("the port of {} is down", adapter.name()));
        }
        let making = |e: &dyn std::fmt::Display| format!("making a queue pair failed: {e}");
        let pair = queue.queue_pair().map_err(|e| making(&e))?;
        let remote = conn.connect_lane(self.number, pair.endpoint()).await;
        let remote =
            remote.map_err(|e| format!("the peer could not connect its queue pair: {e}"))?;
        pair.connect(&remote).map_err(|e| making(&e))
    }

    /// Returns why the queue pair can not be used any more.
    async fn await_failure(&self, conn: &Conn, requester: &Requester, adapter: &Adapter) -> String {
        loop {
            if let Some(failure) = requester.failure() {
                static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
                if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
                    tracing::warn!(%failure, suppressed, "a queue pair failed; it is made anew");
                }
                return format!("its queue pair failed: {failure}");
            }
            if adapter.fatal_queue_pair(requester.qpn()) {
                return "the device reported its queue pair as failed".to_owned();
            }
            if !adapter.is_usable() {
                return format!("the port of {} is down", adapter.name());
            }
            if let Some(lost) = conn.over() {
                return lost.0;
            }
            tokio::select! {
                () = self.doubted.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::LEASES;
    use super::*;
    use crate::verbs::WcStatus;

    const AT_ONCE: Duration = Duration::from_millis(1);

    fn failed(status: WcStatus) -> Option<ReadFailure> {
        Some(ReadFailure {
            status,
            vendor_error: 0,
        })
    }

    #[test]
    fn wrong_reads_of_named_memory_do_not_make_others_wait_longer() {
        let named = Lane::new(NAMED);
        assert!(named.did_well(AT_ONCE, failed(WcStatus::RemAccessErr)));
        assert!(named.did_well(AT_ONCE, failed(WcStatus::RemInvReqErr)));
    }

    #[test]
    fn a_queue_pair_that_breaks_at_once_for_another_reason_is_waited_for_longer() {
        let (leases, named) = (Lane::new(LEASES), Lane::new(NAMED));
        assert!(!named.did_well(AT_ONCE, failed(WcStatus::RetryExcErr)));
        assert!(!named.did_well(AT_ONCE, None));
        // What is leased is the peer's word: no client can make it wrong.
        assert!(!leases.did_well(AT_ONCE, failed(WcStatus::RemAccessErr)));
        let while_it_worked = Duration::from_secs(2);
        assert!(leases.did_well(while_it_worked, failed(WcStatus::RetryExcErr)));
    }
}
