//! A target and an engine that reads from it.

use crate::daemon::{Engine, Flags, Target};
use crate::report::{Place, Result};

/// Both, the engine with the target as its only peer.
pub struct Pair {
    /// Before the target, so that it is stopped first.
    pub engine: Engine,
    /// What it reads from.
    pub target: Target,
}

impl Pair {
    /// Starts both and waits until the engine reads by verbs.
    pub fn start(
        place: &Place<'_>,
        engine: impl FnOnce(Flags) -> Flags,
        target: impl FnOnce(Flags) -> Flags,
    ) -> Result<Self> {
        let target = Target::start(&place.dir, "target", &target(Flags::target()))?;
        let flags = engine(Flags::engine(target.address));
        let engine = Engine::start(&place.dir, "engine", &flags)?;
        engine.await_verbs(flags.workers())?;
        Ok(Self { engine, target })
    }

    /// Starts both as they are by default.
    pub fn plain(place: &Place<'_>) -> Result<Self> {
        Self::start(place, |flags| flags, |flags| flags)
    }

    /// Starts both with pools of this size.
    pub fn with_pools(place: &Place<'_>, size: &str) -> Result<Self> {
        let pool = |flags: Flags| flags.and("buffer-size", size);
        Self::start(place, pool, pool)
    }

    /// Awaits that neither holds anything, and stops them in order.
    pub fn stop(self) -> Result<()> {
        self.engine.await_idle()?;
        self.target.await_idle()?;
        self.engine.stop()?;
        self.target.stop()
    }
}
