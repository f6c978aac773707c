//! How long a read takes, stage by stage.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::exporter::COUNTS;

/// A moment; nothing at all in a build that shows what telemetry costs.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(#[cfg(not(feature = "noop-metrics"))] Instant);

#[cfg(not(feature = "noop-metrics"))]
impl Stamp {
    /// Now.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// This moment, for what needs one whether anything is counted or not.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// From `earlier` to this.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// From this on until now.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    fn later_by(self, by: Duration) -> Self {
        Self(self.0.checked_add(by).unwrap_or(self.0))
    }
}

#[cfg(feature = "noop-metrics")]
#[allow(missing_docs, reason = "as above")]
impl Stamp {
    pub fn now() -> Self {
        Self()
    }

    pub fn instant(self) -> Instant {
        Instant::now()
    }

    pub fn since(self, _: Self) -> Duration {
        Duration::ZERO
    }

    pub fn elapsed(self) -> Duration {
        Duration::ZERO
    }

    fn later_by(self, _: Duration) -> Self {
        self
    }
}

/// The parts of a read's time, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting in line for room in the pool.
    BufferWait,
    /// Everything else before the read is handed to the ring or the peer: decoding the request,
    /// taking a place, looking the needle up.
    Submit,
    /// From handing it over to the last completion. For a read by RDMA that includes the peer's
    /// staging and lending.
    Transport,
    /// From the last completion to the end of checking and decompressing: the part of the
    /// checksum that was not computed while bytes still came.
    Verify,
    /// The rest, until the answer is made.
    Reply,
}

impl Stage {
    /// The names, in the order of their numbers.
    pub const LABELS: [&'static str; 5] = ["buffer_wait", "submit", "transport", "verify", "reply"];
}

/// Time by stage.
pub type Stages = [Duration; Stage::LABELS.len()];

/// Divides a read's time among its stages: each [`lap`](Self::lap) gives the time since the last
/// one to a stage, so that they add up to the whole. What is tried again adds to the same stages.
#[derive(Debug)]
pub struct StageClock {
    last: Cell<Stamp>,
    stages: Cell<Stages>,
}

impl StageClock {
    /// A clock that begins at `begun`.
    pub fn new(begun: Stamp) -> Self {
        Self {
            last: Cell::new(begun),
            stages: Cell::new(Stages::default()),
        }
    }

    /// `stage` ended at `until`.
    pub fn lap(&self, stage: Stage, until: Stamp) {
        if COUNTS {
            self.add(stage, until.since(self.last.get()));
            self.last.set(until);
        }
    }

    /// Of the time since the last lap, `waited` was spent in line for room.
    pub fn waited(&self, waited: Duration) {
        if COUNTS {
            self.add(Stage::BufferWait, waited);
            self.last.set(self.last.get().later_by(waited));
        }
    }

    /// The stages so far.
    pub fn stages(&self) -> Stages {
        self.stages.get()
    }

    /// When the last lap ended.
    pub fn last(&self) -> Stamp {
        self.last.get()
    }

    fn add(&self, stage: Stage, time: Duration) {
        let mut stages = self.stages.get();
        stages[stage as usize] += time;
        self.stages.set(stages);
    }
}

#[cfg(all(test, not(feature = "noop-metrics")))]
mod tests {
    use super::*;

    #[test]
    fn the_stages_add_up_to_the_whole_whatever_is_tried_again() {
        let begun = Stamp::now();
        let clock = StageClock::new(begun);
        let at = |ms| begun.later_by(Duration::from_millis(ms));
        clock.waited(Duration::from_millis(3));
        clock.lap(Stage::Submit, at(5));
        clock.lap(Stage::Transport, at(9));
        clock.lap(Stage::Submit, at(10));
        clock.lap(Stage::Transport, at(20));
        clock.lap(Stage::Verify, at(21));
        clock.lap(Stage::Reply, at(23));
        let stages = clock.stages();
        assert_eq!(stages.map(|s| s.as_millis()), [3, 3, 14, 1, 2]);
        assert_eq!(stages.iter().sum::<Duration>(), Duration::from_millis(23));
    }
}
