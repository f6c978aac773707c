//! Which transport is used, what is said of it, and what refuses to fall back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::process::Command;

use common::client::whole;
use common::failing::fails_with;
use common::http::Metrics;
use common::own_target::welcome;
use common::{Needle, OwnTarget, Setup, TargetSetup, bytes, eventually};
use rdma_engine::peer::message::Welcome;

/// Peers in a state.
fn peers(metrics: &Metrics, state: &str) -> f64 {
    metrics.sum("rdma_peers", |labels| {
        labels.contains(&format!(r#""{state}""#))
    })
}

fn needle() -> Needle {
    Needle::new(1, bytes(1, 10_000))
}

#[test]
fn capabilities_and_metrics_say_how_peers_are_read_and_which_is_down() {
    let target = TargetSetup::with(&[needle()]).start();
    let mut away = TargetSetup::new().listen("127.77.1.1:0").start();
    let setup = Setup::new().peer("t", target.address());
    let engine = setup.peer("away", away.address()).start();
    for peer in ["t", "away"] {
        engine.await_peer(peer);
    }
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    let told = client.capabilities();
    assert_eq!(told.transports, ["local", "tcp"]);
    assert!(!told.real_rdma);
    let down = |steps: &[String]| steps.iter().any(|step| step.contains("peer"));
    assert!(!down(&told.steps_down), "{:?}", told.steps_down);
    let metrics = engine.metrics();
    let states = ["verbs", "tcp", "down"].map(|state| peers(&metrics, state));
    assert_eq!(states, [0.0, 2.0, 0.0]);

    let reads = |m: &Metrics| {
        ["local", "verbs", "tcp"].map(|t| m.sum("rdma_reads_total", |l| l.contains(t)))
    };
    let [local, verbs, tcp] = reads(&metrics);
    client.fetch(&pool, &whole(7, &needle())).unwrap();
    client.fetch(&pool, &common::Bystander::whole()).unwrap();
    assert_eq!(reads(&engine.metrics()), [local + 1.0, verbs, tcp + 1.0]);
    assert_eq!(metrics.get("rdma_read_attempts_failed_total"), 0.0);

    away.signal(rustix::process::Signal::KILL);
    away.await_exit();
    engine.await_metrics("one peer is down", |m| {
        peers(m, "down") == 1.0 && peers(m, "tcp") == 1.0
    });
    eventually("the capabilities say which and why", || {
        let told = client.capabilities();
        assert_eq!(told.transports, ["local", "tcp"]);
        let refused = |s: &String| s.starts_with("peer away: ") && s.contains("refused");
        told.steps_down.iter().any(refused).then_some(())
    });
    client.fetch(&pool, &whole(7, &needle())).unwrap();
    drop(client);
    engine.assert_nothing_lost(&before);
}

/// Runs a command that is to refuse to start; what it said.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn verbs_without_a_device_is_refused_at_the_start_where_none_is_allowed() {
    let engine = Setup::new().set("transport", r#""verbs""#);
    let target = TargetSetup::new().set("transport", r#""verbs""#);
    for said in [refused(engine.command()), refused(target.command())] {
        for word in ["transport", "verbs", "device", "none"] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
    }
}

#[test]
fn from_a_target_that_can_be_read_in_no_way_nothing_is_read_and_the_error_says_so() {
    let closed = OwnTarget::start(|visit| {
        visit.welcome_as(Welcome {
            tcp: false,
            ..welcome()
        });
        visit.announce(&[7]);
        visit.pong();
    });
    let engine = Setup::new().peer("closed", closed.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let words = "peer closed can not be read by RDMA: this engine has no RDMA device in use, and it \
                 serves nothing over TCP";
    fails_with(
        &mut client,
        &whole(7, &needle()),
        "RDMA_OPERATION_FAILED",
        words,
    );
    assert_eq!(closed.asked(), 0);
    drop(client);
    engine.assert_nothing_lost(&before);
}
