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
#[path = "index_tests.rs"]
mod tests;
