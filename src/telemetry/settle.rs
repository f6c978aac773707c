//! Counting what journals hold: each distribution and each sum once for all the reads that are there.

use std::sync::Arc;

use metrics::{Key, Label};

use super::clock::Stage;
use super::exporter::Exporter;
use super::histogram::Buckets;
use super::journal::{Answered, Completed};
use super::metrics::{Metrics, Operation};
use crate::source::Transport;

/// The distributions that every read, or every session, is in. They are those of the handles of
/// the same names, told whole numbers of what they count.
#[derive(Debug)]
pub(super) struct Often {
    start_read: Arc<Buckets>,
    complete_read: Arc<Buckets>,
    completions: [Arc<Buckets>; Transport::LABELS.len()],
    stages: [Arc<Buckets>; Stage::LABELS.len()],
    throughput: Arc<Buckets>,
    size: Arc<Buckets>,
    lifetime: Arc<Buckets>,
}

impl Often {
    pub fn new(exporter: &Exporter) -> Self {
        let only = |name| exporter.buckets(&Key::from_static_name(name));
        let labelled = |name, label, value| {
            exporter.buckets(&Key::from_parts(name, vec![Label::new(label, value)]))
        };
        let operation = |operation: Operation| {
            labelled("rdma_operation_duration_seconds", "type", operation.label())
        };
        let transports = Transport::LABELS;
        Self {
            start_read: operation(Operation::StartRead),
            complete_read: operation(Operation::CompleteRead),
            completions: transports
                .map(|t| labelled("rdma_completion_latency_seconds", "transport", t)),
            stages: Stage::LABELS.map(|stage| labelled("rdma_read_stage_seconds", "stage", stage)),
            throughput: only("rdma_session_throughput_bytes_per_second"),
            size: only("rdma_session_size_bytes"),
            lifetime: only("rdma_session_lifetime_seconds"),
        }
    }
}

impl Metrics {
    /// Counts StartReads that were answered.
    pub(super) fn settle_answered(&self, reads: &[Answered]) {
        self.settle_landed(reads);
        let (often, count) = (&self.often, reads.len() as u64);
        self.succeeded(Operation::StartRead, count);
        self.pool_leases.increment(count);
        let elapsed = |read: &Answered| read.stages.total_nanos();
        often.start_read.observe(reads.iter().map(elapsed));
        let rate = |read: &Answered| kilobytes_a_second(read.landing.bytes, elapsed(read));
        often.throughput.observe(reads.iter().map(rate));
        for (number, stage) in often.stages.iter().enumerate() {
            stage.observe(reads.iter().map(|read| read.stages.nanos[number]));
        }
    }

    /// Counts that the bytes of reads landed.
    pub(super) fn settle_landed(&self, reads: &[Answered]) {
        let often = &self.often;
        self.bytes_read(bytes_of(reads));
        often
            .size
            .observe(reads.iter().map(|read| read.landing.bytes));
        for run in reads.chunk_by(|a, b| a.landing.transport == b.landing.transport) {
            let transport = run[0].landing.transport;
            self.reads_landed(transport, run.len() as u64);
            let times = run.iter().map(|read| read.landing.completion);
            often.completions[transport.index()].observe(times);
        }
        let series = |read: &Answered| (read.landing.client, read.landing.volume);
        self.clients.with_all(|clients| {
            self.volumes.with_all(|volumes| {
                for run in reads.chunk_by(|a, b| series(a) == series(b)) {
                    let (client, volume) = series(&run[0]);
                    let (reads, bytes) = (run.len() as u64, bytes_of(run));
                    if let Some(client) = clients.get(client as usize) {
                        client.counts.reads.increment(reads);
                        client.counts.bytes.increment(bytes);
                    }
                    if let Some(volume) = volumes.get(volume as usize) {
                        volume.counts.reads.increment(reads);
                        volume.counts.bytes.increment(bytes);
                    }
                }
            });
        });
    }

    /// Counts sessions that were completed.
    pub(super) fn settle_completed(&self, sessions: &[Completed]) {
        self.succeeded(Operation::CompleteRead, sessions.len() as u64);
        let often = &self.often;
        often.lifetime.observe(sessions.iter().map(|s| s.age));
        (often.complete_read).observe(sessions.iter().map(|s| s.elapsed));
    }
}

fn bytes_of(reads: &[Answered]) -> u64 {
    let bytes = reads.iter().map(|read| read.landing.bytes);
    bytes.fold(0, u64::wrapping_add)
}

/// To the nearest.
fn kilobytes_a_second(bytes: u64, nanos: u64) -> u64 {
    (bytes as f64 * 1e6 / nanos.max(1) as f64 + 0.5) as u64
}
