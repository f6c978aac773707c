//! States, asked for when somebody scrapes: the hot path touches no gauge.

use metrics::{Gauge, describe_gauge, gauge};

use super::process::{Process, start_time_seconds};

/// Somebody who knows the engine's state.
pub trait Observe: Send + Sync {
    /// The state now. Called from the telemetry thread, once a scrape; it must not wait long.
    fn observe(&self) -> Observed;
}

/// The engine's state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Sessions that are open.
    pub sessions_active: u64,
    /// Client connections that are open.
    pub connections_active: u64,
    /// Peers that are read by RDMA.
    pub peers_verbs: u64,
    /// Peers that are connected but not read by RDMA.
    pub peers_tcp: u64,
    /// Peers that are not connected.
    pub peers_down: u64,
    /// Leases of a target's that are open.
    pub leases_active: u64,
    /// Bytes of the pool nobody holds.
    pub pool_free_bytes: u64,
    /// Bytes of the pool that are set aside for a read that has not begun.
    pub pool_reserved_bytes: u64,
    /// Bytes of the pool that are being written to.
    pub pool_in_flight_bytes: u64,
    /// Bytes of the pool that clients hold.
    pub pool_leased_bytes: u64,
    /// Bytes of the pool that nobody wants any more but something may still write to.
    pub pool_quarantined_bytes: u64,
    /// Requests that wait for room in the pool.
    pub pool_waiters: u64,
    /// Size of the pages the pool lies on, bytes.
    pub pool_page_size_bytes: u64,
    /// Whether the pool is registered with every data ring.
    pub pool_registered: bool,
    /// Volumes being served.
    pub volumes: u64,
    /// Live needles in them.
    pub needles: u64,
    /// The pool lies on ordinary pages although huge ones were wanted.
    pub hugepages_stepped_down: bool,
    /// Reads do without fixed buffers because the pool could not be registered.
    pub fixed_buffers_stepped_down: bool,
}

/// What tells the gauges of one name apart.
type Label = Option<(&'static str, &'static str)>;

/// How one gauge follows from the state.
type Reading = fn(&Observed) -> u64;

/// Name, label and reading of each gauge of the engine.
const READINGS: [(&str, Label, Reading); 18] = [
    ("rdma_sessions_active", None, |o| o.sessions_active),
    ("rdma_connections_active", None, |o| o.connections_active),
    ("rdma_peers", Some(("state", "verbs")), |o| o.peers_verbs),
    ("rdma_peers", Some(("state", "tcp")), |o| o.peers_tcp),
    ("rdma_peers", Some(("state", "down")), |o| o.peers_down),
    ("rdma_leases_active", None, |o| o.leases_active),
    ("rdma_pool_bytes", Some(("state", "free")), |o| {
        o.pool_free_bytes
    }),
    ("rdma_pool_bytes", Some(("state", "reserved")), |o| {
        o.pool_reserved_bytes
    }),
    ("rdma_pool_bytes", Some(("state", "in_flight")), |o| {
        o.pool_in_flight_bytes
    }),
    ("rdma_pool_bytes", Some(("state", "leased")), |o| {
        o.pool_leased_bytes
    }),
    ("rdma_pool_bytes", Some(("state", "quarantined")), |o| {
        o.pool_quarantined_bytes
    }),
    ("rdma_pool_waiters", None, |o| o.pool_waiters),
    ("rdma_pool_page_size_bytes", None, |o| {
        o.pool_page_size_bytes
    }),
    ("rdma_pool_registered", None, |o| o.pool_registered.into()),
    ("rdma_volumes", None, |o| o.volumes),
    ("rdma_needles", None, |o| o.needles),
    ("rdma_step_down", Some(("kind", "hugepages")), |o| {
        o.hugepages_stepped_down.into()
    }),
    ("rdma_step_down", Some(("kind", "fixed_buffers")), |o| {
        o.fixed_buffers_stepped_down.into()
    }),
];

const HELP: [(&str, &str); 15] = [
    ("rdma_sessions_active", "Sessions that are open."),
    (
        "rdma_connections_active",
        "Client connections that are open; at a target, those of peers.",
    ),
    (
        "rdma_peers",
        "Configured peers by state: read by RDMA, connected but read over TCP, not connected.",
    ),
    ("rdma_leases_active", "Needles a target is lending."),
    (
        "rdma_pool_bytes",
        "Bytes of the buffer pool by state; the states add up to the pool.",
    ),
    (
        "rdma_pool_waiters",
        "Requests that wait for room in the pool.",
    ),
    (
        "rdma_pool_page_size_bytes",
        "Size of the pages the pool lies on.",
    ),
    (
        "rdma_pool_registered",
        "1 if the pool is registered with every data ring.",
    ),
    ("rdma_volumes", "Volumes being served."),
    ("rdma_needles", "Live needles in the volumes being served."),
    (
        "rdma_step_down",
        "1 if the engine does without something that was wanted, by kind.",
    ),
    (
        "rdma_build_info",
        "Always 1; the labels say which build this is.",
    ),
    (
        "process_start_time_seconds",
        "When the process started, seconds since 1970.",
    ),
    ("process_resident_memory_bytes", "Resident memory."),
    ("process_open_fds", "Open file descriptors."),
];

/// The gauges' handles.
pub(super) struct Gauges {
    readings: [(Gauge, Reading); READINGS.len()],
    resident_bytes: Gauge,
    open_fds: Gauge,
}

impl Gauges {
    /// Registers them with the current recorder.
    pub(super) fn register() -> Self {
        for (name, help) in HELP {
            describe_gauge!(name, help);
        }
        gauge!("rdma_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        if let Some(seconds) = start_time_seconds() {
            gauge!("process_start_time_seconds").set(seconds);
        }
        let register = |(name, label, reading)| match label {
            Some((key, value)) => (gauge!(name, key => value), reading),
            None => (gauge!(name), reading),
        };
        Self {
            readings: READINGS.map(register),
            resident_bytes: gauge!("process_resident_memory_bytes"),
            open_fds: gauge!("process_open_fds"),
        }
    }

    /// Sets them to the state `observed` and that of the process.
    pub(super) fn refresh(&self, observed: &Observed) {
        for (gauge, reading) in &self.readings {
            set(gauge, reading(observed));
        }
        let process = Process::now();
        process
            .resident_bytes
            .inspect(|bytes| set(&self.resident_bytes, *bytes));
        process
            .open_fds
            .inspect(|count| set(&self.open_fds, *count));
    }
}

/// Exact up to 2^53, as everything in the exposition format.
fn set(gauge: &Gauge, value: u64) {
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    gauge.set(value as f64);
}
