//! Every metric there is: its name, type, labels, where it means something, and what it says. The
//! table in README.md is held against this one by a test.

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    allow(
        dead_code,
        reason = "tests hold the README and the page against all of it"
    )
)]
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// Names of the labels, a space between.
    pub labels: &'static str,
    /// The daemon that has something to say here; the other exports zeros.
    pub daemon: &'static str,
    pub help: &'static str,
}

macro_rules! families {
    ($($kind:ident $daemon:ident $name:literal $labels:literal $help:literal)+) => {
        &[$(Family {
            name: $name,
            kind: Kind::$kind,
            labels: $labels,
            daemon: stringify!($daemon),
            help: $help,
        }),+]
    };
}

/// All families, in the order of the page.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = families! {
    Counter both "rdma_operations_total" "type result"
        "Requests answered, by type and result; given_up where nobody was left to answer."
    Histogram both "rdma_operation_duration_seconds" "type"
        "From a request's last byte to its answer, by type."
    Counter both "rdma_errors_total" "code"
        "Error answers, by code."

    Counter engine "rdma_reads_total" "transport"
        "Reads landed for clients, by the transport that brought them."
    Counter both "rdma_read_attempts_total" "transport"
        "Attempts to read from a disk or a peer, by transport; a read may take several."
    Counter both "rdma_read_attempts_failed_total" "transport"
        "Attempts that failed on their way, by transport; each may have been made good by another."
    Counter engine "rdma_fallbacks_total" "reason"
        "Reads that went over TCP although this host has an RDMA device, by reason."
    Counter both "rdma_bytes_transferred_total" "direction"
        "Bytes of needles landed for clients, or lent or sent to engines."
    Histogram both "rdma_completion_latency_seconds" "transport"
        "From a read's first submission to its last completion, by transport."
    Histogram engine "rdma_read_stage_seconds" "stage"
        "Time of successful reads by stage; the stages add up to the reads' rdma_operation_duration_seconds."
    Counter both "rdma_checksum_mismatches_total" ""
        "Needles whose stored checksum did not match."
    Counter engine "rdma_client_crc_mismatches_total" ""
        "Reads completed with a checksum not the engine's."
    Counter engine "rdma_client_length_mismatches_total" ""
        "Reads completed with a length not the engine's."

    Gauge engine "rdma_sessions_active" ""
        "Sessions that are open."
    Gauge engine "rdma_sessions_limit" ""
        "Sessions that may be open at once."
    Counter engine "rdma_sessions_expired_total" ""
        "Sessions that came to their deadline."
    Counter engine "rdma_sessions_reclaimed_total" ""
        "Sessions taken back because their client was gone."
    Histogram engine "rdma_session_throughput_bytes_per_second" ""
        "Bytes a session landed by the time from its request's last byte to its answer."
    Histogram engine "rdma_session_size_bytes" ""
        "Bytes a session landed."
    Histogram engine "rdma_session_lifetime_seconds" ""
        "From a session's admission to its end."
    Gauge both "rdma_session_live_bytes" "session client volume"
        "Bytes held by the largest sessions (at a target: leases) older than a second."
    Gauge both "rdma_session_live_age_seconds" "session client volume"
        "Age of the sessions of rdma_session_live_bytes."
    Gauge both "rdma_session_live_throughput_bytes_per_second" "session client volume"
        "How fast the bytes of the sessions of rdma_session_live_bytes came."
    Gauge both "rdma_sessions_live_unlisted" ""
        "Sessions older than a second that rdma_session_live_bytes does not list."

    Counter both "rdma_client_reads_total" "client"
        "Reads landed, by client; at a target, answered, by engine."
    Counter both "rdma_client_bytes_total" "client"
        "Bytes of them, by client."
    Counter both "rdma_client_errors_total" "client"
        "Error answers, by client."
    Gauge both "rdma_client_sessions" "client"
        "Open sessions (at a target: leases), by client."
    Gauge both "rdma_client_pool_bytes" "client"
        "Bytes of the pool in buffers that sessions hold, by client."
    Counter both "rdma_volume_reads_total" "volume"
        "Reads landed, by volume."
    Counter both "rdma_volume_bytes_total" "volume"
        "Bytes of them, by volume."

    Gauge both "rdma_connections_active" ""
        "Client connections that are open; at a target, those of engines."
    Gauge both "rdma_connections_limit" ""
        "Connections that may be open at once."
    Counter both "rdma_connections_refused_total" "reason"
        "Connections refused, by reason."
    Gauge target "rdma_leases_active" ""
        "Needles a target is lending."
    Gauge target "rdma_leases_limit" ""
        "Leases that may be open at once: those of a connection times the connections."
    Counter target "rdma_leases_expired_total" ""
        "Leases that came to their deadline unreleased."

    Gauge both "rdma_pool_bytes" "state"
        "Bytes of the buffer pool by state; the states add up to the pool."
    Gauge both "rdma_pool_size_bytes" ""
        "Size of the buffer pool."
    Gauge both "rdma_pool_largest_free_bytes" ""
        "The largest buffer the pool could give at once."
    Gauge both "rdma_pool_waiters" ""
        "Requests that wait for room in the pool."
    Histogram both "rdma_pool_wait_seconds" ""
        "How long requests waited for room in the pool, of those that had to."
    Counter both "rdma_pool_exhausted_total" ""
        "Requests that found no room in the pool until their deadline."
    Counter both "rdma_pool_leases_total" ""
        "Buffers lent to clients; by rdma_registrations_total, how often a registration was used."
    Counter both "rdma_registrations_total" ""
        "Memory registrations since start; constant while serving."
    Gauge both "rdma_pool_page_size_bytes" ""
        "Size of the pages the pool lies on."
    Gauge both "rdma_pool_registered" ""
        "1 if the pool is registered with every data ring."
    Gauge both "rdma_step_down" "kind"
        "1 if the daemon does without something that was wanted, by kind."

    Gauge engine "rdma_peers" "state"
        "Configured peers by state: read by RDMA, connected but read over TCP, not connected."
    Gauge engine "rdma_peer_up" "peer"
        "1 if a worker is connected to the peer."
    Counter engine "rdma_peer_reconnects_total" "peer"
        "Connections to the peer made anew after one had been lost, over all workers."
    Gauge both "rdma_queue_pairs" "state"
        "Queue pairs by state: ready to be read through, broken, or being made."

    Gauge both "rdma_volumes" ""
        "Volumes being served."
    Gauge both "rdma_volumes_unreadable" ""
        "Volumes that are there but can not be read."
    Gauge both "rdma_needles" ""
        "Live needles in the volumes being served."
    Gauge both "rdma_follow_lag_seconds" ""
        "Age of the last complete look at the volumes' files."

    Counter both "rdma_uring_submissions_total" ""
        "Reads queued to the data rings."
    Counter both "rdma_uring_completions_total" ""
        "Completions taken from the data rings."
    Counter both "rdma_uring_enters_total" ""
        "Calls of io_uring_enter for the data rings."
    Counter both "rdma_uring_overflows_total" ""
        "Completions the kernel lost because a data ring was full; never, by design."
    Counter engine "rdma_verbs_posted_total" ""
        "RDMA READs posted."
    Counter engine "rdma_verbs_completions_total" "status"
        "RDMA READs completed, by status."
    Counter engine "rdma_verbs_polls_hit_total" ""
        "Times completions came while a worker polled for them."
    Counter engine "rdma_verbs_sleeps_total" ""
        "Times a worker slept until a completion came."
    Gauge both "rdma_device_rate_bytes_per_second" ""
        "Nominal rate of the RDMA port in use, speed times width; absent without a device."

    Gauge both "rdma_build_info" "version"
        "Always 1; the label says which build this is."
    Counter both "process_cpu_seconds_total" ""
        "User and system CPU time spent."
    Gauge both "process_start_time_seconds" ""
        "When the process started, seconds since 1970."
    Gauge both "process_resident_memory_bytes" ""
        "Resident memory."
    Gauge both "process_virtual_memory_bytes" ""
        "Virtual memory."
    Gauge both "process_open_fds" ""
        "Open file descriptors."
    Gauge both "process_max_fds" ""
        "The most descriptors the process may have open."
    Gauge both "process_threads" ""
        "Threads of the process."
};
