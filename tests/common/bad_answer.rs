//! A read that is answered badly: it fails cleanly, or gets the right bytes elsewhere.

use rdma_engine::peer::message::Read;
use rdma_engine::protocol::message::StartRead;

use super::client::{range, whole};
use super::failing::fails_with;
use super::http::Metrics;
use super::{Needle, OwnTarget, Setup, TargetSetup, Visit, bytes, eventually};

/// Length of the needle that is asked for, needle 1 of volume 7.
pub const NEEDLE_BYTES: u64 = 100_000;

/// The needle.
pub fn needle() -> Needle {
    Needle::new(1, bytes(1, NEEDLE_BYTES as usize))
}

/// What to answer a Fetch with.
pub trait Answer: Fn(&mut Visit, &Read) + Clone + Send + Sync + 'static {}
impl<F: Fn(&mut Visit, &Read) + Clone + Send + Sync + 'static> Answer for F {}

/// Plays a target that is good until it is asked for a needle, and good again after its answer.
fn answering(answer: impl Answer) -> OwnTarget {
    OwnTarget::start(move |visit| {
        visit.welcome(None, &[7]);
        if let Some(read) = visit.fetch() {
            answer(visit, &read);
            visit.serve(&needle());
        }
    })
}

/// Checks that a read answered so fails with that code and words to that effect where nobody else
/// has the needle, and that it is read from another target where one has it.
pub fn fails_or_is_read_elsewhere(answer: impl Answer, code: &str, words: &str) {
    let part = range(7, &needle(), 1000, 50_000);
    for read in [whole(7, &needle()), part] {
        fails_alone(answer.clone(), &read, code, words);
        is_read_elsewhere(answer.clone(), &read);
    }
}

/// Checks that `read` fails with that code and words to that effect where nobody else has it.
pub fn fails_alone(answer: impl Answer, read: &StartRead, code: &str, words: &str) {
    let words = words.to_owned();
    let bad = OwnTarget::start(move |visit| {
        visit.welcome(None, &[7]);
        while let Some(read) = visit.fetch() {
            answer(visit, &read);
        }
    });
    let engine = Setup::new().peer("bad", bad.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    fails_with(&mut client, read, code, &words);
    let failed = engine.metrics();
    let failed = failed.sum("rdma_read_attempts_failed_total", |l| l.contains("tcp"));
    assert!(failed >= 1.0, "{failed} attempts failed");
    drop(client);
    engine.assert_nothing_lost(&before);
}

/// Checks that `read` succeeds, every time, where another target has the needle too. Returns what
/// the engine has counted then.
pub fn is_read_elsewhere(answer: impl Answer, read: &StartRead) -> Metrics {
    let bad = answering(answer);
    let good = TargetSetup::with(&[needle()]).start();
    let at_good = good.baseline();
    let setup = Setup::new().peer("bad", bad.address);
    let engine = setup.peer("good", good.address()).start();
    engine.await_peer("good");
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    let from = usize::try_from(read.offset).unwrap();
    let left = NEEDLE_BYTES - read.offset;
    let size = if read.size == 0 {
        left
    } else {
        read.size.min(left)
    };
    let right = &needle().data[from..][..usize::try_from(size).unwrap()];
    eventually("the bad one is asked often enough", || {
        let (data, _) = client.fetch(&pool, read).expect("the good one has it");
        assert!(data == right);
        (bad.asked() >= 3).then_some(())
    });
    drop(client);
    engine.assert_nothing_lost(&before);
    let counted = engine.metrics();
    drop(engine);
    good.assert_nothing_lost(&at_good);
    counted
}
