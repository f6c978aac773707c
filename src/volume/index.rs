//! A volume's index in memory: which live needle is where, in at most 20 bytes a needle.
//!
//! A sorted list of sorted chunks, a B+ tree of two levels. An entry is 17 bytes and chunks
//! grow by a sixteenth at a time, so that little is allocated and unused whatever the order in
//! which ids come. Deleted needles leave nothing behind.

use super::needle::{ALIGNMENT, Located};

/// A full chunk: what one insertion moves at the most, 8.5 KiB.
const CHUNK_LEN_MAX: usize = 512;
/// A chunk this small is joined to a neighbour if both together are not
/// [`CHUNK_LEN_JOINED_MAX`].
const CHUNK_LEN_SMALL: usize = 128;
const CHUNK_LEN_JOINED_MAX: usize = 384;

/// Live needles by id.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Ascending, none empty.
    chunks: Vec<Chunk>,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    /// No id in this chunk is below it, and all in the chunks before are.
    first: u64,
    entries: Vec<Packed>,
}

/// An entry without padding: 17 bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    id: [u8; 8],
    /// Little-endian, in units of 8 bytes.
    offset: [u8; 5],
    size: [u8; 4],
}

impl Packed {
    fn new(id: u64, located: Located) -> Self {
        let [o0, o1, o2, o3, o4, ..] = (located.offset / ALIGNMENT).to_le_bytes();
        Self {
            id: id.to_le_bytes(),
            offset: [o0, o1, o2, o3, o4],
            size: located.size.to_le_bytes(),
        }
    }

    const fn id(&self) -> u64 {
        u64::from_le_bytes(self.id)
    }

    const fn located(&self) -> Located {
        let [o0, o1, o2, o3, o4] = self.offset;
        Located {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, 0, 0, 0]) * ALIGNMENT,
            size: u32::from_le_bytes(self.size),
        }
    }
}

impl Chunk {
    fn of(entry: Packed) -> Self {
        Self {
            first: entry.id(),
            entries: vec![entry],
        }
    }

    fn find(&self, id: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, Packed::id)
    }

    /// By how many entries the allocation grows, and how many it may have to spare.
    fn step(&self) -> usize {
        (self.entries.len() / 16).max(4)
    }

    fn insert(&mut self, at: usize, entry: Packed) {
        if self.entries.len() == self.entries.capacity() {
            let room = CHUNK_LEN_MAX.saturating_sub(self.entries.len());
            self.entries.reserve_exact(self.step().min(room));
        }
        self.entries.insert(at, entry);
        self.first = self.first.min(entry.id());
    }

    /// Gives back what deletions have freed, when it is worth a copy.
    fn trim(&mut self) {
        if self.entries.capacity() > self.entries.len() + 2 * self.step() {
            self.entries.shrink_to(self.entries.len() + self.step());
        }
    }

    /// Takes the upper half off.
    fn split(&mut self) -> Self {
        let entries = self.entries.split_off(self.entries.len() / 2);
        self.trim();
        let first = entries.first().map_or(u64::MAX, Packed::id);
        Self { first, entries }
    }
}

impl Index {
    /// How many needles are live.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes allocated for the index.
    pub(super) fn memory_bytes(&self) -> usize {
        let entries: usize = self.chunks.iter().map(|c| c.entries.capacity()).sum();
        self.chunks.capacity() * size_of::<Chunk>() + entries * size_of::<Packed>()
    }

    /// Where needle `id` is, if it is live.
    pub(super) fn get(&self, id: u64) -> Option<Located> {
        let chunk = self.chunks.get(self.chunk_of(id))?;
        let entry = chunk.entries.get(chunk.find(id).ok()?)?;
        Some(entry.located())
    }

    /// Takes one entry of the index file: needle `id` is `located` from now on, or, with
    /// None, is no more.
    pub(super) fn apply(&mut self, id: u64, located: Option<Located>) {
        match located {
            Some(located) => self.put(Packed::new(id, located)),
            None => self.delete(id),
        }
    }

    /// The chunk that has or would take `id`.
    fn chunk_of(&self, id: u64) -> usize {
        // Ids mostly ascend, so it is mostly the last.
        let last = self.chunks.len().saturating_sub(1);
        match self.chunks.last() {
            Some(chunk) if chunk.first <= id => last,
            _ => {
                let after = self.chunks.partition_point(|chunk| chunk.first <= id);
                after.saturating_sub(1)
            }
        }
    }

    fn put(&mut self, entry: Packed) {
        let id = entry.id();
        let at = self.chunk_of(id);
        let is_last = at + 1 >= self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk::of(entry));
            self.len += 1;
            return;
        };
        let place = match chunk.find(id) {
            Ok(place) => {
                chunk.entries[place] = entry;
                return;
            }
            Err(place) => place,
        };
        self.len += 1;
        if chunk.entries.len() < CHUNK_LEN_MAX {
            chunk.insert(place, entry);
        } else if is_last && place == CHUNK_LEN_MAX {
            self.chunks.push(Chunk::of(entry));
        } else {
            let mut upper = chunk.split();
            match place.checked_sub(chunk.entries.len()) {
                Some(place) if place > 0 => upper.insert(place, entry),
                _ => chunk.insert(place, entry),
            }
            self.chunks.insert(at + 1, upper);
        }
    }

    fn delete(&mut self, id: u64) {
        let at = self.chunk_of(id);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        let Ok(place) = chunk.find(id) else {
            return;
        };
        chunk.entries.remove(place);
        chunk.trim();
        self.len -= 1;
        let left = chunk.entries.len();
        if left == 0 {
            self.chunks.remove(at);
        } else if left < CHUNK_LEN_SMALL && !self.join_next(at) {
            at.checked_sub(1).map(|before| self.join_next(before));
        }
        if self.chunks.capacity() > 4 * self.chunks.len() + 16 {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }

    /// Joins the chunk at `at` and the next, if there is one and both are small enough.
    fn join_next(&mut self, at: usize) -> bool {
        let Some([chunk, next]) = self.chunks.get_mut(at..at.saturating_add(2)) else {
            return false;
        };
        if chunk.entries.len() + next.entries.len() > CHUNK_LEN_JOINED_MAX {
            return false;
        }
        chunk.entries.reserve_exact(next.entries.len());
        chunk.entries.append(&mut next.entries);
        chunk.trim();
        self.chunks.remove(at + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What every live needle may cost, all told.
    const BYTES_MAX: usize = 20;
    /// What an allocator may add to each allocation.
    const ALLOCATION_OVERHEAD: usize = 16;

    fn located(n: u64) -> Located {
        Located {
            offset: (n + 1) * 8,
            size: (n % 1_000_000) as u32,
        }
    }

    /// A full-period scrambling of the numbers below 2^64.
    fn scrambled(n: u64) -> u64 {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n ^ (n >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn assert_small(index: &Index, when: &str) {
        let allocations = index.chunks.len() + 1;
        let bytes = index.memory_bytes() + allocations * ALLOCATION_OVERHEAD;
        let each = bytes as f64 / index.len() as f64;
        assert!(bytes <= BYTES_MAX * index.len(), "{when}: {each} bytes");
    }

    #[test]
    fn an_entry_takes_17_bytes() {
        assert_eq!(size_of::<Packed>(), 17);
        let widest = Located {
            offset: ((1 << 40) - 1) * 8,
            size: i32::MAX as u32,
        };
        assert_eq!(Packed::new(u64::MAX, widest).located(), widest);
        assert_eq!(Packed::new(u64::MAX, widest).id(), u64::MAX);
    }

    #[test]
    fn it_agrees_with_a_map_through_any_mix_of_puts_and_deletes() {
        let mut index = Index::default();
        let mut map = BTreeMap::new();
        for n in 0..200_000_u64 {
            let random = scrambled(n);
            // Few enough ids that overwriting and deleting happen often; first growing, then
            // mostly deleting, then growing again.
            let id = random >> 8 & 0x3fff;
            let put = match n / 60_000 {
                1 => random & 0xf < 3,
                _ => random & 0xf < 11,
            };
            let change = put.then(|| located(n));
            index.apply(id, change);
            match change {
                Some(located) => map.insert(id, located),
                None => map.remove(&id),
            };
            assert_eq!(index.len(), map.len());
        }
        for id in 0..=0x4000 {
            assert_eq!(index.get(id), map.get(&id).copied(), "{id}");
        }
        let kept = index.chunks.iter().flat_map(|c| &c.entries).map(Packed::id);
        assert!(kept.eq(map.keys().copied()), "in order");
        assert!(index.chunks.iter().all(|chunk| !chunk.entries.is_empty()));
    }

    #[test]
    fn the_ends_of_the_id_space_are_ids_like_any_other() {
        let mut index = Index::default();
        assert_eq!(index.get(0), None);
        index.apply(5, None);
        for id in [u64::MAX, 0, 1 << 63] {
            index.apply(id, Some(located(id >> 40)));
        }
        assert_eq!(index.get(0), Some(located(0)));
        assert_eq!(index.get(u64::MAX), Some(located(u64::MAX >> 40)));
        assert_eq!(index.get(1), None);
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn a_needle_costs_at_most_20_bytes_in_ascending_order() {
        let mut index = Index::default();
        for id in 0..1_500_000 {
            index.apply(id, Some(located(id)));
            if id.is_power_of_two() && id > 1_000 || id == 999_999 {
                assert_small(&index, "while growing");
            }
        }
        assert_small(&index, "in the end");
        assert_eq!(index.get(1_234_567), Some(located(1_234_567)));
    }

    #[test]
    fn a_needle_costs_at_most_20_bytes_in_random_order_and_after_growing() {
        let mut index = Index::default();
        for n in 0..1_000_000 {
            index.apply(scrambled(n), Some(located(n)));
        }
        assert_eq!(index.len(), 1_000_000);
        assert_small(&index, "a million");
        for n in 1_000_000..1_300_000 {
            index.apply(scrambled(n), Some(located(n)));
            if n % 10_000 == 0 {
                assert_small(&index, "while growing");
            }
        }
        assert!((0..1_300_000).all(|n| index.get(scrambled(n)) == Some(located(n))));
    }

    #[test]
    fn a_needle_costs_at_most_20_bytes_when_two_writers_interleave() {
        let mut index = Index::default();
        for n in 0..500_000 {
            index.apply(n, Some(located(n)));
            index.apply(1 << 40 | n, Some(located(n)));
        }
        assert_eq!(index.len(), 1_000_000);
        assert_small(&index, "interleaved");
    }

    #[test]
    fn deleted_needles_cost_nothing() {
        for order in [|n| n, scrambled] {
            let mut index = Index::default();
            for n in 0..300_000 {
                index.apply(order(n), Some(located(n)));
            }
            for n in 0..300_000 {
                if n % 100 != 0 {
                    index.apply(order(n), None);
                }
                if n % 7_000 == 0 {
                    assert_small(&index, "while deleting");
                }
            }
            assert_eq!(index.len(), 3_000);
            assert_small(&index, "few left");
            assert!((0..300_000).all(|n| index.get(order(n)).is_some() == (n % 100 == 0)));
            (0..300_000).for_each(|n| index.apply(order(n), None));
            assert_eq!(index.len(), 0);
            assert!(index.memory_bytes() < 1_000, "{}", index.memory_bytes());
        }
    }
}
