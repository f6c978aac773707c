//! Reads register no memory and open no descriptors.

use crate::daemon::Daemon;
use crate::load::Load;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};
use crate::tally::Tally;
use std::time::Instant;

const READS: u64 = 100_000;
const CLIENTS: u64 = 4;
const DEPTH: usize = 16;
/// Reads before the first count: volume files are opened when they are first asked for.
const WARM_UP: u64 = 200;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let pair = Pair::plain(place)?;
    let mut rate = 0.0;
    report.check("100,000 reads register nothing", || {
        let reads = place.files.random(1 << 20)?.pieces(4096);
        let load = |most: u64| -> Result<Tally> {
            Load::of(
                &pair.engine.socket,
                &reads,
                CLIENTS as usize,
                DEPTH,
                Some(most),
            )?
            .finish()
        };
        load(WARM_UP / CLIENTS)?.all_right("verbs")?;
        let before = (Held::by(&pair.engine)?, Held::by(&pair.target)?);
        let begun = Instant::now();
        let tally = load(READS / CLIENTS)?;
        let seconds = begun.elapsed().as_secs_f64();
        rate = tally.attempted as f64 / seconds;
        tally.all_right("verbs")?;
        let after = (Held::by(&pair.engine)?, Held::by(&pair.target)?);
        if before != after || tally.attempted != READS {
            return Err(format!("{tally}; before {before:?}, after {after:?}").into());
        }
        let (engine, target) = after;
        Ok(format!(
            "{tally}; the engine has {} registrations and {} descriptors before and after, the \
             target {} and {}; both pools are empty",
            engine.registrations, engine.descriptors, target.registrations, target.descriptors
        ))
    });
    report.figure("4 KiB reads by verbs, 64 under way", rate, "reads/s", "");
    pair.stop()
}

/// What a daemon holds while nobody reads.
#[derive(Debug, PartialEq)]
struct Held {
    registrations: f64,
    descriptors: usize,
}

impl Held {
    /// What it holds once clients and leases have gone.
    fn by(daemon: &Daemon) -> Result<Self> {
        daemon.await_idle()?;
        let mut last = None;
        // Connections of clients that have gone, and of scrapes, take a moment to be closed.
        let descriptors = crate::wait::until("its descriptors are constant", || {
            let now = daemon.descriptors().ok();
            let same = (now.is_some() && last.replace((now, 0)).map(|l| l.0) == Some(now))
                .then_some(now)
                .flatten();
            std::thread::sleep(std::time::Duration::from_millis(200));
            same
        })?;
        Ok(Self {
            registrations: daemon.metrics()?.get("rdma_registrations_total"),
            descriptors,
        })
    }
}
