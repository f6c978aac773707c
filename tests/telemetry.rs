//! What the daemons tell of themselves, held against what a client counted itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::process::{Command, Output};

use common::client::{completion, range, whole};
use common::http::Metrics;
use common::reader::{MIB, Reader};
use common::through::engine_of;
use common::{Bystander, Client, Engine, Needle, Setup, Spec, TargetSetup, Volume, bytes};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{GetCapabilities, StartRead, StartReadResponse};
use rdma_engine::telemetry::{Doing, SessionEntry, SessionList};

/// Frames sent before their answers are taken; the engine takes 256 on.
const BATCH: usize = 100;

fn small() -> Needle {
    Needle::new(1, bytes(1, 100))
}

/// An engine with a small needle in volume 7 and room for `sessions` of it.
fn crowded(sessions: u64) -> Setup {
    let mut setup = Setup::new();
    setup.max_sessions = sessions;
    setup.buffer_size = 128 << 20;
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&small());
    setup
}

/// Makes the client known by a name.
fn introduce(client: &mut Client, name: &str) {
    client.call(GetCapabilities {
        client_id: Some(name.to_owned()),
        request_id: None,
    });
}

/// Starts the read so many times, and completes none.
fn start_all(client: &mut Client, read: &StartRead, count: usize) -> Vec<StartReadResponse> {
    let mut started = Vec::new();
    while started.len() < count {
        let batch = BATCH.min(count - started.len());
        (0..batch).for_each(|_| client.send(read.clone()));
        for _ in 0..batch {
            match client.receive() {
                Response::StartReadResponse(reply) => started.push(reply),
                other => panic!("{other:?}"),
            }
        }
    }
    started
}

fn complete_all(client: &mut Client, started: &[StartReadResponse]) {
    for batch in started.chunks(BATCH) {
        batch.iter().for_each(|s| client.send(completion(s)));
        for _ in batch {
            match client.receive() {
                Response::CompleteReadResponse(reply) => assert!(reply.success),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn listed(engine: &Engine) -> Vec<SessionEntry> {
    let answer = engine.get("/sessions");
    assert_eq!(answer.status, 200);
    let list: SessionList = serde_json::from_str(&answer.body).expect("a list");
    assert_eq!(list.limit, engine.setup.max_sessions);
    list.sessions
}

/// How many series of that name there are.
fn series(metrics: &Metrics, name: &str) -> usize {
    let begin = format!("{name}{{");
    metrics.0.keys().filter(|k| k.starts_with(&begin)).count()
}

#[test]
fn ten_thousand_sessions_are_told_within_the_bound_and_gone_once_they_end() {
    let engine = crowded(10_000).start();
    let mut client = engine.client();
    introduce(&mut client, "crowd");
    let started = start_all(&mut client, &whole(7, &small()), 10_000);

    let metrics = engine.await_metrics("all are older than a second", |m| {
        m.get("rdma_sessions_live_unlisted") == 9_980.0
    });
    assert!(metrics.0.len() <= 4_600, "{} series", metrics.0.len());
    assert_eq!(series(&metrics, "rdma_session_live_bytes"), 20);
    assert_eq!(metrics.get("rdma_session_live_bytes"), 2_000.0);
    assert_eq!(metrics.get("rdma_client_sessions"), 10_000.0);
    let crowd = |name: &str| metrics.sum(name, |l| l.contains(r#"client="crowd""#));
    assert_eq!(crowd("rdma_client_reads_total"), 10_000.0);
    assert_eq!(crowd("rdma_client_bytes_total"), 1_000_000.0);
    let leased = metrics.sum("rdma_pool_bytes", |l| l.contains("leased"));
    assert_eq!(crowd("rdma_client_pool_bytes"), leased);

    let sessions = listed(&engine);
    assert_eq!(sessions.len(), 10_000);
    for session in &sessions {
        assert_eq!((session.client.as_str(), session.volume), ("crowd", 7));
        assert_eq!((session.needle.as_str(), session.bytes), ("1", 100));
        assert_eq!(session.state, Doing::Held);
        assert!(session.rate_bytes_per_second > 0.0 && session.seconds_left <= 300.0);
    }
    let page = engine.get("/sessions").body + &engine.get("/metrics").body;
    for reply in started.iter().step_by(500) {
        assert!(!page.contains(&reply.session_id), "a whole id is shown");
    }

    complete_all(&mut client, &started);
    assert!(listed(&engine).is_empty());
    let metrics = engine.metrics();
    assert_eq!(series(&metrics, "rdma_session_live_bytes"), 0);
    assert_eq!(metrics.get("rdma_sessions_live_unlisted"), 0.0);
    assert_eq!(metrics.get("rdma_client_sessions"), 0.0);
    assert_eq!(metrics.get("rdma_session_lifetime_seconds_count"), 10_000.0);
}

#[test]
fn the_stages_of_reads_add_up_to_what_the_client_was_told() {
    let engine = crowded(1_000).start();
    let mut client = engine.client();
    let mut told_ns = 0;
    let mut completion_ns = 0;
    let mut landed = 0;
    for length in 1..=50 {
        let reply = client.start(&range(7, &small(), 0, length)).unwrap();
        let (took, completed) = (reply.elapsed_ns.unwrap(), reply.completion_ns.unwrap());
        assert!(
            0 < completed && completed <= took,
            "{completed} of {took} ns"
        );
        told_ns += took;
        completion_ns += completed;
        landed += reply.transfer_size;
        client.complete(&reply);
    }
    client.refusal(&whole(7, &Needle::new(2, bytes(2, 100))));

    let metrics = engine.metrics();
    let about = |seconds: f64, ns: u64| (seconds * 1e9 - ns as f64).abs() < 1_000.0;
    let stages = metrics.get("rdma_read_stage_seconds_sum");
    assert!(about(stages, told_ns), "{stages} s and {told_ns} ns");
    let local = |name: &str| metrics.sum(name, |l| l.contains("local"));
    let latency = local("rdma_completion_latency_seconds_sum");
    assert!(
        about(latency, completion_ns),
        "{latency} s, {completion_ns} ns"
    );
    for stage in ["buffer_wait", "submit", "transport", "verify", "reply"] {
        let of = |l: &str| l.contains(&format!(r#"stage="{stage}""#));
        assert_eq!(metrics.sum("rdma_read_stage_seconds_count", of), 50.0);
    }
    assert_eq!(local("rdma_completion_latency_seconds_count"), 50.0);
    assert_eq!(local("rdma_reads_total"), 50.0);
    assert_eq!(local("rdma_read_attempts_total"), 51.0);
    assert_eq!(metrics.get("rdma_session_size_bytes_sum"), landed as f64);
    assert_eq!(
        metrics.get("rdma_session_throughput_bytes_per_second_count"),
        50.0
    );
    let missing = |l: &str| l.contains(r#"code="needle_not_found""#);
    assert_eq!(metrics.sum("rdma_errors_total", missing), 1.0);
    assert_eq!(metrics.get("rdma_client_errors_total"), 1.0);
    assert!(metrics.get("rdma_uring_completions_total") >= 50.0);
    let rings = ["submissions", "completions"].map(|n| format!("rdma_uring_{n}_total"));
    assert_eq!(metrics.get(&rings[0]), metrics.get(&rings[1]));
    assert!(metrics.get("rdma_uring_enters_total") >= 50.0);
    assert_eq!(metrics.get("rdma_uring_overflows_total"), 0.0);
}

#[test]
fn waits_for_room_and_reads_that_found_none_are_counted() {
    let mut setup = crowded(1_000);
    setup.buffer_size = 1 << 20;
    let setup = setup.set("max_transfer_size", "\"256KiB\"");
    let mut volume = Volume::create(setup.volumes(), 8, &Spec::default());
    // Four of them fit into the pool, and a fifth never does.
    let large = Needle::new(1, bytes(1, 250_000));
    volume.put(&large);
    let engine = setup.start();
    let mut client = engine.client();
    for _ in 0..4 {
        client.start(&whole(8, &large)).unwrap();
    }
    assert_eq!(engine.metrics().get("rdma_pool_wait_seconds_count"), 0.0);
    let impatient = StartRead {
        timeout_secs: 1,
        ..whole(8, &large)
    };
    client.refusal(&impatient);
    let metrics = engine.metrics();
    assert_eq!(metrics.get("rdma_pool_exhausted_total"), 1.0);
    assert_eq!(metrics.get("rdma_pool_wait_seconds_count"), 1.0);
    assert!(metrics.get("rdma_pool_wait_seconds_sum") > 0.0);
    assert!(metrics.get("rdma_pool_largest_free_bytes") < 250_000.0);
}

#[test]
fn reads_are_counted_by_client_and_volume_up_to_the_limits() {
    let setup = crowded(1_000)
        .set("client_series", "1")
        .set("volume_series", "1");
    let engine = setup.start();
    let mut client = engine.client();
    introduce(&mut client, "one\u{1b}[2J\n");
    for read in [whole(7, &small()), Bystander::whole(), whole(7, &small())] {
        let reply = client.start(&read).unwrap();
        client.complete(&reply);
    }
    let metrics = engine.metrics();
    let of = |name: &str, label: &str| metrics.sum(name, |l| l.contains(&format!("\"{label}\"")));
    assert_eq!(of("rdma_client_reads_total", "one?[2J?"), 3.0);
    assert_eq!(of("rdma_volume_reads_total", "7"), 2.0);
    assert_eq!(of("rdma_volume_bytes_total", "7"), 200.0);
    assert_eq!(of("rdma_volume_reads_total", "other"), 1.0);
    assert_eq!(of("rdma_volume_bytes_total", "other"), 10_000.0);
}

#[test]
fn a_target_counts_its_engines_and_volumes_and_lists_no_lease_where_none_can_be() {
    let needle = Needle::new(1, bytes(1, 10_000));
    let target = TargetSetup::with(std::slice::from_ref(&needle)).start();
    let engine = Setup::new().peer("t", target.address()).start();
    engine.await_peer("t");
    let before = target.metrics();
    let mut client = engine.client();
    let reply = client.start(&whole(7, &needle)).unwrap();
    assert!(reply.completion_ns.unwrap() <= reply.elapsed_ns.unwrap());
    client.complete(&reply);
    let after = target.metrics();
    let grown = |name: &str, label: &str| {
        let of = |m: &Metrics| m.sum(name, |l| l.contains(&format!("\"{label}\"")));
        of(&after) - of(&before)
    };
    assert_eq!(grown("rdma_client_reads_total", "127.0.0.1"), 1.0);
    assert_eq!(grown("rdma_client_bytes_total", "127.0.0.1"), 10_000.0);
    assert_eq!(grown("rdma_operations_total", "fetch"), 1.0);
    assert!(after.get("rdma_leases_limit") > 0.0);
    assert_eq!(after.get("rdma_sessions_limit"), 0.0);
    let metrics = engine.metrics();
    assert_eq!(metrics.get("rdma_peer_up"), 1.0);
    assert_eq!(metrics.get("rdma_peer_reconnects_total"), 0.0);
}

#[test]
fn a_target_counts_what_it_stages_and_what_it_sends_straight_from_a_file() {
    let (small, large) = (small(), Needle::new(2, bytes(2, MIB)));
    let target = TargetSetup::with(&[small.clone(), large.clone()]).start();
    let engine = engine_of(&target);
    let mut reader = Reader::over_tcp(&engine);
    let counts = |metrics: &Metrics, transport: &str| {
        let is = |l: &str| l.contains(&format!(r#"transport="{transport}""#));
        assert_eq!(metrics.sum("rdma_read_attempts_failed_total", is), 0.0);
        let tried = metrics.sum("rdma_read_attempts_total", is);
        (
            tried,
            metrics.sum("rdma_completion_latency_seconds_count", is),
        )
    };
    let before = counts(&target.metrics(), "local").0;
    for needle in [&small, &large, &large] {
        assert!(reader.fetch(&whole(7, needle)).0 == needle.data);
    }
    target.await_metrics("all are counted", |m| {
        counts(m, "local") == (before + 1.0, before + 1.0) && counts(m, "tcp") == (2.0, 2.0)
    });
}

fn sessions(engine: &Engine, flags: &[&str]) -> Output {
    let mut command = Command::new(common::setup::binary());
    command.arg("sessions").args(flags);
    command.args(["--metrics", &engine.http_address().to_string()]);
    command.output().unwrap()
}

#[test]
fn the_sessions_command_shows_them_once_where_there_is_no_terminal() {
    let engine = crowded(1_000).start();
    let mut client = engine.client();
    introduce(&mut client, "shown\u{7}");
    let reply = client.start(&whole(7, &small())).unwrap();
    let output = sessions(&engine, &[]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("1 of 1000 open, 100 B held\n"), "{table}");
    assert!(
        table.contains(" shown? ") && !table.contains(&reply.session_id),
        "{table}"
    );
    assert!(!table.contains('\x1b'));
    let json = sessions(&engine, &["--json", "--sort", "age"]).stdout;
    let list: SessionList = serde_json::from_slice(&json).unwrap();
    assert_eq!(list.sessions.len(), 1);
    client.complete(&reply);
    let list: SessionList = serde_json::from_slice(&sessions(&engine, &["--json"]).stdout).unwrap();
    assert!(list.sessions.is_empty());
}

#[test]
fn each_session_has_one_line_of_json_when_it_ends_and_no_secret_is_in_it() {
    let setup = crowded(1_000).set("debug", "true");
    let token = setup.dir.path().join("token");
    std::fs::write(&token, "s3cret-word\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&token, mode).unwrap();
    let setup = setup.set("log_format", "\"json\"");
    let engine = setup.set("auth_token_file", &format!("{token:?}")).start();
    let mut client = engine.client();
    introduce(&mut client, "logged");
    let read = StartRead {
        auth_token: Some("s3cret-word".to_owned()),
        ..whole(7, &small())
    };
    let reply = client.start(&read).unwrap();
    client.complete(&reply);
    let missing = StartRead {
        needle_id: 99,
        ..read
    };
    assert_eq!(client.refusal(&missing), "NEEDLE_NOT_FOUND");
    let log = engine.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON, line by line"))
        .collect();
    let ended: Vec<_> = lines
        .iter()
        .filter(|l| l["message"] == "session ended")
        .collect();
    let [ended, failed] = ended[..] else {
        panic!("{ended:?}");
    };
    assert_eq!(ended["level"], "DEBUG");
    assert_eq!(
        (&ended["client"], &ended["result"]),
        (&"logged".into(), &"completed".into())
    );
    assert_eq!(
        (&ended["volume"], &ended["bytes"]),
        (&7.into(), &100.into())
    );
    assert_eq!(
        (&ended["needle"], &ended["transport"]),
        (&"1".into(), &"local".into())
    );
    let stages_of = |line: &serde_json::Value| {
        let stages = ["buffer_wait", "submit", "transport", "verify", "reply"];
        stages.map(|stage| line[format!("{stage}_seconds")].as_f64().unwrap())
    };
    let stages = stages_of(ended);
    let told = reply.elapsed_ns.unwrap() as f64 / 1e9;
    let sum = stages.iter().sum::<f64>();
    assert!((sum - told).abs() < 1e-9, "{stages:?} of {told}");
    let read = &failed["span"];
    assert_eq!(
        (&read["client"], &read["needle"], &failed["result"]),
        (&"logged".into(), &"63".into(), &"NEEDLE_NOT_FOUND".into())
    );
    let spent = stages_of(read);
    let took = failed["took_seconds"].as_f64().unwrap();
    assert!(spent[0] == 0.0 && spent[4] == 0.0 && took > 0.0, "{read}");
    assert!(
        !log.contains("s3cret-word") && !log.contains(&reply.session_id),
        "{log}"
    );
}

#[test]
fn a_bad_list_of_buckets_is_refused_at_start_with_the_reason() {
    for (list, why) in [
        ("[]", "there are none"),
        ("[1.0, 0.5]", "1 is followed by 0.5"),
        ("[1.0, 1.0]", "1 is followed by 1"),
        ("[0.0, 1.0]", "0 is out of range"),
        ("[-1.0]", "-1 is out of range"),
        ("[nan]", "NaN is out of range"),
        ("[inf]", "inf is out of range"),
        ("[\"1s\"]", "is of type string"),
        ("0.5", "is of type float"),
    ] {
        let setup = Setup::new().set("histogram_buckets", list);
        let output = setup.command().output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{list}: {complaint}");
        assert!(complaint.contains("histogram_buckets"), "{complaint}");
        assert!(complaint.contains(why), "{list}: {complaint}");
        assert!(
            complaint.contains("allowed: a list of 1 to 512"),
            "{complaint}"
        );
    }
    let engine = Setup::new().set("histogram_buckets", "[0.001, 1]").start();
    let metrics = engine.metrics();
    assert_eq!(series(&metrics, "rdma_pool_wait_seconds_bucket"), 3);
}
