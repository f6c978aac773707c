//! What a worker's reads are to be counted as. A read is in a dozen distributions and as many sums,
//! each in cache lines of its own, which what happens between two reads has pushed out of the near
//! caches. So a worker writes one short line a read, and counts [`LINES`] together, or whoever looks
//! does: what a client was answered is in the next scrape. The worker does so itself because its lines
//! are near; to another processor they would have to be brought one by one.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::{Stages, nanos};
use super::exporter::COUNTS;
use super::metrics::Metrics;
use crate::peer::Fallback;
use crate::source::Transport;

/// Lines that are counted together.
const LINES: usize = 128;

/// A read whose bytes landed, and under what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// How the bytes came.
    pub transport: Transport,
    /// How many.
    pub bytes: u64,
    /// Nanoseconds from the submission to the last completion.
    pub completion: u64,
    /// Number of the client's series.
    pub client: u32,
    /// Number of the volume's series.
    pub volume: u32,
}

/// A read that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub landing: Landing,
    pub stages: Stages,
}

/// A session that its client has completed, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completed {
    /// Since its admission.
    pub age: u64,
    /// From the request to the answer.
    pub elapsed: u64,
}

/// One worker's: only its thread writes.
#[derive(Debug)]
pub struct Journal {
    pages: Arc<Pages>,
    metrics: Arc<Metrics>,
    _one_thread: PhantomData<Cell<()>>,
}

/// All of a daemon's.
#[derive(Debug, Default)]
pub(super) struct Journals(Mutex<Vec<Arc<Pages>>>);

/// Where one worker writes.
#[derive(Debug)]
struct Pages {
    answered: Page<8>,
    completed: Page<2>,
    /// Reads of this host's volumes that were tried, ever.
    attempts: AtomicU64,
    /// Locked by who counts.
    counted: Mutex<Counted>,
}

/// What is counted of [`Pages`].
#[derive(Debug, Default)]
struct Counted {
    /// Of the attempts, how many.
    attempts: u64,
    /// What was read last, kept for its memory.
    answered: Vec<Answered>,
    completed: Vec<Completed>,
}

/// Lines from one thread to those that hold the lock of [`Pages`].
#[derive(Debug)]
struct Page<const WORDS: usize> {
    lines: Box<[Line<WORDS>]>,
    /// Lines ever written, and how many of them have been read.
    written: AtomicU64,
    read: AtomicU64,
}

/// Numbers that are of one read, or one session.
type Words<const WORDS: usize> = [u32; WORDS];

#[derive(Debug)]
struct Line<const WORDS: usize>([AtomicU32; WORDS]);

/// What has a place in a line, if its numbers are small enough.
trait Entry<const WORDS: usize>: Copy {
    fn words(self) -> Option<Words<WORDS>>;
    fn of(words: Words<WORDS>) -> Self;
}

impl<const WORDS: usize> Page<WORDS> {
    fn new() -> Self {
        let line = |_| Line([const { AtomicU32::new(0) }; WORDS]);
        Self {
            lines: (0..LINES).map(line).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// Writes a line, for which there has to be room. Returns whether there is none for another.
    fn write(&self, words: Words<WORDS>) -> bool {
        let number = self.written.load(Ordering::Relaxed);
        let line = &self.lines[number as usize % LINES];
        for (place, word) in line.0.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.written.store(number + 1, Ordering::Release);
        // What is written to next has been read, and is not looked at any more.
        number + 1 - self.read.load(Ordering::Acquire) >= LINES as u64
    }

    /// Reads what has been written since the last time.
    fn read<E: Entry<WORDS>>(&self, entries: &mut Vec<E>) {
        let read = self.read.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Acquire);
        entries.extend((read..written).map(|number| {
            let line = &self.lines[number as usize % LINES];
            E::of(line.0.each_ref().map(|word| word.load(Ordering::Relaxed)))
        }));
        self.read.store(written, Ordering::Release);
    }
}

impl Journal {
    /// An empty one, which is counted by `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let pages = Arc::new(Pages {
            answered: Page::new(),
            completed: Page::new(),
            attempts: AtomicU64::new(0),
            counted: Mutex::default(),
        });
        lock(&metrics.journals.0).push(Arc::clone(&pages));
        Self {
            pages,
            metrics,
            _one_thread: PhantomData,
        }
    }

    /// A read of a volume of this host is tried.
    pub fn attempted(&self) {
        if COUNTS {
            let attempts = self.pages.attempts.load(Ordering::Relaxed);
            self.pages.attempts.store(attempts + 1, Ordering::Relaxed);
        }
    }

    /// A StartRead was answered, after the time its stages took; the bytes are lent to the client.
    pub fn answered(&self, landing: Landing, stages: Stages) {
        let answered = Answered { landing, stages };
        self.write(&self.pages.answered, answered, Metrics::settle_answered);
    }

    /// A CompleteRead was answered, `elapsed` after its frame had come in whole, and ended a session of
    /// this `age`.
    pub fn completed(&self, age: Duration, elapsed: Duration) {
        let (age, elapsed) = (nanos(age), nanos(elapsed));
        let completed = Completed { age, elapsed };
        self.write(&self.pages.completed, completed, Metrics::settle_completed);
    }

    /// Writes the entry down. What is too large for a line is counted at once.
    fn write<const WORDS: usize, E: Entry<WORDS>>(
        &self,
        page: &Page<WORDS>,
        entry: E,
        count: fn(&Metrics, &[E]),
    ) {
        if !COUNTS {
            return;
        }
        match entry.words() {
            Some(words) if page.write(words) => self.pages.settle(&self.metrics),
            Some(_) => {}
            None => count(&self.metrics, &[entry]),
        }
    }
}

impl Journals {
    /// Has all that was written counted.
    pub fn settle(&self, metrics: &Metrics) {
        for pages in &*lock(&self.0) {
            pages.settle(metrics);
        }
    }
}

impl Pages {
    fn settle(&self, metrics: &Metrics) {
        let mut guard = lock(&self.counted);
        let counted = &mut *guard;
        self.answered.read(&mut counted.answered);
        metrics.settle_answered(&counted.answered);
        counted.answered.clear();
        self.completed.read(&mut counted.completed);
        metrics.settle_completed(&counted.completed);
        counted.completed.clear();
        // Last, so that no read is counted before its attempt.
        let attempts = self.attempts.load(Ordering::Relaxed);
        metrics.attempts(Transport::Local, attempts - counted.attempts);
        counted.attempts = attempts;
    }
}

/// Nothing panics while these are locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bits of the number of a series, of which there are some thousand; the transport is above two of them.
const SERIES_BITS: u32 = 12;

impl Entry<8> for Answered {
    fn words(self) -> Option<Words<8>> {
        let Landing {
            transport,
            bytes,
            completion,
            client,
            volume,
        } = self.landing;
        let transport = match transport {
            Transport::Local => 0,
            Transport::Verbs => 1,
            Transport::Tcp(None) => 2,
            Transport::Tcp(Some(reason)) => 3 + reason as u32,
        };
        let [a, b, c, d, e] = self.stages.nanos;
        let numbers = [bytes, completion, a, b, c, d, e];
        let too_large = numbers.iter().fold(0, |all, number| all | number) >> u32::BITS != 0;
        if too_large || (client | volume) >> SERIES_BITS != 0 {
            return None;
        }
        let under = transport << (2 * SERIES_BITS) | client << SERIES_BITS | volume;
        let [bytes, completion, a, b, c, d, e] = numbers.map(|number| number as u32);
        Some([under, bytes, completion, a, b, c, d, e])
    }

    fn of([under, bytes, completion, stages @ ..]: Words<8>) -> Self {
        let transport = match under >> (2 * SERIES_BITS) {
            0 => Transport::Local,
            1 => Transport::Verbs,
            number => {
                let reason = (number as usize).checked_sub(3);
                Transport::Tcp(reason.and_then(|reason| Fallback::ALL.get(reason).copied()))
            }
        };
        let series = |above: u32| under >> above & ((1 << SERIES_BITS) - 1);
        let landing = Landing {
            transport,
            bytes: bytes.into(),
            completion: completion.into(),
            client: series(SERIES_BITS),
            volume: series(0),
        };
        let nanos = stages.map(u64::from);
        Self {
            landing,
            stages: Stages { nanos },
        }
    }
}

impl Entry<2> for Completed {
    fn words(self) -> Option<Words<2>> {
        let Self { age, elapsed } = self;
        Some([age.try_into().ok()?, elapsed.try_into().ok()?])
    }

    fn of([age, elapsed]: Words<2>) -> Self {
        let (age, elapsed) = (age.into(), elapsed.into());
        Self { age, elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(transport: Transport) -> Answered {
        let landing = Landing {
            transport,
            bytes: u32::MAX.into(),
            completion: 4_000_000_000,
            client: 1001,
            volume: 7,
        };
        let nanos = [1, 2, 3, 4, 5];
        let stages = Stages { nanos };
        Answered { landing, stages }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let reasons = Fallback::ALL.map(Some).into_iter().chain([None]);
        let tcp = reasons.map(Transport::Tcp);
        for transport in tcp.chain([Transport::Local, Transport::Verbs]) {
            let read = read(transport);
            assert_eq!(read.words().map(Answered::of), Some(read));
        }
    }

    #[test]
    fn what_is_too_large_has_no_place_in_a_line() {
        let small = read(Transport::Local);
        for large in [
            |read: &mut Answered| read.landing.bytes += 1,
            |read: &mut Answered| read.landing.completion = 1 << 32,
            |read: &mut Answered| read.landing.client = 1 << SERIES_BITS,
            |read: &mut Answered| read.landing.volume = 1 << SERIES_BITS,
            |read: &mut Answered| read.stages.nanos[4] = 5_000_000_000,
        ] {
            let mut read = small;
            large(&mut read);
            assert_eq!(read.words(), None, "{read:?}");
        }
        let [age, elapsed] = [1 << 32, 0];
        assert_eq!(Completed { age, elapsed }.words(), None);
    }

    /// An entry that is the same number in each of its words.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Number(u32);

    impl<const WORDS: usize> Entry<WORDS> for Number {
        fn words(self) -> Option<Words<WORDS>> {
            Some([self.0; WORDS])
        }

        fn of(words: Words<WORDS>) -> Self {
            assert_eq!(words, [words[0]; WORDS]);
            Self(words[0])
        }
    }

    #[test]
    fn what_is_read_meanwhile_is_each_line_once_and_whole() {
        const WRITTEN: u32 = 100_000;
        let page = Page::<3>::new();
        let all = Mutex::new(Vec::new());
        let read = || {
            let mut all = lock(&all);
            page.read::<Number>(&mut all);
            all.len()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..WRITTEN {
                    if page.write([number; 3]) {
                        read();
                    }
                }
            });
            while read() < WRITTEN as usize {}
        });
        assert!(lock(&all).iter().copied().eq((0..WRITTEN).map(Number)));
    }
}
