//! Either side is killed while it is busy.

use std::time::Duration;

use crate::client::Client;
use crate::daemon::{Engine, Flags, Target, peers, pool};
use crate::files::Read;
use crate::load::Load;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};
use crate::wait::until;

/// Seconds each read may take.
const DEADLINE: u64 = 15;
/// What the answer to a read at its deadline may take, on a slow machine.
const SLACK: Duration = Duration::from_secs(3);
/// What a read may be told when its peer is gone.
pub const CLEAN: [&str; 2] = ["PEER_UNAVAILABLE", "RDMA_OPERATION_FAILED"];

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    report.check("the target is killed while it is read from", || {
        target_killed(place)
    });
    report.check("the engine is killed while it reads", || {
        engine_killed(place)
    });
    Ok(())
}

/// Reads of many sizes, up to 8 MiB.
pub fn mixed(place: &Place<'_>) -> Result<Vec<Read>> {
    let mut reads = place.files.random(1 << 20)?.pieces(64 << 10);
    for bytes in [8 << 20 | 3, 4096, 4 << 20, 1] {
        reads.push(place.files.random(bytes)?.whole());
    }
    // Long ones and short ones by turns.
    let stride = 7;
    let count = reads.len();
    Ok((0..count)
        .filter_map(|i| reads.get(i * stride % count))
        .map(|read| read.clone().within(DEADLINE))
        .collect())
}

fn target_killed(place: &Place<'_>) -> Result<String> {
    let Pair { engine, target } = Pair::with_pools(place, "128MiB")?;
    let address = target.address;
    let load = Load::start(&engine.socket, &mixed(place)?, 4, 2)?;
    load.await_more(20)?;
    engine.await_metrics("a READ is in flight", |m| pool(m, "in_flight") > 0.0)?;
    target.kill();
    engine.await_metrics("the peer is known to be down", |m| peers(m, "down") == 1.0)?;
    engine.await_metrics("no buffer is left in quarantine", |m| {
        pool(m, "quarantined") == 0.0
    })?;
    let flags = Flags::target()
        .and("buffer-size", "128MiB")
        .and("listen", &address.to_string());
    let target = Target::start(&place.dir, "target-again", &flags)?;
    load.await_more(50)?;
    let tally = load.stop()?;
    tally.clean(&CLEAN)?;
    if tally.failures() == 0 {
        return Err(format!("no read failed: {tally}").into());
    }
    if tally.slowest > Duration::from_secs(DEADLINE) + SLACK {
        return Err(format!("a read took {:?}: {tally}", tally.slowest).into());
    }
    let after = by_verbs_again(&engine, place)?;
    Pair { engine, target }.stop()?;
    Ok(format!(
        "{tally}; the longest took {:.1} s; afterwards {after} of {after} by verbs",
        tally.slowest.as_secs_f64()
    ))
}

/// Awaits that all workers of an engine read by verbs; then reads, and gives the number of reads.
pub fn by_verbs_again(engine: &Engine, place: &Place<'_>) -> Result<u64> {
    let reads = mixed(place)?;
    let probe = [place.files.random(4096)?.whole()];
    let mut read = 0;
    // One connection for each of its workers.
    for _ in 0..2 {
        let mut client = Client::open(&engine.socket)?;
        until("reads are by verbs again", || {
            (client.each(&probe).by("verbs") == 1).then_some(())
        })?;
        let tally = client.each(&reads);
        tally.all_right("verbs")?;
        read += tally.attempted;
    }
    Ok(read)
}

fn engine_killed(place: &Place<'_>) -> Result<String> {
    let pair = Pair::with_pools(place, "128MiB")?;
    let load = Load::start(&pair.engine.socket, &mixed(place)?, 4, 2)?;
    load.await_more(20)?;
    let target = &pair.target;
    target.await_metrics("something is lent", |m| m.get("rdma_leases_active") > 0.0)?;
    pair.engine.kill();
    let tally = load.finish()?;
    target.await_idle()?;
    target.await_metrics("its connections are gone", |m| {
        m.get("rdma_connections_active") == 0.0
    })?;
    if tally.wrong > 0 || tally.right == 0 || tally.unanswered == 0 || tally.failures() > 0 {
        return Err(tally.to_string().into());
    }
    let flags = Flags::engine(target.address).and("buffer-size", "128MiB");
    let engine = Engine::start(&place.dir, "engine-again", &flags)?;
    let after = by_verbs_again(&engine, place)?;
    Pair {
        engine,
        target: pair.target,
    }
    .stop()?;
    Ok(format!(
        "{} reads attempted, {} right, {} under way ended with it; 0 wrong; the target got \
         everything back; a new engine: {after} of {after} by verbs",
        tally.attempted, tally.right, tally.unanswered
    ))
}
