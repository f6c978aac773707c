//! A 4 KiB READ of the engine's beside `ib_read_lat`, in turns: by itself, as perftest does it, and
//! in an engine that serves a client. (Under emulation the latter is several times as long: every
//! change from one process to another empties the emulated processor's address cache.)

use crate::client::Client;
use crate::files::Read;
use crate::perftest;
use crate::read_path;
use crate::report::{Place, Report, Result};
use crate::turns::{self, TURNS, median};

const BYTES: usize = 4096;
/// READs of each in a turn.
const READS: u32 = 500;
/// The engine's median may be so many times `ib_read_lat`'s.
const LIMIT: f64 = 1.15;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let [theirs, alone, ours, named] = turns::medians(
        place,
        BYTES,
        // ib_read_lat polls for its completions: so does the engine, long enough.
        |flags| flags.and("workers", "1").and("completion-poll", "1ms"),
        || perftest::latency_us(BYTES, READS),
        |borrower, memory| {
            let took = read_path::measure(borrower, memory, BYTES, 1, READS as usize)?;
            Ok(took.median_us)
        },
        median_of_reads,
    )?;
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
    Ok(())
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
