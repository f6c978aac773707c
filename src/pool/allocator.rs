//! Which parts of the pool are free: a two-level segregated fit over 4 KiB granules.
//!
//! Free runs are kept in lists by size, eight classes to each power of two, and join their
//! neighbours as soon as they are freed. Taking and freeing cost the same however much is in use,
//! except that a pool with nothing larger is searched for a run that just fits. Nothing is
//! rounded but to a granule: reads are often a power of two and a little (a 4 MiB chunk and its
//! header), of which blocks that are powers of two would hold half as many. A run never crosses
//! the boundary of a registered region. Pure: positions in, positions out.
//!
//! Source: M. Masmano, I. Ripoll, A. Crespo, J. Real, "TLSF: a new dynamic memory allocator for
//! real-time systems", ECRTS 2004.

/// Bytes of a granule, the smallest unit handed out.
pub const GRANULE_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;
/// Classes to a power of two, as a power of two.
const SPLIT: u32 = 3;
/// Sizes fit 32 bits.
const CLASSES: usize = ((u32::BITS - SPLIT + 1) << SPLIT) as usize;

/// The free runs of a pool.
#[derive(Debug)]
pub struct Allocator {
    /// First free run of each class.
    heads: [u32; CLASSES],
    /// Classes that have runs, a bit each.
    filled: [u64; CLASSES.div_ceil(64)],
    nodes: Vec<Node>,
    /// Granules of a region.
    region: u32,
    free: u32,
}

/// What is known at a granule: of the free run that starts there, and of the one that ends there.
#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    /// Granules of the free run that starts here, or 0.
    len: u32,
    /// First granule of the free run that ends here, or [`NONE`].
    start: u32,
}

/// The class runs of `len` granules are in. Ascends with `len`; within a class lengths differ by
/// less than an eighth.
fn class(len: u32) -> usize {
    let power = len.ilog2();
    if power < SPLIT {
        return len as usize;
    }
    let within = len >> (power - SPLIT) & ((1 << SPLIT) - 1);
    (((power - SPLIT + 1) << SPLIT) + within) as usize
}

impl Allocator {
    /// An allocator of `granules`, all free, in regions of `region` granules.
    pub fn new(granules: u32, region: u32) -> Self {
        let node = Node {
            previous: NONE,
            next: NONE,
            len: 0,
            start: NONE,
        };
        let mut allocator = Self {
            heads: [NONE; CLASSES],
            filled: [0; CLASSES.div_ceil(64)],
            nodes: vec![node; granules as usize],
            region: region.max(1),
            free: granules,
        };
        let mut start = 0;
        while start < granules {
            let len = allocator.region.min(granules - start);
            allocator.link(start, len);
            start += len;
        }
        allocator
    }

    /// Granules that are free.
    pub fn free_granules(&self) -> u32 {
        self.free
    }

    /// Granules of the largest free run.
    pub fn largest_free(&self) -> u32 {
        let top = (0..CLASSES).rfind(|&class| self.heads[class] != NONE);
        top.and_then(|class| self.runs(class).map(|(_, len)| len).max())
            .unwrap_or(0)
    }

    /// Takes `granules` (at least 1) in one piece; `None` when no run is long enough now.
    pub fn allocate(&mut self, granules: u32) -> Option<u32> {
        let wanted = granules.max(1);
        let own = class(wanted);
        // Every run of a higher class fits; in its own class one must be looked for.
        let start = self
            .first_filled(own + 1)
            .map(|class| self.heads[class])
            .or_else(|| {
                self.runs(own)
                    .find(|&(_, len)| len >= wanted)
                    .map(|(start, _)| start)
            })?;
        let len = self.unlink(start);
        if len > wanted {
            self.link(start + wanted, len - wanted);
        }
        self.free -= wanted;
        Some(start)
    }

    /// Gives back `granules` from `start` on: a whole allocation, or the end of one.
    pub fn free(&mut self, mut start: u32, granules: u32) {
        self.free += granules;
        let mut len = granules;
        let end = start + granules;
        if !end.is_multiple_of(self.region)
            && self.nodes.get(end as usize).is_some_and(|n| n.len > 0)
        {
            len += self.unlink(end);
        }
        if !start.is_multiple_of(self.region) {
            let before = self.nodes[start as usize - 1].start;
            if before != NONE {
                len += self.unlink(before);
                start = before;
            }
        }
        self.link(start, len);
    }

    fn runs(&self, class: usize) -> impl Iterator<Item = (u32, u32)> + '_ {
        let first = Some(self.heads[class]).filter(|&start| start != NONE);
        let starts = std::iter::successors(first, |&start| {
            Some(self.nodes[start as usize].next).filter(|&next| next != NONE)
        });
        starts.map(|start| (start, self.nodes[start as usize].len))
    }

    fn first_filled(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        for word in from / 64..self.filled.len() {
            let filled = self.filled[word] & mask;
            if filled != 0 {
                return Some(word * 64 + filled.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    fn link(&mut self, start: u32, len: u32) {
        let class = class(len);
        let next = std::mem::replace(&mut self.heads[class], start);
        self.filled[class / 64] |= 1 << (class % 64);
        let node = &mut self.nodes[start as usize];
        (node.previous, node.next, node.len) = (NONE, next, len);
        if next != NONE {
            self.nodes[next as usize].previous = start;
        }
        self.nodes[(start + len) as usize - 1].start = start;
    }

    /// Takes a run out of its list. Returns its length.
    fn unlink(&mut self, start: u32) -> u32 {
        let Node {
            previous,
            next,
            len,
            ..
        } = self.nodes[start as usize];
        self.nodes[start as usize].len = 0;
        self.nodes[(start + len) as usize - 1].start = NONE;
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else {
            let class = class(len);
            self.heads[class] = next;
            if next == NONE {
                self.filled[class / 64] &= !(1 << (class % 64));
            }
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_ascend_with_the_length_and_are_narrow() {
        let mut last = 0;
        for len in 1..100_000 {
            let class = class(len);
            assert!(class == last || class == last + 1, "{len}");
            last = class;
        }
        assert!(class(u32::MAX) < CLASSES);
        assert!(class(1 << 20) < class((1 << 20) + (1 << 17)));
    }

    #[test]
    fn reads_a_little_longer_than_a_power_of_two_fill_the_pool() {
        let mut allocator = Allocator::new(64 * 1024, 1 << 18);
        let taken = std::iter::from_fn(|| allocator.allocate(1026)).count();
        assert_eq!(taken, 64 * 1024 / 1026);
    }

    #[test]
    fn a_run_that_fits_exactly_is_found_among_shorter_ones_of_its_class() {
        let mut allocator = Allocator::new(1000, 1 << 18);
        let lens = [105, 104, 110, 107, 108, 105];
        let starts = lens.map(|len| {
            (
                allocator.allocate(len).unwrap(),
                allocator.allocate(1).unwrap(),
            )
                .0
        });
        let rest = allocator.largest_free();
        allocator.allocate(rest).unwrap();
        for (start, len) in starts.into_iter().zip(lens) {
            allocator.free(start, len);
        }
        assert_eq!(allocator.largest_free(), 110);
        assert_eq!(allocator.allocate(110), Some(starts[2]));
        assert_eq!(allocator.allocate(109), None);
    }

    #[test]
    fn everything_freed_joins_again() {
        let mut allocator = Allocator::new(100, 1 << 18);
        let taken: Vec<_> = (1..=9)
            .map(|n| (allocator.allocate(n).unwrap(), n))
            .collect();
        for &(start, n) in taken
            .iter()
            .step_by(2)
            .chain(taken.iter().skip(1).step_by(2))
        {
            allocator.free(start, n);
        }
        assert_eq!(
            (allocator.free_granules(), allocator.largest_free()),
            (100, 100)
        );
    }

    #[test]
    fn an_allocation_can_give_back_its_end() {
        let mut allocator = Allocator::new(8, 8);
        assert_eq!(allocator.allocate(8), Some(0));
        allocator.free(3, 5);
        assert_eq!(allocator.allocate(5), Some(3));
        allocator.free(0, 3);
        allocator.free(3, 5);
        assert_eq!(allocator.largest_free(), 8);
    }

    #[test]
    fn no_run_crosses_a_regions_boundary() {
        let mut allocator = Allocator::new(40, 16);
        assert_eq!(allocator.allocate(17), None);
        let mut taken = Vec::new();
        while let Some(start) = allocator.allocate(3) {
            assert_eq!(start / 16, (start + 2) / 16);
            taken.push(start);
        }
        assert_eq!(taken.len(), 5 + 5 + 2);
        for start in taken {
            allocator.free(start, 3);
        }
        assert_eq!(
            (allocator.free_granules(), allocator.largest_free()),
            (40, 16)
        );
    }

    #[test]
    fn more_than_there_is_is_never_found() {
        let mut allocator = Allocator::new(64, 1 << 18);
        assert_eq!(allocator.allocate(65), None);
        assert_eq!(allocator.allocate(u32::MAX), None);
        assert_eq!(allocator.free_granules(), 64);
    }

    #[test]
    fn allocations_are_disjoint_and_inside_whatever_the_order_of_calls() {
        let (granules, mut state) = (1000, 0x9e37_79b9_u32);
        let mut allocator = Allocator::new(granules, 256);
        let mut owner = vec![None; granules as usize];
        let mut held: Vec<(u32, u32)> = Vec::new();
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = 1 + (state >> 8) % 64;
            if state & 0x80 == 0 {
                if let Some(start) = allocator.allocate(n) {
                    for slot in &mut owner[start as usize..(start + n) as usize] {
                        assert_eq!(slot.replace(step), None);
                    }
                    held.push((start, n));
                }
            } else if !held.is_empty() {
                let (start, n) = held.swap_remove(state as usize % held.len());
                owner[start as usize..(start + n) as usize].fill(None);
                allocator.free(start, n);
            }
            check(&allocator, &owner);
        }
    }

    /// The allocator's books agree with who owns what: every free run is as long as it could be.
    fn check(allocator: &Allocator, owner: &[Option<u32>]) {
        let (mut free, mut longest, mut run) = (0, 0, 0);
        for (at, slot) in owner.iter().enumerate() {
            run = if at % 256 == 0 { 0 } else { run };
            run = if slot.is_none() { run + 1 } else { 0 };
            free += u32::from(slot.is_none());
            longest = longest.max(run);
        }
        assert_eq!(
            (allocator.free_granules(), allocator.largest_free()),
            (free, longest)
        );
    }
}
