//! What Prometheus gets to see.

use std::collections::{HashMap, HashSet};

use super::*;

/// Metrics with a recorder of their own, so that tests do not see each other's.
pub(in crate::telemetry) fn local() -> (Metrics, PrometheusHandle) {
    let recorder = builder().unwrap().build_recorder();
    let handle = recorder.handle();
    let metrics = metrics::with_local_recorder(&recorder, Metrics::register);
    (metrics, handle)
}

/// The series of a page by name and labels. Fails on a line that is no sample.
fn samples(page: &str) -> HashMap<&str, f64> {
    let lines = page
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            (series, value.parse().expect("a number"))
        })
        .collect()
}

const OBSERVED: Observed = Observed {
    sessions_active: 1,
    connections_active: 2,
    peers_verbs: 11,
    peers_tcp: 12,
    peers_down: 13,
    leases_active: 14,
    pool_free_bytes: 3 << 30,
    pool_reserved_bytes: 4,
    pool_in_flight_bytes: 5,
    pool_leased_bytes: 6,
    pool_quarantined_bytes: 7,
    pool_waiters: 8,
    pool_page_size_bytes: 2 << 20,
    pool_registered: true,
    volumes: 9,
    needles: 10,
    hugepages_stepped_down: true,
    fixed_buffers_stepped_down: false,
};

#[test]
fn every_family_is_there_from_the_start_with_help_and_type() {
    let (metrics, handle) = local();
    metrics.refresh(&OBSERVED);
    let page = handle.render();
    for (family, kind) in [
        ("rdma_operations_total", "counter"),
        ("rdma_operation_duration_seconds", "histogram"),
        ("rdma_bytes_transferred_total", "counter"),
        ("rdma_registrations_total", "counter"),
        ("rdma_completion_latency_seconds", "histogram"),
        ("rdma_reads_total", "counter"),
        ("rdma_read_attempts_failed_total", "counter"),
        ("rdma_fallbacks_total", "counter"),
        ("rdma_leases_expired_total", "counter"),
        ("rdma_pool_leases_total", "counter"),
        ("rdma_sessions_expired_total", "counter"),
        ("rdma_sessions_reclaimed_total", "counter"),
        ("rdma_checksum_mismatches_total", "counter"),
        ("rdma_client_crc_mismatches_total", "counter"),
        ("rdma_client_length_mismatches_total", "counter"),
        ("rdma_connections_refused_total", "counter"),
        ("rdma_sessions_active", "gauge"),
        ("rdma_connections_active", "gauge"),
        ("rdma_peers", "gauge"),
        ("rdma_leases_active", "gauge"),
        ("rdma_pool_bytes", "gauge"),
        ("rdma_pool_waiters", "gauge"),
        ("rdma_pool_page_size_bytes", "gauge"),
        ("rdma_pool_registered", "gauge"),
        ("rdma_volumes", "gauge"),
        ("rdma_needles", "gauge"),
        ("rdma_step_down", "gauge"),
        ("rdma_build_info", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
    ] {
        assert!(
            page.contains(&format!("# HELP {family} ")),
            "no help for {family}"
        );
        assert!(
            page.contains(&format!("# TYPE {family} {kind}\n")),
            "no type of {family}"
        );
        let sample = |line: &str| {
            line.strip_prefix(family)
                .is_some_and(|l| l.starts_with(['{', ' ', '_']))
        };
        assert!(page.lines().any(sample), "no sample of {family}");
    }
    let families = page
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .count();
    assert_eq!(families, 31, "a family that is not in this table");
}

#[test]
fn each_code_is_at_the_index_its_counter_is_at() {
    for (index, code) in Code::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, index);
    }
    assert_eq!(Operation::Unknown as usize + 1, Operation::LABELS.len());
    assert_eq!(Refusal::Limit as usize + 1, Refusal::LABELS.len());
}

#[test]
fn an_operation_is_counted_under_its_type_and_result_and_timed() {
    let (metrics, handle) = local();
    let elapsed = Duration::from_micros(7);
    metrics.operation(Operation::StartRead, Ok(()), elapsed);
    metrics.operation(Operation::StartRead, Ok(()), elapsed);
    metrics.operation(Operation::StartRead, Err(Code::InvalidRequest), elapsed);
    metrics.operation(
        Operation::Unknown,
        Err(Code::Internal),
        Duration::from_secs(60),
    );

    let page = handle.render();
    let samples = samples(&page);
    let count = |kind, result| {
        samples[format!("rdma_operations_total{{type=\"{kind}\",result=\"{result}\"}}").as_str()]
    };
    assert_eq!(count("start_read", "ok"), 2.0);
    assert_eq!(count("start_read", "invalid_request"), 1.0);
    assert_eq!(count("start_read", "internal"), 0.0);
    assert_eq!(count("unknown", "internal"), 1.0);
    assert_eq!(count("ping", "ok"), 0.0);

    let duration = "rdma_operation_duration_seconds";
    let bucket = |kind: &str, le: &str| {
        samples[format!("{duration}_bucket{{type=\"{kind}\",le=\"{le}\"}}").as_str()]
    };
    assert_eq!(bucket("start_read", "0.000001"), 0.0);
    assert_eq!(bucket("start_read", "0.0000063"), 0.0);
    assert_eq!(bucket("start_read", "0.00001"), 3.0);
    assert_eq!(bucket("start_read", "10"), 3.0);
    assert_eq!(bucket("unknown", "10"), 0.0);
    assert_eq!(bucket("unknown", "+Inf"), 1.0);
    assert_eq!(
        samples[format!("{duration}_sum{{type=\"unknown\"}}").as_str()],
        60.0
    );
    assert_eq!(
        samples[format!("{duration}_count{{type=\"start_read\"}}").as_str()],
        3.0
    );
}

#[test]
fn each_event_adds_to_its_own_counter() {
    let (metrics, handle) = local();
    metrics.bytes_read(1 << 40);
    metrics.connection_refused(Refusal::Uid);
    metrics.connection_refused(Refusal::Limit);
    metrics.connection_refused(Refusal::Limit);
    metrics.registrations.increment(3);
    metrics.pool_leases.increment(4);
    metrics.sessions_expired.increment(5);
    metrics.sessions_reclaimed.increment(6);
    metrics.checksum_mismatches.increment(7);
    metrics.client_crc_mismatches.increment(8);
    let page = handle.render();
    let samples = samples(&page);
    for (series, value) in [
        (
            "rdma_bytes_transferred_total{direction=\"read\"}",
            1_099_511_627_776.0,
        ),
        ("rdma_connections_refused_total{reason=\"uid\"}", 1.0),
        ("rdma_connections_refused_total{reason=\"limit\"}", 2.0),
        ("rdma_registrations_total", 3.0),
        ("rdma_pool_leases_total", 4.0),
        ("rdma_sessions_expired_total", 5.0),
        ("rdma_sessions_reclaimed_total", 6.0),
        ("rdma_checksum_mismatches_total", 7.0),
        ("rdma_client_crc_mismatches_total", 8.0),
    ] {
        assert_eq!(samples[series], value, "{series}");
    }
}

#[test]
fn the_gauges_are_what_was_observed() {
    let (metrics, handle) = local();
    metrics.refresh(&Observed::default());
    metrics.refresh(&OBSERVED);
    let page = handle.render();
    let samples = samples(&page);
    for (series, value) in [
        ("rdma_sessions_active", 1.0),
        ("rdma_connections_active", 2.0),
        ("rdma_pool_bytes{state=\"free\"}", 3_221_225_472.0),
        ("rdma_pool_bytes{state=\"reserved\"}", 4.0),
        ("rdma_pool_bytes{state=\"in_flight\"}", 5.0),
        ("rdma_pool_bytes{state=\"leased\"}", 6.0),
        ("rdma_pool_bytes{state=\"quarantined\"}", 7.0),
        ("rdma_pool_waiters", 8.0),
        ("rdma_pool_page_size_bytes", 2_097_152.0),
        ("rdma_pool_registered", 1.0),
        ("rdma_volumes", 9.0),
        ("rdma_needles", 10.0),
        ("rdma_step_down{kind=\"hugepages\"}", 1.0),
        ("rdma_step_down{kind=\"fixed_buffers\"}", 0.0),
        (
            concat!(
                "rdma_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
    ] {
        assert_eq!(samples[series], value, "{series}");
    }
    assert!(samples["process_resident_memory_bytes"] > 100_000.0);
    assert!(samples["process_open_fds"] >= 3.0);
}

#[test]
fn nothing_that_happens_adds_a_series() {
    let (metrics, handle) = local();
    let series = |page: String| -> HashSet<String> {
        samples(&page)
            .keys()
            .map(|series| (*series).to_owned())
            .collect()
    };
    let before = series(handle.render());
    let results = Code::ALL.into_iter().map(Err).chain([Ok(())]);
    for result in results {
        for operation in [
            Operation::StartRead,
            Operation::CompleteRead,
            Operation::GetCapabilities,
            Operation::Ping,
            Operation::AttachPool,
            Operation::Unknown,
        ] {
            metrics.operation(operation, result, Duration::from_millis(1));
        }
    }
    metrics.refresh(&OBSERVED);
    assert_eq!(series(handle.render()), before);
}

#[test]
fn the_buckets_rise_from_a_microsecond_to_ten_seconds() {
    assert!(BUCKETS_SECONDS.is_sorted_by(|a, b| a < b));
    assert_eq!(BUCKETS_SECONDS.first(), Some(&1e-6));
    assert_eq!(BUCKETS_SECONDS.last(), Some(&10.0));
}
