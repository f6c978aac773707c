//! What the target's control thread does: accepts peers, waits for a signal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;

use super::Target;
use super::connection::Accepted;
use crate::config::TargetConfig;
use crate::daemon::{Signals, StartError, WorkerThread};
use crate::telemetry::{RateLimited, Readiness, Refusal, State};

/// How long nothing is accepted after accepting failed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often a stopping target looks whether what is under way has finished.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// Accepts, and waits for a signal; then lets what is under way finish.
pub(super) async fn run(
    config: &TargetConfig,
    target: &Arc<Target>,
    readiness: &Readiness,
    listener: TcpListener,
    workers: &[WorkerThread<Accepted>],
) -> Result<(), StartError> {
    let mut terminate = Signals::new().map_err(StartError::io("watching for signals"))?;
    readiness.set(State::Ready);
    let accepting = accept(target, &listener, workers, u64::from(config.max_peers));
    let events = async {
        if let Some(adapter) = &target.adapter {
            Arc::clone(adapter).follow_events().await;
        }
        // Without a device, reads go on over TCP.
        std::future::pending().await
    };
    tokio::select! {
        () = accepting => {}
        () = events => {}
        () = terminate.next() => {}
    }
    readiness.set(State::Draining);
    tokio::select! {
        () = drained(target, config.shutdown_timeout) => {}
        () = terminate.next() => tracing::warn!("stopping at once"),
    }
    Ok(())
}

/// Accepts peers and deals them to the workers; never ends.
async fn accept(
    target: &Target,
    listener: &TcpListener,
    workers: &[WorkerThread<Accepted>],
    max_peers: u64,
) {
    let mut turn = workers.iter().cycle();
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                static TOLD: RateLimited = RateLimited::new(Duration::from_secs(10));
                if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
                    tracing::warn!(%error, suppressed, "accepting a peer failed");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        if target.connections.load(Ordering::Relaxed) >= max_peers {
            // Those who are silent must not keep those out who know the secret.
            let makes_room = target.strangers.end_oldest();
            static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
            if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
                let refused = if makes_room {
                    "closed the one that has kept its handshake waiting the longest"
                } else {
                    "refused one more"
                };
                tracing::warn!(%address, suppressed, "{max_peers} peers are connected; {refused}");
            }
            target.metrics.connection_refused(Refusal::Limit);
            if !makes_room {
                continue;
            }
        }
        let accepted = socket
            .into_std()
            .and_then(|socket| Accepted::new(socket, address, target));
        match (accepted, turn.next()) {
            (Ok(accepted), Some(worker)) => worker.serve(accepted),
            (Ok(_), None) => {}
            (Err(error), _) => tracing::warn!(%error, %address, "taking a peer over failed"),
        }
    }
}

/// Has new reads refused. Returns once what was asked before is answered and nothing is lent any
/// more, or `limit` is over.
async fn drained(target: &Target, limit: Duration) {
    target.draining.store(true, Ordering::SeqCst);
    // In this order: what is still unanswered may yet become a lease.
    let under_way = || {
        let unanswered = target.unanswered.load(Ordering::SeqCst);
        (unanswered, target.leases.load(Ordering::SeqCst))
    };
    let (unanswered, leases) = under_way();
    tracing::info!(
        peers = target.connections.load(Ordering::Relaxed),
        unanswered,
        leases,
        "draining: no more peers and reads are taken on, what is under way is waited for"
    );
    let finished = async {
        while under_way() != (0, 0) {
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    };
    if tokio::time::timeout(limit, finished).await.is_err() {
        let (unanswered, leases) = under_way();
        tracing::warn!(
            unanswered,
            leases,
            "stopping with requests unanswered or leases held"
        );
    }
}
