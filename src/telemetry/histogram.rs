//! Histograms with fixed buckets. An observation is a search among the bounds and two additions:
//! nothing is allocated, kept or sorted later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::HistogramFn;

use super::shards::{SHARDS, add, shard};

/// The most buckets a histogram may have.
pub const BUCKETS_MAX: usize = 512;

/// Upper bounds of buckets.
#[derive(Debug)]
pub(super) struct Bounds {
    /// As they are exported, and +Inf.
    texts: Vec<String>,
    /// In what is counted: whole nanoseconds, bytes, or kilobytes a second; then the largest number.
    counted: Vec<u64>,
    /// For each cell of values, how many bounds lie below all of it.
    below: Box<[u16; CELLS]>,
    /// Some cell has more than one bound in it: of 25 a decade, none has.
    is_crowded: bool,
    /// Counted units in an exported one.
    scale: f64,
}

impl Bounds {
    /// Bounds of times in seconds, which are counted in nanoseconds: a sum of 584 years. Those
    /// below a nanosecond are zero.
    pub fn seconds(bounds: &[f64]) -> Arc<Self> {
        Self::scaled(bounds, 1e9)
    }

    /// Bounds of what is counted in units of which one exported unit has `scale`.
    pub fn scaled(bounds: &[f64], scale: f64) -> Arc<Self> {
        // A float's product may miss the whole number meant by its last bit.
        let counted = bounds.iter().map(|b| (b * scale + 1e-6).floor() as u64);
        let counted: Vec<u64> = counted.chain([u64::MAX]).collect();
        let texts = bounds.iter().map(f64::to_string);
        let below = |cell| counted.partition_point(|&bound| bound < first_of(cell)) as u16;
        let below: Box<[u16; CELLS]> = Box::new(std::array::from_fn(below));
        let ends = below[1..].iter().copied().chain([bounds.len() as u16]);
        Arc::new(Self {
            texts: texts.chain(["+Inf".to_owned()]).collect(),
            is_crowded: ends.zip(&*below).any(|(end, below)| end - below > 1),
            below,
            counted,
            scale,
        })
    }

    /// How many bounds lie below `value`, which is the number of its bucket.
    fn below(&self, value: u64) -> usize {
        let mut below = usize::from(self.below[cell_of(value)]);
        below += usize::from(self.counted[below] < value);
        while self.is_crowded && self.counted[below] < value {
            below += 1;
        }
        below
    }

    /// As they are exported, and +Inf.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }
}

/// Bits of the parts of an octave, a power of two, that values are sorted into first.
const PART_BITS: u32 = 5;
/// Bits below them in a float, and the cell that 1 would be of there.
const REST_BITS: u32 = f64::MANTISSA_DIGITS - 1 - PART_BITS;
const CELL_OF_ONE: u64 = 1f64.to_bits() >> REST_BITS;
/// The last cell has all from here on, 104 days in nanoseconds; below it every whole number is a float.
const LAST: u64 = 1 << f64::MANTISSA_DIGITS;
/// All octaves' parts.
const CELLS: usize = cell_of(LAST) + 1;

/// The cell of a value: its exponent, as a float, and the first bits of its mantissa. 0 is in that of 1.
const fn cell_of(value: u64) -> usize {
    let value = if value < LAST { value } else { LAST };
    // Signed, because processors have an instruction for those.
    let cell = (value as i64 as f64).to_bits() >> REST_BITS;
    cell.saturating_sub(CELL_OF_ONE) as usize
}

/// The least value of a cell.
fn first_of(cell: usize) -> u64 {
    if cell == 0 {
        return 0;
    }
    f64::from_bits((cell as u64 + CELL_OF_ONE) << REST_BITS).ceil() as u64
}

/// Bounds from 10^`from` to 10^`to`, `each` a decade at equal ratios, to four digits.
pub(super) fn decades(from: i32, to: i32, each: i32) -> Vec<f64> {
    let bound = |i: i32| {
        let exact = 10f64.powf(f64::from(i) / f64::from(each));
        // Four digits are a text that is always the same, and a whole number of nanoseconds
        // from a microsecond on.
        format!("{exact:.3e}").parse().unwrap_or(exact)
    };
    (from * each..=to * each).map(bound).collect()
}

/// A distribution of observed values.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: Arc<Bounds>,
    shards: [Shard; SHARDS],
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    /// Observations by bucket; the last is for those beyond all bounds.
    counts: Box<[AtomicU64]>,
    /// Sum of what was observed, in counted units.
    sum: AtomicU64,
}

/// What a histogram held when it was asked.
pub(super) struct Reading {
    /// Observations by bucket, the last beyond all bounds.
    pub counts: Vec<u64>,
    /// Their sum.
    pub sum: f64,
}

impl Buckets {
    /// Empty ones.
    pub fn new(bounds: &Arc<Bounds>) -> Self {
        let buckets = bounds.counted.len();
        let shard = |_| Shard {
            counts: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        };
        Self {
            bounds: Arc::clone(bounds),
            shards: std::array::from_fn(shard),
        }
    }

    /// Upper bounds of the buckets.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What they hold now.
    pub fn read(&self) -> Reading {
        let mut counts = vec![0; self.bounds.counted.len()];
        let mut sum = 0.0;
        for shard in &self.shards {
            for (count, part) in counts.iter_mut().zip(&shard.counts) {
                *count += part.load(Ordering::Relaxed);
            }
            sum += shard.sum.load(Ordering::Relaxed) as f64 / self.bounds.scale;
        }
        Reading { counts, sum }
    }
}

impl Buckets {
    /// Counts observations, in counted units.
    pub fn observe(&self, values: impl Iterator<Item = u64>) {
        let number = shard();
        let (bounds, shard) = (&*self.bounds, &self.shards[number]);
        let counts = &*shard.counts;
        let mut sum = 0u64;
        for value in values {
            add(&counts[bounds.below(value)], number, 1);
            sum = sum.wrapping_add(value);
        }
        add(&shard.sum, number, sum);
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        // To the nearest: a time of up to 13 days is to the nanosecond what was measured.
        self.observe(std::iter::once((value * self.bounds.scale + 0.5) as u64));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::Histogram;

    use super::*;

    #[test]
    fn bounds_rise_by_equal_ratios_and_are_whole_nanoseconds() {
        let bounds = decades(-6, 1, 25);
        assert_eq!(bounds.len(), 176);
        assert_eq!((bounds[0], bounds[1], bounds[175]), (1e-6, 1.096e-6, 10.0));
        for pair in bounds.windows(2) {
            assert!(pair[1] / pair[0] < 1.1, "{pair:?}");
        }
        let seconds = Bounds::seconds(&bounds);
        assert_eq!(seconds.counted[..3], [1000, 1096, 1202]);
        assert_eq!(seconds.counted[175], 10_000_000_000);
    }

    #[test]
    fn every_value_is_in_the_cell_that_begins_at_or_below_it_and_its_bucket_is_found() {
        let bounds = Bounds::seconds(&decades(-6, 1, 25));
        let fine = Bounds::scaled(
            &(1..=BUCKETS_MAX).map(|i| i as f64).collect::<Vec<_>>(),
            1.0,
        );
        let near = |value: u64| [value.saturating_sub(1), value, value.saturating_add(1)];
        let powers = (0..64).flat_map(|bit| near(1 << bit));
        let values = powers.chain(bounds.counted.iter().copied().flat_map(near));
        for value in values.chain(0..2000).chain([u64::MAX]) {
            let cell = cell_of(value);
            assert!(cell < CELLS && first_of(cell) <= value, "{value}");
            assert!(cell + 1 == CELLS || first_of(cell + 1) > value, "{value}");
            for bounds in [&bounds, &fine] {
                let searched = bounds.counted.partition_point(|&bound| bound < value);
                assert_eq!(bounds.below(value), searched, "{value}");
            }
        }
    }

    #[test]
    fn a_value_at_a_bound_is_within_it_and_one_beyond_all_is_counted() {
        let buckets = Buckets::new(&Bounds::seconds(&[0.001, 0.01]));
        for us in [1, 1000, 1001, 10_000, 10_001] {
            buckets.record(Duration::from_micros(us).as_secs_f64());
        }
        let reading = buckets.read();
        assert_eq!(reading.counts, [2, 2, 1]);
        assert!((reading.sum - 0.022_003).abs() < 1e-12, "{}", reading.sum);
    }

    #[test]
    fn a_sum_of_times_is_exact_although_they_came_as_fractions() {
        for nanos in [1, 1_000_000_007, 86_399_999_999_999, 999_999_999_999_999] {
            let buckets = Arc::new(Buckets::new(&Bounds::seconds(&[1.0])));
            Histogram::from_arc(Arc::clone(&buckets)).record(Duration::from_nanos(nanos));
            let sum: u64 = (buckets.shards.iter())
                .map(|shard| shard.sum.load(Ordering::Relaxed))
                .sum();
            assert_eq!(sum, nanos);
        }
    }

    #[test]
    fn what_many_threads_observe_is_all_there() {
        let buckets = Buckets::new(&Bounds::scaled(&[2.0], 1.0));
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| buckets.record(3.0)));
            }
        });
        let reading = buckets.read();
        let observations = 2 * SHARDS as u64 * 1000;
        assert_eq!(reading.counts, [0, observations]);
        assert_eq!(reading.sum, 3.0 * observations as f64);
    }

    #[test]
    fn the_longest_time_is_counted() {
        let buckets = Buckets::new(&Bounds::seconds(&[1.0]));
        buckets.record(Duration::MAX.as_secs_f64());
        assert_eq!(buckets.read().counts, [0, 1]);
    }
}
