//! What time it is, for next to nothing, and how long a read takes, stage by stage.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::exporter::COUNTS;

/// Counters of processors that the kernel itself keeps time by when it has found them steady, and the
/// same on all of them.
const TRUSTED: [&str; 2] = ["tsc", "arch_sys_counter"];

/// What ticks are read from.
enum Source {
    /// The processor's counter, and what it was at the beginning: a third of the time a call of the
    /// kernel's clock takes. It is compared with that clock once; what it is off by later (some
    /// parts in 100,000) is in every time measured, and adds up to nothing.
    Counter(quanta::Clock, u64),
    /// The kernel's clock, and the beginning.
    Kernel(Instant),
}

static SOURCE: LazyLock<Source> = LazyLock::new(|| {
    let kernels = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let kernels = std::fs::read_to_string(kernels).unwrap_or_default();
    if TRUSTED.contains(&kernels.trim()) {
        let clock = quanta::Clock::new();
        let begun = clock.raw();
        Source::Counter(clock, begun)
    } else {
        Source::Kernel(Instant::now())
    }
});

/// A moment, in nanoseconds since the first one that was asked for. Only for how long things take:
/// deadlines are kept by the kernel's clock.
#[derive(Clone, Copy, Debug)]
pub struct Tick(u64);

impl Tick {
    /// Now.
    pub fn now() -> Self {
        Self(match &*SOURCE {
            Source::Counter(clock, begun) => clock.delta_as_nanos(*begun, clock.raw()),
            Source::Kernel(begun) => nanos(begun.elapsed()),
        })
    }

    /// Nanoseconds from `earlier` to this; 0 where the processors' counters differ by a little.
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment that is only measured; nothing at all in a build that shows what telemetry costs.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(#[cfg(not(feature = "noop-metrics"))] Tick);

#[cfg(not(feature = "noop-metrics"))]
impl Stamp {
    /// Now.
    pub fn now() -> Self {
        Self(Tick::now())
    }

    /// From `earlier` to this.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// This moment, if it was measured.
    pub fn tick(self) -> Option<Tick> {
        Some(self.0)
    }

    fn nanos_since(self, earlier: Self) -> u64 {
        self.0.nanos_since(earlier.0)
    }

    fn later_by(self, nanos: u64) -> Self {
        Self(Tick(self.0.0.saturating_add(nanos)))
    }
}

#[cfg(not(feature = "noop-metrics"))]
impl From<Tick> for Stamp {
    fn from(tick: Tick) -> Self {
        Self(tick)
    }
}

#[cfg(feature = "noop-metrics")]
#[allow(missing_docs, reason = "as above")]
impl Stamp {
    pub fn now() -> Self {
        Self()
    }

    pub fn since(self, _: Self) -> Duration {
        Duration::ZERO
    }

    pub fn tick(self) -> Option<Tick> {
        None
    }

    fn nanos_since(self, _: Self) -> u64 {
        0
    }

    fn later_by(self, _: u64) -> Self {
        self
    }
}

#[cfg(feature = "noop-metrics")]
impl From<Tick> for Stamp {
    fn from(_: Tick) -> Self {
        Self()
    }
}

impl Stamp {
    /// From this on until now.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

/// Whole nanoseconds; the most there can be is 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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

/// A read's time by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// In nanoseconds, by the stages' numbers.
    pub(super) nanos: [u64; Stage::LABELS.len()],
}

impl Stages {
    /// Each, in the order of their numbers.
    pub fn times(&self) -> [Duration; Stage::LABELS.len()] {
        self.nanos.map(Duration::from_nanos)
    }

    /// All together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_nanos())
    }

    pub(super) fn total_nanos(&self) -> u64 {
        self.nanos.iter().sum()
    }
}

/// Divides a read's time among its stages: each [`lap`](Self::lap) gives the time since the last
/// one to a stage, so that they add up to the whole. What is tried again adds to the same stages.
#[derive(Debug)]
pub struct StageClock {
    last: Cell<Stamp>,
    nanos: [Cell<u64>; Stage::LABELS.len()],
}

impl StageClock {
    /// A clock that begins at `begun`.
    pub fn new(begun: Stamp) -> Self {
        Self {
            last: Cell::new(begun),
            nanos: Default::default(),
        }
    }

    /// `stage` ended at `until`.
    pub fn lap(&self, stage: Stage, until: Stamp) {
        if COUNTS {
            self.add(stage, until.nanos_since(self.last.get()));
            self.last.set(until);
        }
    }

    /// Of the time since the last lap, `waited` was spent in line for room.
    pub fn waited(&self, waited: Duration) {
        if COUNTS {
            self.add(Stage::BufferWait, nanos(waited));
            self.last.set(self.last.get().later_by(nanos(waited)));
        }
    }

    /// The stages so far.
    pub fn stages(&self) -> Stages {
        Stages {
            nanos: std::array::from_fn(|stage| self.nanos[stage].get()),
        }
    }

    /// When the last lap ended.
    pub fn last(&self) -> Stamp {
        self.last.get()
    }

    fn add(&self, stage: Stage, nanos: u64) {
        let stage = &self.nanos[stage as usize];
        stage.set(stage.get().saturating_add(nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_as_fast_as_the_kernels_clock() {
        let (instant, tick) = (Instant::now(), Tick::now());
        std::thread::sleep(Duration::from_millis(50));
        let (ticks, time) = (Tick::now().nanos_since(tick), nanos(instant.elapsed()));
        // The kernel's was asked first and last, and this thread may have been interrupted between.
        assert!(ticks <= time + time / 1000, "{ticks} {time}");
        assert!(ticks >= 49_000_000, "{ticks} {time}");
    }

    #[cfg(not(feature = "noop-metrics"))]
    #[test]
    fn the_stages_add_up_to_the_whole_whatever_is_tried_again() {
        let begun = Stamp::now();
        let clock = StageClock::new(begun);
        let at = |ms: u64| begun.later_by(ms * 1_000_000);
        clock.waited(Duration::from_millis(3));
        clock.lap(Stage::Submit, at(5));
        clock.lap(Stage::Transport, at(9));
        clock.lap(Stage::Submit, at(10));
        clock.lap(Stage::Transport, at(20));
        clock.lap(Stage::Verify, at(21));
        clock.lap(Stage::Reply, at(23));
        let stages = clock.stages();
        assert_eq!(stages.times().map(|s| s.as_millis()), [3, 3, 14, 1, 2]);
        assert_eq!(stages.total(), Duration::from_millis(23));
    }
}
