//! What is read through verbs is what was stored.

use std::process::Command;

use crate::client::Client;
use crate::files::Read;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    // Room for the largest file, 32 MiB, on both sides, and for it to be decompressed.
    let pair = Pair::with_pools(place, "256MiB")?;
    report.check("every file is identical, whole", || {
        let reads: Vec<Read> = place.files.iter().map(|f| f.whole()).collect();
        through_verbs(&pair, &reads)
    });
    report.check("ranges of every file are identical", || {
        let mut reads = Vec::new();
        for file in place.files.iter() {
            let length = file.data().len();
            let ranges = [
                (0, 1),
                (length - 1, 0),
                (length / 2, 1),
                (length / 3, length / 3 + 1),
                (1, 0),
                (length.saturating_sub(5000), 10_000),
                (4095, 4098),
            ];
            let within = ranges.into_iter().filter(|(offset, _)| *offset < length);
            reads.extend(within.map(|(offset, size)| file.asked(offset, size)));
        }
        through_verbs(&pair, &reads)
    });
    report.check("the Go sidecar reads the same", || sidecar(place, &pair));
    pair.stop()
}

fn through_verbs(pair: &Pair, reads: &[Read]) -> Result<String> {
    let tally = Client::open(&pair.engine.socket)?.each(reads);
    tally.all_right("verbs")?;
    Ok(tally.to_string())
}

fn sidecar(place: &Place<'_>, pair: &Pair) -> Result<String> {
    let (mut reads, mut bytes) = (0, 0);
    let landed = |pair: &Pair| {
        let metrics = pair.engine.metrics()?;
        Ok::<_, crate::report::Error>(metrics.sum("rdma_reads_total", |l| l.contains("verbs")))
    };
    let before = landed(pair)?;
    for file in place.files.iter() {
        let length = file.data().len();
        if length > 5 << 20 {
            continue;
        }
        for (offset, size) in [(0, 0), (length / 2, length / 4 + 1)] {
            let read = file.asked(offset, size);
            let got = Command::new("sidecar")
                .arg("cat")
                .arg("-engine")
                .arg(&pair.engine.socket)
                .args(["-offset", &offset.to_string(), "-size", &size.to_string()])
                .arg(file.fid.to_string())
                .output()?;
            if !got.status.success() {
                let why = String::from_utf8_lossy(&got.stderr);
                return Err(format!("{} at {offset}: {why}", file.name).into());
            }
            if got.stdout != read.expected() {
                return Err(format!("{} at {offset}: other bytes", file.name).into());
            }
            reads += 1;
            bytes += got.stdout.len();
        }
    }
    let by_verbs = landed(pair)? - before;
    if reads == 0 || by_verbs != f64::from(reads) {
        return Err(format!("{by_verbs} of {reads} reads were by verbs").into());
    }
    Ok(format!("{reads} reads, {bytes} bytes by verbs; 0 wrong"))
}
