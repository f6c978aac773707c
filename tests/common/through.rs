//! An engine and a real target behind it.

use super::reader::Reader;
use super::{Engine, Setup, Target, TargetSetup};

/// An engine whose only peer, called "t", is this target; every worker has read from it.
pub fn engine_of(target: &Target) -> Engine {
    engine_on(Setup::new(), target)
}

/// The same, from an engine that is set up in some way.
pub fn engine_on(setup: Setup, target: &Target) -> Engine {
    let engine = setup.peer("t", target.address()).start();
    engine.await_peer("t");
    engine
}

/// Runs `check` on an engine that reads from a target with these volumes, and counts afterwards.
pub fn through_a_peer(target: TargetSetup, check: impl FnOnce(&mut Reader)) {
    let target = target.start();
    let at_target = target.baseline();
    let engine = engine_of(&target);
    let before = engine.baseline();
    let mut reader = Reader::over_tcp(&engine);
    check(&mut reader);
    drop(reader);
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}
