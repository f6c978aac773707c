//! Targets that die, and come back, while clients read: never a wrong byte, and no errors but
//! those that say what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use common::bad_answer::fails_or_is_read_elsewhere;
use common::client::{range, whole};
use common::payload::gzip;
use common::reader::MIB;
use common::{Engine, Needle, Setup, Target, TargetSetup, Visit, bytes, eventually, note};
use rdma_engine::peer::message::{Failed, FromTarget, Read};
use rustix::process::Signal;

const CLIENTS: usize = 6;

/// Needles that are sent from their file, and from the pool, large and small.
fn needles() -> Vec<(Needle, Vec<u8>)> {
    let plain = [1, 5000, MIB, 3 * MIB].into_iter().zip(1..);
    let mut needles: Vec<(Needle, Vec<u8>)> = plain
        .map(|(length, id)| (Needle::new(id, bytes(id, length)), bytes(id, length)))
        .collect();
    for (id, length) in [(10, 3000), (11, MIB)] {
        let logical = bytes(id, length);
        let stored = Needle::new(id, gzip(&logical));
        needles.push((
            Needle {
                compressed: true,
                ..stored
            },
            logical,
        ));
    }
    needles
}

/// A loopback address that no other test's target has, on a port that the kernel chooses: there
/// nobody takes it while the target is away.
fn address() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{next}:0", 1 + (pid >> 8) % 250, pid % 250)
}

/// A target with the needles in its volume 7.
fn target_at(address: &str) -> Target {
    let stored: Vec<Needle> = needles().into_iter().map(|(needle, _)| needle).collect();
    TargetSetup::with(&stored).listen(address).start()
}

/// How reads went that several clients made all the time.
#[derive(Default)]
struct Tally {
    right: AtomicUsize,
    failed: AtomicUsize,
    enough: AtomicBool,
}

impl Tally {
    fn right(&self) -> usize {
        self.right.load(Ordering::SeqCst)
    }

    fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }

    /// Awaits so many more reads that came back right.
    fn await_right(&self, more: usize) {
        let before = self.right();
        eventually(&format!("{more} more reads come back right"), || {
            (self.right() >= before + more).then_some(())
        });
    }

    /// Awaits so many more reads that failed.
    fn await_failed(&self, more: usize) {
        let before = self.failed();
        eventually(&format!("{more} more reads fail"), || {
            (self.failed() >= before + more).then_some(())
        });
    }

    /// One client: reads, whole and in ranges, until it is enough. A read that fails has to say
    /// that a peer is unavailable, which one, and why.
    fn read_on(&self, engine: &Engine, client: usize) {
        let needles = needles();
        let mut connection = engine.client();
        let pool = connection.attach();
        let mut turn = client;
        while !self.enough.load(Ordering::SeqCst) {
            let (needle, logical) = &needles[turn % needles.len()];
            let from = (turn * 7919) % logical.len();
            let (read, right) = match turn % 3 {
                0 => (whole(7, needle), &logical[..]),
                _ => (range(7, needle, from as u64, 0), &logical[from..]),
            };
            turn += 1;
            match connection.fetch(&pool, &read) {
                Ok((data, started)) => {
                    assert!(data == right, "{read:?}");
                    assert_eq!(started.transport, "tcp");
                    self.right.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => {
                    assert_eq!(error.code, "PEER_UNAVAILABLE", "{error:?}");
                    assert!(error.recoverable);
                    let (_, why) = error.message.split_once("peer t").expect("the peer's name");
                    assert!(why.len() > 10, "{error:?}");
                    self.failed.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

/// Does `events` while clients read.
fn under_load(engine: &Engine, events: impl FnOnce(&Tally)) -> Tally {
    let tally = Tally::default();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let tally = &tally;
                scope.spawn(move || tally.read_on(engine, client))
            })
            .collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| events(&tally)));
        tally.enough.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().unwrap();
        }
        done.unwrap();
    });
    tally
}

fn summary(what: &str, tally: &Tally) {
    let (right, failed) = (tally.right(), tally.failed());
    note(&format!(
        "{what}: {} reads attempted, {failed} failed cleanly, 0 wrong",
        right + failed
    ));
}

#[test]
fn of_two_targets_one_is_killed_again_and_again_and_reads_go_on_from_the_other() {
    let address = address();
    let mut dying = target_at(&address);
    let address = dying.address();
    let lasting = target_at("127.0.0.1:0");
    let at_lasting = lasting.baseline();
    let setup = Setup::new().peer("t1", address);
    let engine = setup.peer("t2", lasting.address()).start();
    for peer in ["t1", "t2"] {
        engine.await_peer(peer);
    }
    let before = engine.baseline();
    let tally = under_load(&engine, |tally| {
        for _ in 0..3 {
            tally.await_right(50);
            dying.signal(Signal::KILL);
            dying.await_exit();
            tally.await_right(50);
            dying = target_at(&address.to_string());
            // It is used again.
            dying.await_metrics("it is read from", |m| {
                m.sum("rdma_operations_total", |l| {
                    l.contains("fetch") && l.contains("ok")
                }) > 0.0
            });
        }
    });
    // There was always another that had it: every read was made good.
    assert_eq!(tally.failed(), 0);
    summary("one of two targets killed three times", &tally);
    engine.assert_nothing_lost(&before);
    drop(engine);
    lasting.assert_nothing_lost(&at_lasting);
    // It has lived only through this.
    dying.assert_nothing_lost(&dying.baseline());
}

#[test]
fn while_the_only_target_is_away_reads_fail_and_say_why_and_then_they_succeed_again() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut target = target_at(&address());
        let address = target.address();
        let engine = Setup::new().peer("t", address).start();
        engine.await_peer("t");
        let before = engine.baseline();
        let tally = under_load(&engine, |tally| {
            tally.await_right(50);
            target.signal(signal);
            target.await_exit();
            tally.await_failed(CLIENTS * 10);
            target = target_at(&address.to_string());
            tally.await_right(CLIENTS * 10);
        });
        summary(
            &format!("the only target ended by {signal:?} and started again"),
            &tally,
        );
        let mut client = engine.client();
        let down = client.capabilities().steps_down;
        assert!(!down.iter().any(|step| step.contains("peer")), "{down:?}");
        drop(client);
        engine.assert_nothing_lost(&before);
        drop(engine);
        target.assert_nothing_lost(&target.baseline());
    }
}

#[test]
fn what_a_target_that_ends_refuses_is_read_from_another() {
    let ending = |visit: &mut Visit, read: &Read| {
        visit.send(&FromTarget::Failed(Failed {
            id: read.id,
            code: "SHUTTING_DOWN".to_owned(),
            message: "it ends".to_owned(),
        }));
    };
    // The engine does not, so its clients are told something else.
    fails_or_is_read_elsewhere(ending, "PEER_UNAVAILABLE", "peer bad: it ends");
}

#[test]
fn a_target_that_is_stopped_for_a_while_holds_reads_up_only_so_long() {
    let stopping = target_at("127.0.0.1:0");
    let lasting = target_at("127.0.0.1:0");
    let baselines = [stopping.baseline(), lasting.baseline()];
    let setup = Setup::new().set("peer_timeout", r#""2s""#);
    let setup = setup.peer("t1", stopping.address());
    let engine = setup.peer("t2", lasting.address()).start();
    for peer in ["t1", "t2"] {
        engine.await_peer(peer);
    }
    let before = engine.baseline();
    let tally = under_load(&engine, |tally| {
        tally.await_right(50);
        stopping.pause();
        tally.await_right(200);
        stopping.signal(Signal::CONT);
        tally.await_right(200);
    });
    assert_eq!(tally.failed(), 0);
    summary("one of two targets stopped for a while", &tally);
    engine.assert_nothing_lost(&before);
    drop(engine);
    for (target, before) in [&stopping, &lasting].into_iter().zip(&baselines) {
        target.assert_nothing_lost(before);
    }
}
