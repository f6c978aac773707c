//! The events that are counted, as handles that are looked up once. All label sets are closed:
//! no client can add a series.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::observed::{Gauges, Observed};
use crate::error::Code;
use crate::peer::Fallback;
use crate::source::{Landed, Transport};

/// Upper bounds of the buckets of every histogram, seconds: 1 µs to 10 s, five a decade at about
/// equal ratios (the series R5 of ISO 3).
const BUCKETS_SECONDS: [f64; 36] = [
    1e-6, 1.6e-6, 2.5e-6, 4e-6, 6.3e-6, //
    1e-5, 1.6e-5, 2.5e-5, 4e-5, 6.3e-5, //
    1e-4, 1.6e-4, 2.5e-4, 4e-4, 6.3e-4, //
    1e-3, 1.6e-3, 2.5e-3, 4e-3, 6.3e-3, //
    0.01, 0.016, 0.025, 0.04, 0.063, //
    0.1, 0.16, 0.25, 0.4, 0.63, //
    1.0, 1.6, 2.5, 4.0, 6.3, 10.0,
];

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the message of that name")]
pub enum Operation {
    StartRead,
    CompleteRead,
    GetCapabilities,
    Ping,
    AttachPool,
    /// A peer's, at a target.
    Lease,
    /// A peer's, at a target.
    Fetch,
    /// A frame that is none of these.
    Unknown,
}

impl Operation {
    const LABELS: [&'static str; 8] = [
        "start_read",
        "complete_read",
        "get_capabilities",
        "ping",
        "attach_pool",
        "lease",
        "fetch",
        "unknown",
    ];
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's user may not connect.
    Uid,
    /// As many connections as allowed are open.
    Limit,
}

impl Refusal {
    const LABELS: [&'static str; 2] = ["uid", "limit"];
}

/// Handles of everything that is counted. Using one is an atomic addition.
pub struct Metrics {
    /// By operation and result: ok first, then the codes in their order.
    operations: [[Counter; 1 + Code::ALL.len()]; Operation::LABELS.len()],
    durations: [Histogram; Operation::LABELS.len()],
    bytes_read: Counter,
    refused: [Counter; Refusal::LABELS.len()],
    reads: [Counter; Transport::LABELS.len()],
    attempts_failed: [Counter; Transport::LABELS.len()],
    completions: [Histogram; Transport::LABELS.len()],
    fallbacks: [Counter; Fallback::LABELS.len()],
    /// Memory registrations; they happen at start and never again.
    pub registrations: Counter,
    /// Buffers lent to clients.
    pub pool_leases: Counter,
    /// Sessions that came to their deadline.
    pub sessions_expired: Counter,
    /// Sessions taken back because their client was gone.
    pub sessions_reclaimed: Counter,
    /// Leases of a target's that came to their deadline.
    pub leases_expired: Counter,
    /// Needles whose stored checksum did not match their data.
    pub checksum_mismatches: Counter,
    /// CompleteReads whose checksum was not the engine's.
    pub client_crc_mismatches: Counter,
    /// CompleteReads whose length was not the engine's.
    pub client_length_mismatches: Counter,
    gauges: Gauges,
}

impl Metrics {
    /// Makes the process's recorder and registers everything with it. Whoever holds the handle
    /// must run its upkeep every few seconds, or memory grows; [`super::Endpoints`] does.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub fn install() -> Result<(Self, PrometheusHandle), BuildError> {
        let handle = builder()?.install_recorder()?;
        Ok((Self::register(), handle))
    }

    /// Registers everything with the current recorder.
    fn register() -> Self {
        describe();
        Self {
            operations: Operation::LABELS.map(|operation| {
                std::array::from_fn(|index| {
                    let code = index.checked_sub(1).and_then(|index| Code::ALL.get(index));
                    let result = code.map_or("ok".to_owned(), |c| c.as_str().to_lowercase());
                    counter!("rdma_operations_total", "type" => operation, "result" => result)
                })
            }),
            durations: Operation::LABELS
                .map(|name| histogram!("rdma_operation_duration_seconds", "type" => name)),
            bytes_read: counter!("rdma_bytes_transferred_total", "direction" => "read"),
            refused: Refusal::LABELS
                .map(|reason| counter!("rdma_connections_refused_total", "reason" => reason)),
            reads: Transport::LABELS.map(|name| counter!("rdma_reads_total", "transport" => name)),
            attempts_failed: Transport::LABELS
                .map(|name| counter!("rdma_read_attempts_failed_total", "transport" => name)),
            completions: Transport::LABELS
                .map(|name| histogram!("rdma_completion_latency_seconds", "transport" => name)),
            fallbacks: Fallback::LABELS
                .map(|reason| counter!("rdma_fallbacks_total", "reason" => reason)),
            registrations: counter!("rdma_registrations_total"),
            pool_leases: counter!("rdma_pool_leases_total"),
            sessions_expired: counter!("rdma_sessions_expired_total"),
            sessions_reclaimed: counter!("rdma_sessions_reclaimed_total"),
            leases_expired: counter!("rdma_leases_expired_total"),
            checksum_mismatches: counter!("rdma_checksum_mismatches_total"),
            client_crc_mismatches: counter!("rdma_client_crc_mismatches_total"),
            client_length_mismatches: counter!("rdma_client_length_mismatches_total"),
            gauges: Gauges::register(),
        }
    }

    /// One request was answered, `elapsed` after its frame had come in whole.
    pub fn operation(&self, operation: Operation, result: Result<(), Code>, elapsed: Duration) {
        // Both arrays have a place for every value of their enum; see the tests.
        let column = result.map_or_else(|code| 1 + code as usize, |()| 0);
        self.operations[operation as usize][column].increment(1);
        self.durations[operation as usize].record(elapsed);
    }

    /// `count` bytes of a needle landed for a client.
    pub fn bytes_read(&self, count: u64) {
        self.bytes_read.increment(count);
    }

    /// A needle's bytes landed for a client.
    pub fn landed(&self, landed: &Landed) {
        let transport = landed.transport;
        self.bytes_read(landed.data.len() as u64);
        self.reads[transport.index()].increment(1);
        if let Some(completion) = landed.completion {
            self.completions[transport.index()].record(completion);
        }
        if let Transport::Tcp(Some(reason)) = transport {
            self.fallbacks[reason as usize].increment(1);
        }
    }

    /// A read failed on one of its paths.
    pub fn attempt_failed(&self, transport: Transport) {
        self.attempts_failed[transport.index()].increment(1);
    }

    /// A connection was refused.
    pub fn connection_refused(&self, reason: Refusal) {
        self.refused[reason as usize].increment(1);
    }

    /// Sets the gauges.
    pub(super) fn refresh(&self, observed: &Observed) {
        self.gauges.refresh(observed);
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    // No idle timeout: it would orphan the handles.
    PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS)
}

fn describe() {
    let counters = [
        (
            "rdma_operations_total",
            "Requests answered, by type and result.",
        ),
        (
            "rdma_bytes_transferred_total",
            "Bytes of needles landed in the pool, by direction.",
        ),
        (
            "rdma_registrations_total",
            "Memory registrations since start; constant while serving.",
        ),
        ("rdma_pool_leases_total", "Buffers lent to clients."),
        (
            "rdma_sessions_expired_total",
            "Sessions that came to their deadline.",
        ),
        (
            "rdma_sessions_reclaimed_total",
            "Sessions taken back because their client was gone.",
        ),
        (
            "rdma_reads_total",
            "Reads landed for clients, by transport.",
        ),
        (
            "rdma_read_attempts_failed_total",
            "Attempts to read from a peer that failed, by transport; each may have been made good by another.",
        ),
        (
            "rdma_fallbacks_total",
            "Reads that went over TCP although this host has an RDMA device, by reason.",
        ),
        (
            "rdma_leases_expired_total",
            "Leases of a target's that came to their deadline unreleased.",
        ),
        (
            "rdma_checksum_mismatches_total",
            "Needles whose stored checksum did not match.",
        ),
        (
            "rdma_client_crc_mismatches_total",
            "Reads completed with a checksum not the engine's.",
        ),
        (
            "rdma_client_length_mismatches_total",
            "Reads completed with a length not the engine's.",
        ),
        (
            "rdma_connections_refused_total",
            "Connections refused, by reason.",
        ),
    ];
    for (name, help) in counters {
        describe_counter!(name, help);
    }
    describe_histogram!(
        "rdma_operation_duration_seconds",
        Unit::Seconds,
        "From a request's last byte to its answer, by type."
    );
    describe_histogram!(
        "rdma_completion_latency_seconds",
        Unit::Seconds,
        "From a read's first submission to its last completion, by transport."
    );
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;
