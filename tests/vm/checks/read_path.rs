//! The engine's READs by themselves: its completion queue, queue pair and buffers in its kind of
//! runtime, one READ after another, as perftest does it. No client is served between two of them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdma_engine::pool::{Owner, Pool};
use rdma_engine::verbs::{RemoteMemory, Requester};

use crate::PATIENCE;
use crate::borrower::Borrower;
use crate::report::Result;
use crate::turns::median;

/// What READs took.
pub struct Took {
    /// Median of the times from post to completion, µs.
    pub median_us: f64,
    /// All together.
    pub bytes_a_second: f64,
}

/// READs `count` times `bytes` bytes of what is lent at `from`, so many in flight at once.
pub fn measure(
    borrower: &Borrower,
    from: RemoteMemory,
    bytes: usize,
    in_flight: usize,
    count: usize,
) -> Result<Took> {
    let (queue, pool) = (Rc::clone(&borrower.queue), Arc::clone(&borrower.pool));
    let requester = Rc::clone(&borrower.requester);
    let begun = Instant::now();
    let times: Result<Vec<Duration>> = tokio_uring::start(async move {
        let reaper = tokio_uring::spawn(queue.reap_forever());
        let readers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (pool, requester) = (Arc::clone(&pool), Rc::clone(&requester));
                tokio_uring::spawn(async move {
                    one_after_another(&pool, &requester, from, bytes, count / in_flight).await
                })
            })
            .collect();
        let mut times = Vec::new();
        for reader in readers {
            times.extend(reader.await??);
        }
        reaper.abort();
        Ok(times)
    });
    let seconds = begun.elapsed().as_secs_f64();
    let times = times?;
    Ok(Took {
        bytes_a_second: (times.len() * bytes) as f64 / seconds,
        median_us: median(times.iter().map(|t| t.as_secs_f64() * 1e6).collect()),
    })
}

async fn one_after_another(
    pool: &Arc<Pool>,
    requester: &Rc<Requester>,
    from: RemoteMemory,
    bytes: usize,
    count: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let buffer = pool.reserve(Owner(0), bytes, deadline).await?;
        let mut flight = requester.read(from, buffer, bytes);
        while !flight.advance().await? {}
        times.push(flight.post_to_completion().unwrap_or_default());
        flight.finish().await?;
    }
    Ok(times)
}
