//! The HTTP endpoints, and that the metrics count what was done.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::completion;
use common::http::Metrics;
use common::{Bystander, Setup};
use rdma_engine::protocol::message::{CompleteRead, StartRead};

const MIB: u64 = 1 << 20;

#[test]
fn http_endpoints_answer_and_any_other_path_is_not_found() {
    let engine = Setup::new().start();
    engine.bystander().served();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(engine.get(path).status, 200, "{path}");
    }
    let metrics = engine.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.head.contains("content-type: text/plain"),
        "{}",
        metrics.head
    );
    for path in [
        "/",
        "/metric",
        "/metrics/",
        "/healthz/x",
        "/../etc/passwd",
        "//metrics",
    ] {
        assert_eq!(engine.get(path).status, 404, "{path}");
    }
}

#[test]
fn metrics_count_what_was_done() {
    let engine = Setup::new().start();
    let before = engine.metrics();
    let mut bystander = engine.bystander();
    for _ in 0..10 {
        bystander.served();
    }
    let refused = StartRead {
        volume_id: 1,
        ..Bystander::whole()
    };
    bystander.client.refusal(&refused);
    let after = engine.metrics();
    let grown = |name: &str, labels: &[&str]| {
        let count = |m: &Metrics| m.sum(name, |l| labels.iter().all(|w| l.contains(w)));
        count(&after) - count(&before)
    };
    // 10,000 bytes whole and 200 in part, ten times.
    assert_eq!(grown("rdma_bytes_transferred_total", &[]), 102_000.0);
    assert_eq!(
        grown("rdma_operations_total", &[r#"result="ok""#]),
        10.0 * 5.0 + 1.0
    );
    assert_eq!(
        grown("rdma_operations_total", &[r#"result="volume_not_found""#]),
        1.0
    );
    let buckets = "rdma_operation_duration_seconds_bucket";
    assert_eq!(
        grown(buckets, &[r#"le="+Inf""#, r#"type="start_read""#]),
        21.0
    );
    assert_eq!(after.sessions(), 0.0);
    assert_eq!(after.get("rdma_pool_bytes"), 16.0 * MIB as f64);
    assert_eq!(after.pool_bytes_taken(), 0.0);
}

#[test]
fn metrics_count_what_went_wrong() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let disagreed = client.start(&Bystander::whole()).unwrap();
    let complete = CompleteRead {
        client_crc: Some(!disagreed.expected_crc),
        ..completion(&disagreed)
    };
    client.complete_with(complete).unwrap();
    let expiring = StartRead {
        timeout_secs: 1,
        ..Bystander::whole()
    };
    client.start(&expiring).unwrap();
    let metrics = engine.await_metrics("the session expires", |m| m.sessions() == 0.0);
    assert_eq!(metrics.get("rdma_client_crc_mismatches_total"), 1.0);
    assert_eq!(metrics.get("rdma_sessions_expired_total"), 1.0);
    assert_eq!(metrics.get("rdma_sessions_reclaimed_total"), 0.0);
    assert_eq!(metrics.get("rdma_checksum_mismatches_total"), 0.0);
}
