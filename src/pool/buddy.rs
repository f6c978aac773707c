//! Which parts of the pool are free: a buddy allocator over 4 KiB granules.
//!
//! Blocks are powers of two, aligned to their size, so that none crosses a registered region.
//! What a request does not need of its block goes back at once, so that nothing but the rounding
//! to a granule is lost. Pure: positions in, positions out.

/// Bytes of a granule, the smallest unit handed out.
pub const GRANULE_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;
const NOT_FREE: u8 = u8::MAX;

/// The free blocks of a pool, by size.
#[derive(Debug)]
pub struct Buddy {
    /// First free block of each order.
    heads: Vec<u32>,
    /// Per granule; meaningful where a free block starts.
    nodes: Vec<Node>,
    free: u32,
}

/// A free block's place in the list of its order.
#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    /// Order of the free block that starts here.
    order: u8,
}

impl Buddy {
    /// An allocator of `granules`, all free, whose largest block is 2^`max_order` granules.
    pub fn new(granules: u32, max_order: u8) -> Self {
        let node = Node {
            previous: NONE,
            next: NONE,
            order: NOT_FREE,
        };
        let mut buddy = Self {
            heads: vec![NONE; usize::from(max_order) + 1],
            nodes: vec![node; granules as usize],
            free: 0,
        };
        buddy.free(0, granules);
        buddy
    }

    /// Granules that are free.
    pub fn free_granules(&self) -> u32 {
        self.free
    }

    /// Granules of the largest free block.
    pub fn largest_free(&self) -> u32 {
        let order = self.heads.iter().rposition(|&head| head != NONE);
        order.map_or(0, |order| 1 << order)
    }

    /// Takes `granules` (at least 1) in one piece; `None` when no block is large enough now.
    pub fn allocate(&mut self, granules: u32) -> Option<u32> {
        let wanted = granules
            .max(1)
            .checked_next_power_of_two()?
            .trailing_zeros() as usize;
        let found = (wanted..self.heads.len()).find(|&order| self.heads[order] != NONE)?;
        let start = self.heads[found];
        self.unlink(start);
        self.free -= 1 << found;
        self.free(start + granules.max(1), (1 << found) - granules.max(1));
        Some(start)
    }

    /// Gives back `granules` from `start` on: a whole allocation, or the end of one.
    pub fn free(&mut self, mut start: u32, mut granules: u32) {
        self.free += granules;
        while granules > 0 {
            let order = start
                .trailing_zeros()
                .min(granules.ilog2())
                .min(self.max_order());
            self.merge(start, order);
            start += 1 << order;
            granules -= 1 << order;
        }
    }

    fn max_order(&self) -> u32 {
        self.heads.len() as u32 - 1
    }

    /// Makes a block free, joined with its buddy as often as that is free too.
    fn merge(&mut self, mut start: u32, mut order: u32) {
        while order < self.max_order() {
            let buddy = start ^ (1 << order);
            let is_free = self
                .nodes
                .get(buddy as usize)
                .is_some_and(|n| u32::from(n.order) == order);
            if !is_free {
                break;
            }
            self.unlink(buddy);
            start &= !(1 << order);
            order += 1;
        }
        self.link(start, order as u8);
    }

    fn link(&mut self, start: u32, order: u8) {
        let next = std::mem::replace(&mut self.heads[usize::from(order)], start);
        self.nodes[start as usize] = Node {
            previous: NONE,
            next,
            order,
        };
        if next != NONE {
            self.nodes[next as usize].previous = start;
        }
    }

    fn unlink(&mut self, start: u32) {
        let Node {
            previous,
            next,
            order,
        } = self.nodes[start as usize];
        self.nodes[start as usize].order = NOT_FREE;
        match previous {
            NONE => self.heads[usize::from(order)] = next,
            before => self.nodes[before as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_does_not_need_of_its_block_stays_free() {
        let mut buddy = Buddy::new(16, 4);
        assert_eq!(buddy.allocate(5), Some(0));
        assert_eq!(buddy.free_granules(), 11);
        assert_eq!(buddy.largest_free(), 8);
        assert_eq!(buddy.allocate(8), Some(8));
        assert_eq!(buddy.allocate(4), None);
        assert_eq!(
            buddy.allocate(3).map(|_| ()),
            None,
            "3 needs a block of 4; 1 and 2 are left"
        );
        assert_eq!(buddy.allocate(2), Some(6));
        assert_eq!(buddy.allocate(1), Some(5));
        assert_eq!(buddy.free_granules(), 0);
    }

    #[test]
    fn everything_freed_joins_again_into_the_largest_blocks() {
        let mut buddy = Buddy::new(100, 5);
        let taken: Vec<_> = (1..=9).map(|n| (buddy.allocate(n).unwrap(), n)).collect();
        for &(start, n) in taken
            .iter()
            .step_by(2)
            .chain(taken.iter().skip(1).step_by(2))
        {
            buddy.free(start, n);
        }
        assert_eq!((buddy.free_granules(), buddy.largest_free()), (100, 32));
        for _ in 0..3 {
            assert!(buddy.allocate(32).is_some());
        }
        assert_eq!(buddy.allocate(4), Some(96));
    }

    #[test]
    fn an_allocation_can_give_back_its_end() {
        let mut buddy = Buddy::new(8, 3);
        let start = buddy.allocate(8).unwrap();
        buddy.free(start + 3, 5);
        assert_eq!(buddy.allocate(4), Some(4));
        buddy.free(start, 3);
        buddy.free(4, 4);
        assert_eq!(buddy.largest_free(), 8);
    }

    #[test]
    fn more_than_the_largest_block_is_never_found() {
        let mut buddy = Buddy::new(64, 4);
        assert_eq!(buddy.allocate(17), None);
        assert_eq!(buddy.allocate(u32::MAX), None);
        assert_eq!(buddy.free_granules(), 64);
    }

    #[test]
    fn blocks_are_aligned_disjoint_and_inside_whatever_the_order_of_calls() {
        let (granules, mut state) = (1000, 0x9e37_79b9_u32);
        let mut buddy = Buddy::new(granules, 6);
        let mut owner = vec![None; granules as usize];
        let mut held: Vec<(u32, u32)> = Vec::new();
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = 1 + (state >> 8) % 64;
            if state & 1 == 0 {
                if let Some(start) = buddy.allocate(n) {
                    assert_eq!(start % n.next_power_of_two(), 0);
                    for slot in &mut owner[start as usize..(start + n) as usize] {
                        assert_eq!(slot.replace(step), None);
                    }
                    held.push((start, n));
                }
            } else if !held.is_empty() {
                let (start, n) = held.swap_remove(state as usize % held.len());
                owner[start as usize..(start + n) as usize].fill(None);
                buddy.free(start, n);
            }
            assert_eq!(
                buddy.free_granules() as usize,
                owner.iter().filter(|o| o.is_none()).count()
            );
        }
    }
}
