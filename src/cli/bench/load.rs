//! The load: what to read until when, and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::super::{CliError, show};
use super::driver::Driver;
use crate::client::{Connection, EngineError, FileId, Pool};

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// When this many reads were tried.
    Reads(u64),
    /// After this time.
    Elapsed(Duration),
}

/// What to read, and how.
#[derive(Debug)]
pub struct Load {
    /// Needles, read in turn.
    pub fids: Vec<FileId>,
    /// First byte of each read.
    pub offset: u64,
    /// Bytes of each read, 0 to the end.
    pub size: u64,
    /// Reads under way on each connection.
    pub depth: usize,
    /// When to stop.
    pub until: Until,
    /// Shared secret, where the engine asks for one.
    pub auth_token: Option<String>,
    /// The pool, to check the bytes in it; None checks nothing.
    pub pool: Option<Pool>,
}

/// How far all connections are together.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    tried: AtomicU64,
    read: AtomicU64,
    /// A connection failed: the others need not go on.
    abandoned: AtomicBool,
}

impl Progress {
    /// Whether there is to be another read: the one asking is counted as tried.
    pub(super) fn go_on(&self, until: Until) -> bool {
        if self.abandoned.load(Ordering::Relaxed) {
            return false;
        }
        match until {
            Until::Reads(reads) => self.tried.fetch_add(1, Ordering::Relaxed) < reads,
            Until::Elapsed(time) => self.begun.elapsed() < time,
        }
    }

    /// Counts a read that succeeded, and tells the time since the first began.
    pub(super) fn succeeded(&self) -> Duration {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.begun.elapsed()
    }

    /// Reads that succeeded so far.
    pub fn reads(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// Errors of one code.
#[derive(Clone, Debug)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: EngineError,
}

/// What came of it.
#[derive(Debug)]
pub struct Totals {
    /// Time of each read that succeeded, in nanoseconds.
    pub times: Histogram<u64>,
    /// Bytes of those reads.
    pub bytes: u64,
    /// From the first request to the last reply to a StartRead.
    pub elapsed: Duration,
    /// Reads whose bytes had the CRC the engine gave.
    pub verified: u64,
    /// Reads whose bytes had not.
    pub mismatches: u64,
    /// CompleteReads that were answered with `success: false`.
    pub refused: u64,
    /// Requests that failed, by code.
    pub errors: BTreeMap<String, Errors>,
}

impl Totals {
    pub(super) fn new() -> Result<Self, CliError> {
        Ok(Self {
            times: show::histogram()?,
            bytes: 0,
            elapsed: Duration::ZERO,
            verified: 0,
            mismatches: 0,
            refused: 0,
            errors: BTreeMap::new(),
        })
    }

    pub(super) fn failed(&mut self, error: EngineError) {
        let first = Errors {
            count: 0,
            first: error,
        };
        let code = first.first.code.clone();
        self.errors.entry(code).or_insert(first).count += 1;
    }

    fn add(&mut self, other: Self) -> Result<(), CliError> {
        let merged = self.times.add(other.times);
        merged.map_err(|e| CliError::Failed(format!("adding histograms up: {e}")))?;
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.verified += other.verified;
        self.mismatches += other.mismatches;
        self.refused += other.refused;
        for (code, errors) in other.errors {
            let none = Errors {
                count: 0,
                first: errors.first,
            };
            self.errors.entry(code).or_insert(none).count += errors.count;
        }
        Ok(())
    }
}

impl Load {
    /// Runs the load on `connections` while `watch` looks on: it returns when its receiver says
    /// that every thread has ended.
    ///
    /// # Errors
    /// The first failure of a connection; errors the engine answers are counted instead.
    pub fn run(
        &self,
        connections: Vec<Connection>,
        watch: impl FnOnce(&Progress, &Receiver<()>),
    ) -> Result<Totals, CliError> {
        let progress = Progress {
            begun: Instant::now(),
            tried: AtomicU64::new(0),
            read: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
        };
        let mut totals = Totals::new()?;
        thread::scope(|scope| {
            let (running, done) = channel();
            let mut threads = Vec::with_capacity(connections.len());
            for (number, connection) in connections.into_iter().enumerate() {
                let (progress, running) = (&progress, running.clone());
                let thread = thread::Builder::new().name(format!("bench-{number}"));
                let spawned = thread.spawn_scoped(scope, move || {
                    self.drive(connection, number, progress, running)
                });
                match spawned {
                    Ok(thread) => threads.push(thread),
                    Err(e) => {
                        progress.abandoned.store(true, Ordering::Relaxed);
                        let why = format!("starting thread {number}: {e}; try fewer --connections");
                        return Err(CliError::Failed(why));
                    }
                }
            }
            drop(running);
            watch(&progress, &done);
            for thread in threads {
                let ended = thread.join();
                totals.add(ended.map_err(|_| CliError::Failed("a thread died".into()))??)?;
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// One thread; dropping `_running` says that it has ended.
    fn drive(
        &self,
        connection: Connection,
        number: usize,
        progress: &Progress,
        _running: Sender<()>,
    ) -> Result<Totals, CliError> {
        let mut driver = Driver::new(self, progress, connection, number)?;
        let driven = driver.run();
        if driven.is_err() {
            progress.abandoned.store(true, Ordering::Relaxed);
        }
        driven?;
        Ok(driver.into_totals())
    }
}
