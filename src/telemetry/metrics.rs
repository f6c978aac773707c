//! The events that are counted. The hot path adds to handles it has; nothing is looked up by name
//! there, and what clients choose can add no more series than the settings allow.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::clock::Stages;
use super::exporter::Exporter;
use super::histogram::{Bounds, decades};
use super::journal::{Answered, Journals, Landing};
use super::live::{Live, largest};
use super::names::{ClientSeries, Series, VolumeCounts, VolumeSeries};
use super::observed::Observed;
use super::process::Process;
use super::settle::Often;
use super::text::Text;
use crate::error::Code;
use crate::peer::Fallback;
use crate::source::Transport;

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

    pub(super) const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
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

/// What the operator chooses.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// Upper bounds of the buckets of times, seconds, ascending; None is 1 µs to 10 s, 25 a decade.
    pub histogram_buckets: Option<Vec<f64>>,
    /// Sessions with series of their own.
    pub live_sessions: usize,
    /// Clients with series of their own.
    pub client_series: usize,
    /// Volumes with series of their own.
    pub volume_series: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            histogram_buckets: None,
            live_sessions: 20,
            client_series: 50,
            volume_series: 200,
        }
    }
}

/// The process counts elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the process has a recorder of metrics already")]
pub struct AlreadyInstalled;

/// Handles of everything that is counted. Counting is an atomic addition or two.
#[derive(Debug)]
pub struct Metrics {
    /// By operation and result: ok first, then the codes in their order.
    operations: [[Counter; 2 + Code::ALL.len()]; Operation::LABELS.len()],
    durations: [Histogram; Operation::LABELS.len()],
    errors: [Counter; Code::ALL.len()],
    bytes_read: Counter,
    refused: [Counter; Refusal::LABELS.len()],
    reads: [Counter; Transport::LABELS.len()],
    attempts: [Counter; Transport::LABELS.len()],
    attempts_failed: [Counter; Transport::LABELS.len()],
    completions: [Histogram; Transport::LABELS.len()],
    fallbacks: [Counter; Fallback::LABELS.len()],
    session_lifetime: Histogram,
    /// The distributions that every read is in.
    pub(super) often: Often,
    /// What workers have written down.
    pub(super) journals: Journals,
    /// Waits for room in the pool.
    pub pool_wait: Histogram,
    /// Reads that found no room until their deadline.
    pub pool_exhausted: Counter,
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
    /// The series of clients.
    pub clients: ClientSeries,
    /// The series of volumes.
    pub volumes: VolumeSeries,
    live_sessions: usize,
    exporter: Arc<Exporter>,
}

/// Counters of a family with one label, by its values.
fn counters<const N: usize>(
    name: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    values.map(|value| counter!(name, label => value))
}

/// Likewise histograms.
fn histograms<const N: usize>(
    name: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> [Histogram; N] {
    values.map(|value| histogram!(name, label => value))
}

fn exporter(settings: &MetricsSettings) -> Exporter {
    let times = match &settings.histogram_buckets {
        Some(bounds) => Bounds::seconds(bounds),
        None => Bounds::seconds(&decades(-6, 1, 25)),
    };
    // Whole kilobytes a second: as bytes, the sum of fast sessions would soon overflow.
    let throughput = Bounds::scaled(&decades(4, 11, 25), 1e-3);
    let sizes: Vec<f64> = (9..=29).map(|log| f64::from(1u32 << log)).collect();
    let others = vec![
        ("rdma_session_throughput_bytes_per_second", throughput),
        ("rdma_session_size_bytes", Bounds::scaled(&sizes, 1.0)),
        (
            "rdma_session_lifetime_seconds",
            Bounds::seconds(&decades(-5, 5, 10)),
        ),
    ];
    Exporter::new(times, others)
}

impl Metrics {
    /// Nothing counted yet. What clients and volumes add to the series later is registered with the
    /// recorder that is in force where that happens, so a daemon needs
    /// [`install`](Self::install).
    pub fn new(settings: &MetricsSettings) -> Self {
        let exporter = Arc::new(exporter(settings));
        let register = || Self::register(settings, Arc::clone(&exporter));
        metrics::with_local_recorder(&exporter, register)
    }

    /// The same, and makes its recorder the process's.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub fn install(settings: &MetricsSettings) -> Result<Self, AlreadyInstalled> {
        let metrics = Self::new(settings);
        metrics::set_global_recorder(Arc::clone(&metrics.exporter))
            .map_err(|_| AlreadyInstalled)?;
        Ok(metrics)
    }

    /// Registers everything with the recorder that is in force.
    fn register(settings: &MetricsSettings, exporter: Arc<Exporter>) -> Self {
        let codes = Code::ALL.map(|code| code.as_str().to_lowercase());
        let operation = |kind: &'static str| {
            std::array::from_fn(|index| {
                let result = match index.checked_sub(1) {
                    None => "ok",
                    Some(index) => codes.get(index).map_or("given_up", String::as_str),
                };
                let result = result.to_owned();
                counter!("rdma_operations_total", "type" => kind, "result" => result)
            })
        };
        let transports = Transport::LABELS;
        gauge!("rdma_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        Self {
            operations: Operation::LABELS.map(operation),
            durations: histograms("rdma_operation_duration_seconds", "type", Operation::LABELS),
            errors: (codes.clone()).map(|code| counter!("rdma_errors_total", "code" => code)),
            bytes_read: counter!("rdma_bytes_transferred_total", "direction" => "read"),
            refused: counters("rdma_connections_refused_total", "reason", Refusal::LABELS),
            reads: counters("rdma_reads_total", "transport", transports),
            attempts: counters("rdma_read_attempts_total", "transport", transports),
            attempts_failed: counters("rdma_read_attempts_failed_total", "transport", transports),
            completions: histograms("rdma_completion_latency_seconds", "transport", transports),
            fallbacks: counters("rdma_fallbacks_total", "reason", Fallback::LABELS),
            session_lifetime: histogram!("rdma_session_lifetime_seconds"),
            often: Often::new(&exporter),
            journals: Journals::default(),
            pool_wait: histogram!("rdma_pool_wait_seconds"),
            pool_exhausted: counter!("rdma_pool_exhausted_total"),
            registrations: counter!("rdma_registrations_total"),
            pool_leases: counter!("rdma_pool_leases_total"),
            sessions_expired: counter!("rdma_sessions_expired_total"),
            sessions_reclaimed: counter!("rdma_sessions_reclaimed_total"),
            leases_expired: counter!("rdma_leases_expired_total"),
            checksum_mismatches: counter!("rdma_checksum_mismatches_total"),
            client_crc_mismatches: counter!("rdma_client_crc_mismatches_total"),
            client_length_mismatches: counter!("rdma_client_length_mismatches_total"),
            clients: ClientSeries::new(settings.client_series),
            volumes: VolumeSeries::new(settings.volume_series),
            live_sessions: settings.live_sessions,
            exporter,
        }
    }

    /// One request was answered, `elapsed` after its frame had come in whole.
    pub fn operation(&self, operation: Operation, result: Result<(), Code>, elapsed: Duration) {
        // The arrays have a place for every value of their enum; see the tests.
        let column = result.map_or_else(|code| 1 + code as usize, |()| 0);
        if let Err(code) = result {
            self.errors[code as usize].increment(1);
        }
        self.operations[operation as usize][column].increment(1);
        self.durations[operation as usize].record(elapsed);
    }

    /// A request was given up, `elapsed` after its frame had come in whole, because who asked
    /// has gone.
    pub fn given_up(&self, operation: Operation, elapsed: Duration) {
        self.operations[operation as usize][1 + Code::ALL.len()].increment(1);
        self.durations[operation as usize].record(elapsed);
    }

    /// A read from a volume of this host failed: counted where its disk or its data is to blame.
    pub fn local_read_failed(&self, code: Code) {
        if code == Code::ChecksumMismatch {
            self.checksum_mismatches.increment(1);
        }
        if matches!(
            code,
            Code::IoError | Code::CorruptNeedle | Code::CorruptVolume | Code::ChecksumMismatch
        ) {
            self.attempt_failed(Transport::Local);
        }
    }

    /// `count` bytes of a needle landed for a client.
    pub fn bytes_read(&self, count: u64) {
        self.bytes_read.increment(count);
    }

    /// A needle's bytes landed for a client that is not there any more to be answered. Those that are
    /// answered are counted by way of a [`Journal`](super::Journal).
    pub fn landed(&self, landing: &Landing) {
        let (landing, stages) = (*landing, Stages::default());
        self.settle_landed(&[Answered { landing, stages }]);
    }

    /// `count` reads landed.
    pub(super) fn reads_landed(&self, transport: Transport, count: u64) {
        self.reads[transport.index()].increment(count);
        if let Transport::Tcp(Some(reason)) = transport {
            self.fallbacks[reason as usize].increment(count);
        }
    }

    /// `count` requests were answered as they should be; their times are told elsewhere.
    pub(super) fn succeeded(&self, operation: Operation, count: u64) {
        self.operations[operation as usize][0].increment(count);
    }

    /// A read's last completion came `latency` after its submission.
    pub fn completed(&self, transport: Transport, latency: Duration) {
        self.completions[transport.index()].record(latency);
    }

    /// A session ended, `age` after its admission.
    pub fn session_ended(&self, age: Duration) {
        self.session_lifetime.record(age);
    }

    /// A read is tried on a path.
    pub fn attempt(&self, transport: Transport) {
        self.attempts(transport, 1);
    }

    /// `count` reads were tried on a path.
    pub(super) fn attempts(&self, transport: Transport, count: u64) {
        self.attempts[transport.index()].increment(count);
    }

    /// A read failed on one of its paths.
    pub fn attempt_failed(&self, transport: Transport) {
        self.attempts_failed[transport.index()].increment(1);
    }

    /// The series of volume `id`, or that of all the rest.
    pub fn volume(&self, id: u32) -> Arc<Series<VolumeCounts>> {
        self.volumes.get(id, u32::to_string)
    }

    /// A connection was refused.
    pub fn connection_refused(&self, reason: Refusal) {
        self.refused[reason as usize].increment(1);
    }

    /// The page for Prometheus: what was counted, and the state that was `observed`.
    pub fn page(&self, observed: &Observed, live: &[Live]) -> String {
        self.journals.settle(self);
        let (listed, unlisted) = largest(live, self.live_sessions);
        metrics::with_local_recorder(&self.exporter, || {
            gauge!("rdma_sessions_live_unlisted").set(unlisted as f64);
            self.set_clients(live);
            observed.set();
        });
        let mut text = Text::with_capacity(512 << 10);
        self.exporter.write(&mut text);
        write_live(&listed, &mut text);
        observed.write(&mut text);
        Process::now().write(&mut text);
        text.finish()
    }

    fn set_clients(&self, live: &[Live]) {
        let clients = self.clients.all();
        let mut held = vec![(0u64, 0u64); clients.len()];
        for session in live {
            // A client that came after the list was made is in the next scrape.
            if let Some((sessions, bytes)) = held.get_mut(session.client.series.number as usize) {
                *sessions += 1;
                *bytes += session.pool_bytes;
            }
        }
        for (client, (sessions, bytes)) in clients.iter().zip(held) {
            let client = &client.name;
            gauge!("rdma_client_sessions", "client" => client.clone()).set(sessions as f64);
            gauge!("rdma_client_pool_bytes", "client" => client.clone()).set(bytes as f64);
        }
    }
}

/// Writes the sessions that have series of their own. They are not registered, so that they are
/// gone once they end: the exporter forgets no gauge.
fn write_live(listed: &[&Live], text: &mut Text) {
    type Figure = fn(&Live) -> f64;
    let figures: [(&str, Figure); 3] = [
        ("rdma_session_live_bytes", |live| live.bytes as f64),
        ("rdma_session_live_age_seconds", |live| {
            live.age.as_secs_f64()
        }),
        ("rdma_session_live_throughput_bytes_per_second", Live::rate),
    ];
    for (name, figure) in figures {
        let mut samples = text.family(name);
        for live in listed {
            let (session, volume) = (live.short.to_string(), live.volume.to_string());
            let labels = [
                ("session", session.as_str()),
                ("client", &live.client.name),
                ("volume", &volume),
            ];
            samples.sample(&labels, figure(live));
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;
