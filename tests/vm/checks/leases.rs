//! Needles that are no longer lent, or have changed, when they are READ: the checksum tells.

use std::thread;

use crate::borrower::{Borrower, LEASES_MAX};
use crate::client::Client;
use crate::daemon::{Engine, Flags, Target};
use crate::http::Metrics;
use crate::interposer::{Held, Interposer};
use crate::report::{Place, Report, Result};
use crate::tally::Tally;

/// Times each is tried.
const TIMES: u64 = 5;
const MISMATCH: &str = "CHECKSUM_MISMATCH";

/// How a lease ends before its READ.
#[derive(Clone, Copy)]
enum End {
    /// It comes to its deadline.
    Expired,
    /// The target believes that it was released.
    Released,
}

/// An engine whose leases can be held back.
struct Stage<'a> {
    place: &'a Place<'a>,
    target: &'a Target,
    between: Interposer,
    engine: Engine,
    borrower: Borrower,
}

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let flags = Flags::target()
        .and("buffer-size", "8MiB")
        .and("lease-timeout", "500ms")
        .and("max-leases", &LEASES_MAX.to_string());
    let target = Target::start(&place.dir, "target", &flags)?;
    let mut stage = Stage::new(place, &target, "auto")?;
    report.check(
        "a lease that expired before its READ: TCP gives the bytes",
        || {
            let tally = stage.spoil(End::Expired, 1)?;
            tally.all_right("tcp")?;
            stage.counted(&tally, TIMES, 0)
        },
    );
    stage.stop()?;
    let mut stage = Stage::new(place, &target, "verbs")?;
    report.check(
        "a needle changed between lookup and READ: read again",
        || {
            let tally = stage.spoil(End::Released, 1)?;
            tally.all_right("verbs")?;
            stage.counted(&tally, TIMES, 0)
        },
    );
    report.check("leases released before each READ: a clean failure", || {
        let tally = stage.spoil(End::Released, 2)?;
        tally.clean(&[MISMATCH])?;
        if tally.failed_with(MISMATCH) != TIMES {
            return Err(tally.to_string().into());
        }
        stage.counted(&tally, 3 * TIMES, 0)
    });
    stage.stop()?;
    target.await_idle()?;
    target.stop()
}

impl<'a> Stage<'a> {
    fn new(place: &'a Place<'a>, target: &'a Target, transport: &'static str) -> Result<Self> {
        let between = Interposer::start(target.address)?;
        let flags = Flags::engine(between.address)
            .and("workers", "1")
            .and("transport", transport)
            // What is held back is no silence.
            .and("peer-timeout", "60s");
        let engine = Engine::start(&place.dir, transport, &flags)?;
        engine.await_verbs(1)?;
        Ok(Self {
            place,
            target,
            between,
            engine,
            borrower: Borrower::connect(target.address)?,
        })
    }

    /// Reads a file again and again; the first `spoilt` leases of each read end before the engine
    /// knows of them, and their place gets other bytes.
    fn spoil(&mut self, end: End, spoilt: u64) -> Result<Tally> {
        let file = self.place.files.random(64 << 10)?;
        let mut client = Client::open(&self.engine.socket)?;
        let mut tally = Tally::default();
        for _ in 0..TIMES {
            self.between.hold(spoilt);
            let read = [file.whole()];
            thread::scope(|scope| {
                let reading = scope.spawn(|| client.each(&read));
                for _ in 0..spoilt {
                    let held = self.between.next()?;
                    self.end_lease(end, &held)?;
                    held.pass();
                }
                let read = reading.join().map_err(|_| "the client died")?;
                tally.add(read);
                self.borrower.give_back()
            })?;
        }
        Ok(tally)
    }

    fn end_lease(&mut self, end: End, held: &Held) -> Result<()> {
        self.borrower.give_back()?;
        if let End::Released = end {
            held.release()?;
        }
        self.target
            .await_metrics("the lease is over", |m| m.get("rdma_leases_active") == 0.0)?;
        let other = self.place.files.random(4097)?;
        self.borrower.overwrite(&held.leased, other)
    }

    /// Makes sure that the engine has counted, since its start, these failed attempts and these
    /// reads that failed for good.
    fn counted(&self, tally: &Tally, attempts: u64, reads: u64) -> Result<String> {
        let metrics = self.engine.metrics()?;
        let by_verbs =
            |m: &Metrics| m.sum("rdma_read_attempts_failed_total", |l| l.contains("verbs"));
        let counted = (
            by_verbs(&metrics),
            metrics.get("rdma_checksum_mismatches_total"),
        );
        let told = format!(
            "{tally}; {} attempts by verbs and {} reads counted as failed by the engine",
            counted.0, counted.1
        );
        if counted != (attempts as f64, reads as f64) {
            return Err(format!("{told}, not {attempts} and {reads}").into());
        }
        Ok(told)
    }

    fn stop(self) -> Result<()> {
        self.engine.await_idle()?;
        self.engine.stop()
    }
}
