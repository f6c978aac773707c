//! 64 KiB READs of the engine's, 16 in flight, beside `ib_read_bw`, in turns: by themselves, as
//! perftest does it, and in an engine that serves a client.

use std::time::Instant;

use rdma_engine::verbs::RemoteMemory;

use crate::borrower::Borrower;
use crate::client::Client;
use crate::files::Read;
use crate::latency::median;
use crate::pair::Pair;
use crate::perftest;
use crate::read_path;
use crate::report::{Place, Report, Result};

const BYTES: usize = 64 << 10;
const IN_FLIGHT: usize = 16;
const TURNS: usize = 5;
/// READs of each in a turn.
const READS: u32 = 1000;
/// The engine must reach this part of `ib_read_bw`'s average.
const LIMIT: f64 = 0.9;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let pair = Pair::start(
        place,
        |flags| flags.and("workers", "1"),
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
        let average = perftest::bandwidth(BYTES, READS)?;
        let by_itself = read_path::measure(&borrower, memory, BYTES, IN_FLIGHT, READS as usize)?;
        let named = bytes_a_second(&mut client, &named)?;
        let lent = bytes_a_second(&mut client, &reads)?;
        // The first is to warm up.
        if turn > 0 {
            theirs.push(average);
            alone.push(by_itself.bytes_a_second);
            ours.push(lent);
            ours_named.push(named);
        }
    }
    let (theirs, alone) = (median(theirs), median(alone));
    let (ours, named) = (median(ours), median(ours_named));
    let limit = format!("at least {LIMIT} x ib_read_bw: {:.2}", theirs * LIMIT / 1e6);
    report.figure("ib_read_bw -s 65536, average", theirs / 1e6, "MB/s", "");
    let figures = [
        (
            "engine, 64 KiB READs by themselves, 16 in flight",
            alone,
            limit.as_str(),
        ),
        (
            "engine, 64 KiB lent, serving a client, 16 in flight",
            ours,
            "",
        ),
        (
            "engine, 64 KiB named, serving a client, 16 in flight",
            named,
            "",
        ),
    ];
    for (name, value, limit) in figures {
        report.figure(name, value / 1e6, "MB/s", limit);
    }
    let part = alone / theirs;
    let verdict = if part >= LIMIT { "met" } else { "MISSED" };
    let limit = format!("at least {LIMIT}: {verdict} ({TURNS} turns of {READS} each)");
    report.figure("  times ib_read_bw's", part, "", &limit);
    borrower.give_back()?;
    drop((client, borrower));
    pair.stop()
}

fn bytes_a_second(client: &mut Client, reads: &[Read]) -> Result<f64> {
    let begun = Instant::now();
    let tally = client.run(reads, IN_FLIGHT, Some(READS.into()), || true, |_| {});
    let seconds = begun.elapsed().as_secs_f64();
    tally.all_right("verbs")?;
    Ok(tally.bytes as f64 / seconds)
}
