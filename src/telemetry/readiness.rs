//! Whether the engine takes requests right now.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Setting up: nothing is served yet.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what is in flight before the end.
    Draining,
}

/// The state, shared between the server, which sets it, and `/readyz`, which tells it.
#[derive(Debug)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Starting.
    pub const fn new() -> Self {
        Self(AtomicU8::new(State::Starting as u8))
    }

    /// From now on `state`.
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    /// The state now.
    pub fn get(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }

    /// None when ready, else why not.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self.get() {
            State::Starting => Some("starting: the pool and the volumes are being set up"),
            State::Ready => None,
            State::Draining => Some("draining: the engine is shutting down"),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_engine_has_no_obstacle() {
        let readiness = Readiness::new();
        assert_eq!(readiness.get(), State::Starting);
        for state in [State::Ready, State::Draining, State::Starting] {
            readiness.set(state);
            assert_eq!(readiness.get(), state);
            assert_eq!(readiness.obstacle().is_none(), state == State::Ready);
        }
    }
}
