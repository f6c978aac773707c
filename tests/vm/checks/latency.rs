//! A 4 KiB READ of the engine's beside `ib_read_lat`, in turns: by itself, as perftest does it, and
//! in an engine that serves a client. (Under emulation the latter is several times as long: every
//! change from one process to another empties the emulated processor's address cache.)

use rdma_engine::verbs::RemoteMemory;

use crate::borrower::Borrower;
use crate::client::Client;
use crate::files::Read;
use crate::pair::Pair;
use crate::perftest;
use crate::read_path;
use crate::report::{Place, Report, Result};

const BYTES: usize = 4096;
const TURNS: usize = 5;
/// READs of each in a turn.
const READS: u32 = 500;
/// The engine's median may be so many times `ib_read_lat`'s.
const LIMIT: f64 = 1.15;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    // ib_read_lat polls for its completions: so does the engine, long enough.
    let pair = Pair::start(
        place,
        |flags| flags.and("workers", "1").and("completion-poll", "1ms"),
        |flags| flags.and("lease-timeout", "10m").and("peer-timeout", "10m"),
    )?;
    let file = place.files.random(BYTES)?;
    let mut borrower = Borrower::connect(pair.target.address)?;
    let lent = borrower.borrow(file)?;
    let reads = [file.whole()];
    let named = [file.at(lent.addr, lent.rkey)];
    let mut client = Client::open(&pair.engine.socket)?;
    let memory = RemoteMemory {
        addr: lent.addr,
        rkey: lent.rkey,
    };
    let (mut theirs, mut alone) = (Vec::new(), Vec::new());
    let (mut ours, mut ours_named) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let typical = perftest::latency_us(BYTES, READS)?;
        let by_itself = read_path::measure(&borrower, memory, BYTES, 1, READS as usize)?;
        let lent = median_of_reads(&mut client, &reads)?;
        let named = median_of_reads(&mut client, &named)?;
        // The first is to warm up.
        if turn > 0 {
            theirs.push(typical);
            alone.push(by_itself.median_us);
            ours.push(lent);
            ours_named.push(named);
        }
    }
    let (theirs, alone) = (median(theirs), median(alone));
    let (ours, named) = (median(ours), median(ours_named));
    let limit = format!("at most {LIMIT} x ib_read_lat: {:.2}", theirs * LIMIT);
    report.figure("ib_read_lat -s 4096, typical", theirs, "us", "");
    report.figure(
        "engine, 4 KiB READ by itself, post to completion",
        alone,
        "us",
        &limit,
    );
    report.figure(
        "engine, 4 KiB lent, serving a client, post to completion",
        ours,
        "us",
        "",
    );
    report.figure(
        "engine, 4 KiB named, serving a client, post to completion",
        named,
        "us",
        "",
    );
    let ratio = alone / theirs;
    let verdict = if ratio <= LIMIT { "met" } else { "MISSED" };
    let limit = format!("at most {LIMIT}: {verdict} ({TURNS} turns of {READS} each)");
    report.figure("  times ib_read_lat's", ratio, "", &limit);
    borrower.give_back()?;
    drop((client, borrower));
    pair.stop()
}

/// The median of the engine's own post-to-completion times of reads it does now, µs.
fn median_of_reads(client: &mut Client, reads: &[Read]) -> Result<f64> {
    let mut times = Vec::new();
    let tally = client.run(
        reads,
        1,
        Some(READS.into()),
        || true,
        |reply| times.extend(reply.completion_ns.map(|ns| ns as f64)),
    );
    tally.all_right("verbs")?;
    if times.len() != READS as usize {
        return Err(format!("{} of {READS} replies say how long it took", times.len()).into());
    }
    Ok(median(times) / 1e3)
}

/// The middle one.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
