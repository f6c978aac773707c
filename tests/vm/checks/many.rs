//! More READs than a queue pair may have outstanding.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use rdma_engine::crc::crc32c;
use rdma_engine::peer::message::Leased;
use rdma_engine::pool::Owner;
use rdma_engine::verbs::RemoteMemory;

use crate::PATIENCE;
use crate::borrower::Borrower;
use crate::load::Load;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};

/// Longer than one READ: each is split into two.
const BYTES: usize = (1 << 20) + 1;
/// Reads under way at once, on one worker, through one queue pair. Soft-RoCE takes 128 READs.
const READS: u64 = 200;
const CLIENTS: usize = 2;
/// READs a queue pair may have outstanding where that is made less.
const FEW: u8 = 2;
/// Reads begun before one of them is waited for.
const AT_ONCE: usize = 12;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let pair = Pair::start(
        place,
        |flags| {
            let flags = flags.and("workers", "1").and("buffer-size", "256MiB");
            flags.and("peer-timeout", "30s")
        },
        |flags| flags.and("lease-timeout", "10m").and("peer-timeout", "10m"),
    )?;
    let file = place.files.random(BYTES)?;
    let mut borrower = Borrower::connect(pair.target.address)?;
    let lent = borrower.borrow(file)?;
    report.check("more READs in flight than max_rd_atomic", || {
        // Of memory that is named: no lookup keeps a READ waiting.
        let reads = [file.at(lent.addr, lent.rkey).within(60)];
        let each = READS / CLIENTS as u64;
        let load = Load::of(
            &pair.engine.socket,
            &reads,
            CLIENTS,
            each as usize,
            Some(each),
        )?;
        let tally = load.finish()?;
        tally.all_right("verbs")?;
        if tally.attempted != READS {
            return Err(format!("{tally}").into());
        }
        Ok(format!("{tally}; each of 2 READs, asked for at once"))
    });
    report.check("a queue pair for 2 READs at once is asked for more", || {
        let mut few = Borrower::connect_for(pair.target.address, FEW)?;
        let lent = few.borrow(file)?;
        let most = all_at_once(&few, &lent)?;
        few.give_back()?;
        if most > u64::from(FEW) {
            return Err(format!("{most} READs were outstanding").into());
        }
        Ok(format!(
            "{AT_ONCE} reads of 2 READs each, all right; at most {most} READs outstanding"
        ))
    });
    borrower.give_back()?;
    drop(borrower);
    pair.stop()
}

/// Begins all reads, then waits for them and compares. Returns the most READs that were seen
/// outstanding.
fn all_at_once(few: &Borrower, lent: &Leased) -> Result<u64> {
    let counters = few.adapter.counters();
    let outstanding = || {
        let completed = counters.completed_by_status.iter();
        let completed: u64 = completed.map(|c| c.load(Ordering::Relaxed)).sum();
        counters.posted.load(Ordering::Relaxed) - completed
    };
    let from = RemoteMemory {
        addr: lent.addr,
        rkey: lent.rkey,
    };
    let queue = Rc::clone(&few.queue);
    tokio_uring::start(async {
        let reaper = tokio_uring::spawn(queue.reap_forever());
        let mut flights = Vec::new();
        let mut most = 0;
        for _ in 0..AT_ONCE {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let buffer = few.pool.reserve(Owner(0), BYTES, deadline).await?;
            flights.push(few.requester.read(from, buffer, BYTES));
            most = most.max(outstanding());
        }
        for mut flight in flights {
            while !flight.advance().await? {
                most = most.max(outstanding());
            }
            let crc = flight.with_bytes(0..BYTES, crc32c);
            if Some(crc) != lent.facts.crc {
                return Err(format!("CRC {crc:08x} came of {:08x?}", lent.facts.crc).into());
            }
            flight.finish().await?;
        }
        reaper.abort();
        Ok(most)
    })
}
