//! What Prometheus gets to see.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::super::families::FAMILIES;
use super::super::live::tests::live;
use super::super::{Journal, PeerState, PoolState, RingState, Stages, VerbsState};
use super::*;
use crate::pool::{Owner, Pages, Pool, Usage};
use crate::session::{Came, Clients, Held, Opening, Sessions};

/// Metrics with the settings there are by default.
pub(in crate::telemetry) fn local() -> Metrics {
    Metrics::new(&MetricsSettings::default())
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

/// A state in which every reading is another.
fn observed() -> Observed {
    let peer = |name: &str, connected, with_verbs| PeerState {
        name: name.to_owned(),
        connected,
        with_verbs,
        reconnects: 21,
    };
    Observed {
        sessions_active: 1,
        sessions_limit: 22,
        connections_active: 2,
        connections_limit: 23,
        leases_active: 14,
        leases_limit: 24,
        pool: PoolState {
            usage: Usage {
                total: 4 << 30,
                free: 3 << 30,
                reserved: 4,
                in_flight: 5,
                leased: 6,
                quarantined: 7,
                largest_free: 25,
                waiting: 8,
                granted: 26,
            },
            page_size_bytes: 2 << 20,
            registered: true,
        },
        volumes: 9,
        volumes_unreadable: 27,
        needles: 10,
        follow_lag_seconds: 0.5,
        hugepages_stepped_down: true,
        fixed_buffers_stepped_down: false,
        peers: vec![
            peer("a", true, true),
            peer("b", true, false),
            peer("c", false, false),
        ],
        queue_pairs: [28, 29, 30],
        rings: RingState {
            submissions: 31,
            completions: 32,
            enters: 33,
            overflows: 34,
        },
        verbs: VerbsState {
            posted: 35,
            completions: vec![("success", 36), ("wr_flush_err", 37)],
            polls_hit: 38,
            sleeps: 39,
            rate: Some(12.5e9),
        },
    }
}

/// The state of a daemon that has nothing.
fn bare() -> Observed {
    Observed {
        verbs: crate::verbs::Adapter::state(None),
        ..Observed::default()
    }
}

/// Of a family there is always a sample, except of what there may be nothing of.
fn may_have_no_sample(family: &str) -> bool {
    family.starts_with("rdma_session_live_")
        || family.starts_with("process_")
        || [
            "rdma_device_rate_bytes_per_second",
            "rdma_peer_up",
            "rdma_peer_reconnects_total",
        ]
        .contains(&family)
}

#[test]
fn every_family_is_there_from_the_start_with_help_and_type_and_its_labels() {
    for observed in [observed(), bare()] {
        let has_all = !observed.peers.is_empty();
        let metrics = local();
        let sessions = [live(1, "a", &metrics.clients, 1, 2)];
        let page = metrics.page(&observed, if has_all { &sessions } else { &[] });
        for family in FAMILIES {
            let (name, kind) = (family.name, family.kind.as_str());
            let head = format!("# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
            let suffix = if kind == "histogram" { "_sum" } else { "" };
            let sample = page.lines().find_map(|line| {
                let rest = line.strip_prefix(name)?.strip_prefix(suffix)?;
                rest.starts_with(['{', ' ']).then_some(rest)
            });
            assert!(
                page.matches(&head).count() == 1 || sample.is_none(),
                "{name}"
            );
            let Some(sample) = sample else {
                assert!(!has_all && may_have_no_sample(name), "no sample of {name}");
                continue;
            };
            let labels: Vec<&str> = sample
                .split_once('}')
                .map_or("", |(labels, _)| labels)
                .split(['{', ','])
                .filter_map(|label| Some(label.split_once('=')?.0))
                .collect();
            assert_eq!(labels.join(" "), family.labels, "labels of {name}");
        }
        let families = page.lines().filter(|line| line.starts_with("# TYPE "));
        let families: Vec<&str> = families.collect();
        let once: HashSet<&str> = families.iter().copied().collect();
        assert_eq!(families.len(), once.len(), "a family is there twice");
        assert!(families.len() <= FAMILIES.len());
        assert!(!has_all || families.len() == FAMILIES.len());
    }
}

/// What `promtool check metrics` asks of names, types and help.
#[test]
fn names_follow_the_conventions_of_prometheus() {
    for family in FAMILIES {
        let (name, kind) = (family.name, family.kind.as_str());
        let shape = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(shape), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        for suffix in ["_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        if kind == "histogram" {
            let unit = ["_seconds", "_bytes", "_bytes_per_second"];
            assert!(unit.iter().any(|unit| name.ends_with(unit)), "{name}");
        }
        for other in [
            "milliseconds",
            "_ms",
            "_us",
            "_ns",
            "kilobytes",
            "mebibytes",
            "percent",
        ] {
            assert!(!name.contains(other), "{name}: {other} is no base unit");
        }
        for kind in ["gauge", "counter", "histogram"] {
            assert!(!name.contains(kind), "{name} has its type in its name");
        }
        assert!(
            !family.help.is_empty() && family.help.ends_with('.'),
            "{name}"
        );
        assert!(
            !family
                .labels
                .split(' ')
                .any(|label| ["le", "job", "instance"].contains(&label))
        );
    }
}

#[test]
fn the_readme_has_every_metric_with_its_type_labels_and_help() {
    let readme = include_str!("../../README.md");
    let row = |f: &super::super::families::Family| {
        let labels = f.labels.split(' ').filter(|l| !l.is_empty());
        let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
        let (name, kind, daemon) = (f.name, f.kind.as_str(), f.daemon);
        format!(
            "| `{name}` | {kind} | {} | {daemon} | {} |",
            labels.join(", "),
            f.help
        )
    };
    let expected: Vec<String> = FAMILIES.iter().map(row).collect();
    let told = readme
        .lines()
        .filter(|line| line.starts_with("| `rdma_") || line.starts_with("| `process_"));
    let told: Vec<&str> = told.collect();
    assert_eq!(
        told,
        expected,
        "the table should be:\n{}",
        expected.join("\n")
    );
}

/// The series there are at most, as the README says.
const SERIES_MAX: usize = 4_600;

/// What a daemon does with many clients and sessions, without the sockets.
struct Crowd {
    metrics: Metrics,
    pool: Arc<Pool>,
    sessions: Arc<Sessions>,
    clients: Clients,
}

impl Crowd {
    fn new() -> Self {
        Self {
            metrics: local(),
            pool: Pool::new(64 << 20, 1 << 20, Pages::Ordinary).unwrap(),
            sessions: Sessions::new(10_000),
            clients: Clients::default(),
        }
    }

    /// One session of each of 10,000 needles, held by 1,000 clients that each have a name.
    fn gather(&self, since: Instant) -> Vec<crate::session::SessionId> {
        metrics::with_local_recorder(&self.metrics.exporter, || self.hold_all(since))
    }

    fn hold_all(&self, since: Instant) -> Vec<crate::session::SessionId> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let clients: Vec<_> = (0..1000)
            .map(|number| {
                let (key, identity) = self.clients.connected(None, number);
                identity.say(&format!("client {number}"));
                (key, identity)
            })
            .collect();
        let hold = |number: u32| {
            let (key, identity) = &clients[number as usize % clients.len()];
            let who = identity.get(&self.metrics.clients);
            let opening = Opening {
                client: Arc::clone(who),
                volume: number,
                needle: u64::from(number),
            };
            let times = (since, since + Duration::from_secs(300));
            let admission = self.sessions.admit(*key, opening, times).unwrap();
            let soon = tokio::time::Instant::now() + Duration::from_secs(60);
            let buffer = runtime.block_on(self.pool.reserve(Owner(key.0), 1, soon));
            let buffer = buffer.unwrap();
            self.metrics.landed(&Landing {
                transport: Transport::Local,
                bytes: 1,
                completion: 5_000,
                client: who.series.number,
                volume: self.metrics.volume(number).number,
            });
            let held = Held {
                lease: buffer.lease(),
                transfer_size: 1,
                crc: 0,
                came: Came {
                    transport: Transport::Local,
                    stages: Stages::default(),
                },
            };
            admission.hold(held).unwrap()
        };
        (0..10_000).map(hold).collect()
    }

    fn page(&self, now: Instant) -> String {
        let mut observed = observed();
        // As many peers as there may be.
        let peer = |number| PeerState {
            name: format!("peer{number}"),
            ..PeerState::default()
        };
        observed.peers = (0..crate::config::PEERS_MAX).map(peer).collect();
        self.metrics.page(&observed, &self.sessions.live(now))
    }
}

#[test]
fn ten_thousand_sessions_of_a_thousand_clients_stay_within_the_bound_and_leave_nothing() {
    let crowd = Crowd::new();
    let since = Instant::now();
    let now = since + Duration::from_secs(2);
    let ids = crowd.gather(since);
    let page = crowd.page(now);
    let all = samples(&page);
    assert!(all.len() <= SERIES_MAX, "{} series", all.len());
    assert!(include_str!("../../README.md").contains("at most 4,600 series"));
    let of = |name: &str| {
        let name = format!("{name}{{");
        all.iter()
            .filter(move |(series, _)| series.starts_with(&name))
    };
    assert_eq!(of("rdma_session_live_bytes").count(), 20);
    assert_eq!(all["rdma_sessions_live_unlisted"], 9_980.0);
    assert_eq!(of("rdma_client_sessions").count(), 51);
    assert_eq!(all["rdma_client_sessions{client=\"client 0\"}"], 10.0);
    assert_eq!(all["rdma_client_sessions{client=\"other\"}"], 9_500.0);
    let bytes: f64 = of("rdma_client_pool_bytes").map(|(_, value)| value).sum();
    assert_eq!(bytes, 10_000.0 * 4096.0);
    assert_eq!(of("rdma_volume_reads_total").count(), 201);
    if !cfg!(feature = "noop-metrics") {
        assert_eq!(all["rdma_volume_reads_total{volume=\"other\"}"], 9_800.0);
        assert_eq!(all["rdma_client_reads_total{client=\"other\"}"], 9_500.0);
    }
    let listed = super::super::live::json(&crowd.sessions.live(now), 10_000);
    let listed: super::super::SessionList = serde_json::from_slice(&listed).unwrap();
    assert_eq!(listed.sessions.len(), 10_000);
    let names: HashSet<_> = listed.sessions.iter().map(|s| s.client.as_str()).collect();
    assert_eq!(names.len(), 1_000, "the list has every client's own name");
    let whole: HashSet<String> = ids.iter().map(ToString::to_string).collect();
    assert!(listed.sessions.iter().all(|s| !whole.contains(&s.session)));

    for id in ids {
        crowd.sessions.complete(id, now).unwrap();
    }
    let page = crowd.page(now);
    assert!(!page.contains("rdma_session_live_bytes{"));
    let all = samples(&page);
    assert_eq!(all["rdma_sessions_live_unlisted"], 0.0);
    assert_eq!(all["rdma_client_sessions{client=\"other\"}"], 0.0);
    assert_eq!(all["rdma_client_pool_bytes{client=\"client 0\"}"], 0.0);
    assert!(crowd.sessions.live(now).is_empty());
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
    let metrics = local();
    let elapsed = Duration::from_micros(7);
    metrics.operation(Operation::StartRead, Ok(()), elapsed);
    metrics.operation(Operation::StartRead, Ok(()), elapsed);
    metrics.operation(Operation::StartRead, Err(Code::InvalidRequest), elapsed);
    metrics.operation(
        Operation::Unknown,
        Err(Code::Internal),
        Duration::from_secs(60),
    );

    let page = metrics.page(&observed(), &[]);
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
    assert_eq!(bucket("start_read", "0.000006918"), 0.0);
    assert_eq!(bucket("start_read", "0.000007586"), 3.0);
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
    let metrics = local();
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
    let page = metrics.page(&observed(), &[]);
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
    let metrics = local();
    let page = metrics.page(&observed(), &[]);
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
        ("rdma_sessions_limit", 22.0),
        ("rdma_connections_limit", 23.0),
        ("rdma_leases_active", 14.0),
        ("rdma_leases_limit", 24.0),
        ("rdma_pool_size_bytes", 4_294_967_296.0),
        ("rdma_pool_largest_free_bytes", 25.0),
        ("rdma_volumes_unreadable", 27.0),
        ("rdma_follow_lag_seconds", 0.5),
        ("rdma_peers{state=\"verbs\"}", 1.0),
        ("rdma_peers{state=\"tcp\"}", 1.0),
        ("rdma_peers{state=\"down\"}", 1.0),
        ("rdma_peer_up{peer=\"b\"}", 1.0),
        ("rdma_peer_up{peer=\"c\"}", 0.0),
        ("rdma_peer_reconnects_total{peer=\"a\"}", 21.0),
        ("rdma_queue_pairs{state=\"ready\"}", 28.0),
        ("rdma_queue_pairs{state=\"error\"}", 29.0),
        ("rdma_queue_pairs{state=\"connecting\"}", 30.0),
        ("rdma_uring_submissions_total", 31.0),
        ("rdma_uring_completions_total", 32.0),
        ("rdma_uring_enters_total", 33.0),
        ("rdma_uring_overflows_total", 34.0),
        ("rdma_verbs_posted_total", 35.0),
        ("rdma_verbs_completions_total{status=\"success\"}", 36.0),
        ("rdma_verbs_polls_hit_total", 38.0),
        ("rdma_verbs_sleeps_total", 39.0),
        ("rdma_device_rate_bytes_per_second", 12.5e9),
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
fn the_rate_of_a_device_that_no_longer_tells_it_is_gone() {
    let metrics = local();
    let rate = "\nrdma_device_rate_bytes_per_second ";
    assert!(metrics.page(&observed(), &[]).contains(rate));
    assert!(!metrics.page(&bare(), &[]).contains(rate));
}

#[test]
fn nothing_that_happens_adds_a_series() {
    let metrics = local();
    let series = |page: String| -> HashSet<String> {
        samples(&page)
            .keys()
            .map(|series| (*series).to_owned())
            .collect()
    };
    let before = series(metrics.page(&observed(), &[]));
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
    assert_eq!(series(metrics.page(&observed(), &[])), before);
}

#[test]
fn errors_are_counted_by_code_over_all_operations() {
    let metrics = local();
    metrics.operation(Operation::StartRead, Err(Code::IoError), Duration::ZERO);
    metrics.operation(Operation::Fetch, Err(Code::IoError), Duration::ZERO);
    metrics.operation(Operation::Fetch, Ok(()), Duration::ZERO);
    let page = metrics.page(&observed(), &[]);
    assert_eq!(samples(&page)["rdma_errors_total{code=\"io_error\"}"], 2.0);
}

/// A read of `bytes` from volume 3, for all the clients that have no series of their own.
fn landing(bytes: u64) -> Landing {
    Landing {
        transport: Transport::Local,
        bytes,
        completion: 5_000,
        client: 0,
        volume: 0,
    }
}

/// The stages of a read that took a millisecond.
fn millisecond() -> Stages {
    Stages {
        nanos: [0, 200_000, 500_000, 200_000, 100_000],
    }
}

#[cfg(not(feature = "noop-metrics"))]
#[test]
fn each_read_is_counted_once_whether_many_or_few_were_written_down() {
    let metrics = Arc::new(local());
    let journal = Journal::new(Arc::clone(&metrics));
    let volume = metrics::with_local_recorder(&metrics.exporter, || metrics.volume(3).number);
    let mut written = 0.0;
    for more in [1, 63, 1, 1500, 200, 0] {
        for _ in 0..more {
            let tcp = Transport::Tcp(Some(Fallback::Peer));
            for (transport, volume) in [(tcp, volume), (Transport::Local, 0)] {
                let landing = Landing {
                    transport,
                    volume,
                    ..landing(1000)
                };
                journal.answered(landing, millisecond());
            }
            journal.completed(Duration::from_secs(2), Duration::from_micros(7));
        }
        written += f64::from(more);
        let page = metrics.page(&observed(), &[]);
        let all = samples(&page);
        for (series, of_each) in [
            (
                "rdma_operations_total{type=\"start_read\",result=\"ok\"}",
                2.0,
            ),
            (
                "rdma_operation_duration_seconds_count{type=\"start_read\"}",
                2.0,
            ),
            (
                "rdma_operation_duration_seconds_sum{type=\"start_read\"}",
                0.002,
            ),
            (
                "rdma_operations_total{type=\"complete_read\",result=\"ok\"}",
                1.0,
            ),
            (
                "rdma_operation_duration_seconds_sum{type=\"complete_read\"}",
                7e-6,
            ),
            ("rdma_reads_total{transport=\"local\"}", 1.0),
            ("rdma_reads_total{transport=\"tcp\"}", 1.0),
            (
                "rdma_completion_latency_seconds_sum{transport=\"tcp\"}",
                5e-6,
            ),
            ("rdma_fallbacks_total{reason=\"peer_without_verbs\"}", 1.0),
            ("rdma_bytes_transferred_total{direction=\"read\"}", 2000.0),
            ("rdma_session_size_bytes_sum", 2000.0),
            ("rdma_session_throughput_bytes_per_second_count", 2.0),
            ("rdma_session_lifetime_seconds_sum", 2.0),
            ("rdma_pool_leases_total", 2.0),
            ("rdma_client_bytes_total{client=\"other\"}", 2000.0),
            ("rdma_volume_reads_total{volume=\"3\"}", 1.0),
            ("rdma_volume_bytes_total{volume=\"other\"}", 1000.0),
            ("rdma_read_stage_seconds_count{stage=\"buffer_wait\"}", 2.0),
            ("rdma_read_stage_seconds_sum{stage=\"verify\"}", 0.0004),
        ] {
            let (is, expected) = (all[series], written * of_each);
            assert!(
                (is - expected).abs() < 1e-9,
                "{series}: {is}, not {expected}"
            );
        }
    }
}

#[cfg(not(feature = "noop-metrics"))]
#[test]
fn a_worker_that_writes_while_the_page_is_made_loses_nothing() {
    const READS: u32 = 20_000;
    let metrics = Arc::new(local());
    let name = "rdma_read_stage_seconds_count{stage=\"reply\"}";
    let count = || samples(&metrics.page(&observed(), &[]))[name];
    std::thread::scope(|scope| {
        let writers = [(); 2].map(|()| {
            scope.spawn(|| {
                let journal = Journal::new(Arc::clone(&metrics));
                (0..READS).for_each(|_| journal.answered(landing(1), millisecond()));
            })
        });
        let mut before = 0.0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let now = count();
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
    });
    assert_eq!(count(), 2.0 * f64::from(READS));
}

#[cfg(not(feature = "noop-metrics"))]
#[test]
fn no_line_is_written_over_before_it_is_counted_although_nobody_looks() {
    let metrics = Arc::new(local());
    let journal = Journal::new(Arc::clone(&metrics));
    (1..=1000).for_each(|bytes| journal.answered(landing(bytes), millisecond()));
    let page = metrics.page(&observed(), &[]);
    let sum = samples(&page)["rdma_session_size_bytes_sum"];
    assert_eq!(sum, 500_500.0);
}

#[cfg(not(feature = "noop-metrics"))]
#[test]
fn what_is_too_large_for_a_line_of_the_journal_is_counted_at_once() {
    let metrics = Arc::new(local());
    let journal = Journal::new(Arc::clone(&metrics));
    journal.answered(landing(1 << 40), millisecond());
    journal.completed(Duration::from_secs(3600), Duration::from_micros(7));
    let page = metrics.page(&observed(), &[]);
    let all = samples(&page);
    for (series, value) in [
        (
            "rdma_bytes_transferred_total{direction=\"read\"}",
            (1u64 << 40) as f64,
        ),
        (
            "rdma_operations_total{type=\"start_read\",result=\"ok\"}",
            1.0,
        ),
        ("rdma_session_lifetime_seconds_sum", 3600.0),
    ] {
        assert_eq!(all[series], value, "{series}");
    }
}

#[test]
fn the_throughput_of_a_read_is_in_the_bucket_of_its_bytes_a_second() {
    let metrics = Arc::new(local());
    let journal = Journal::new(Arc::clone(&metrics));
    let name = "rdma_session_throughput_bytes_per_second";
    // 100 MB/s, at a bound and just beyond it.
    for bytes in [100_000, 100_001] {
        journal.answered(landing(bytes), millisecond());
    }
    let page = metrics.page(&observed(), &[]);
    let all = samples(&page);
    assert_eq!(
        all[format!("{name}_bucket{{le=\"91200000\"}}").as_str()],
        0.0
    );
    assert_eq!(
        all[format!("{name}_bucket{{le=\"100000000\"}}").as_str()],
        1.0
    );
    assert_eq!(
        all[format!("{name}_bucket{{le=\"109600000\"}}").as_str()],
        2.0
    );
    assert_eq!(all[format!("{name}_sum").as_str()], 200_001_000.0);
}

#[test]
fn the_buckets_of_times_are_those_that_were_set() {
    let settings = MetricsSettings {
        histogram_buckets: Some(vec![0.5, 2.0]),
        ..MetricsSettings::default()
    };
    let page = Metrics::new(&settings).page(&observed(), &[]);
    let bounds = page
        .lines()
        .filter(|l| l.starts_with("rdma_pool_wait_seconds_bucket"));
    assert_eq!(bounds.count(), 3);
}
