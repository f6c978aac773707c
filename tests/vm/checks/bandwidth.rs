//! 64 KiB READs of the engine's, 16 in flight, beside `ib_read_bw`, in turns: by themselves, as
//! perftest does it, and in an engine that serves a client.

use std::time::Instant;

use crate::client::Client;
use crate::files::Read;
use crate::perftest;
use crate::read_path;
use crate::report::{Place, Report, Result};
use crate::turns::{self, TURNS};

const BYTES: usize = 64 << 10;
const IN_FLIGHT: usize = 16;
/// READs of each in a turn.
const READS: u32 = 1000;
/// The engine must reach this part of `ib_read_bw`'s average.
const LIMIT: f64 = 0.9;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let [theirs, alone, ours, named] = turns::medians(
        place,
        BYTES,
        |flags| flags.and("workers", "1"),
        || perftest::bandwidth(BYTES, READS),
        |borrower, memory| {
            let took = read_path::measure(borrower, memory, BYTES, IN_FLIGHT, READS as usize)?;
            Ok(took.bytes_a_second)
        },
        bytes_a_second,
    )?;
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
    Ok(())
}

fn bytes_a_second(client: &mut Client, reads: &[Read]) -> Result<f64> {
    let begun = Instant::now();
    let tally = client.run(reads, IN_FLIGHT, Some(READS.into()), || true, |_| {});
    let seconds = begun.elapsed().as_secs_f64();
    tally.all_right("verbs")?;
    Ok(tally.bytes as f64 / seconds)
}
