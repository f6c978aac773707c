//! What to read into where: up to three extents of a file, cut into pieces. Pure.
//!
//! The file may be an address space whose blocks are in several files (see
//! [`Locate`](super::Locate)); then no piece reaches across the end of a block.

use std::num::NonZeroUsize;

/// The most bytes one submission reads.
pub const PIECE_BYTES: usize = 1 << 20;

/// A contiguous part of a file and its place in the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub file_offset: u64,
    /// Where it goes in the buffer.
    pub at: usize,
    /// Bytes to ask for.
    pub len: usize,
    /// Bytes of those that must be there; what is past them may lie past the end of the file.
    pub required: usize,
}

/// The extents of one read, in the order in which they are to land.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    extents: [Extent; Plan::MAX_EXTENTS],
    count: usize,
    direct: bool,
    /// No piece reaches across a multiple of this many bytes of the file.
    block: Option<NonZeroUsize>,
}

/// One submission's part of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub file_offset: u64,
    pub at: usize,
    pub len: usize,
    pub required: usize,
    /// It can only be continued at a block's start.
    pub direct: bool,
}

impl Plan {
    /// The most extents a plan has: a needle's header, its tail and the data wanted.
    pub const MAX_EXTENTS: usize = 3;

    /// A plan of `extents`; those beyond [`Self::MAX_EXTENTS`] are a mistake of the caller's.
    ///
    /// # Panics
    /// With more than [`Self::MAX_EXTENTS`].
    pub fn new(extents: &[Extent]) -> Self {
        let mut plan = Self {
            count: extents.len(),
            ..Self::default()
        };
        plan.extents[..extents.len()].copy_from_slice(extents);
        plan
    }

    /// The same plan for a file that is open for direct I/O.
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// The same plan, with no piece across a multiple of `block` bytes of the file, nor longer
    /// than that. 0, or more than [`PIECE_BYTES`], leaves the plan as it is.
    #[must_use]
    pub fn cut_at(mut self, block: usize) -> Self {
        self.block = NonZeroUsize::new(block).filter(|block| block.get() <= PIECE_BYTES);
        self
    }

    /// The extents.
    pub fn extents(&self) -> &[Extent] {
        &self.extents[..self.count]
    }

    /// Where `len` bytes of the file from `offset` on will be: the extent that has them all, and
    /// their place in it.
    pub fn find(&self, offset: u64, len: usize) -> Option<(usize, usize)> {
        self.extents()
            .iter()
            .enumerate()
            .find_map(|(number, extent)| {
                let skip = usize::try_from(offset.checked_sub(extent.file_offset)?).ok()?;
                (skip.checked_add(len)? <= extent.required).then_some((number, skip))
            })
    }

    /// Bytes of buffer the plan fills, from its start.
    pub fn buffer_bytes(&self) -> usize {
        self.extents()
            .iter()
            .map(|e| e.at + e.len)
            .max()
            .unwrap_or(0)
    }

    /// How many pieces the plan has.
    pub fn pieces(&self) -> u32 {
        self.extents().iter().map(|e| self.pieces_of(e)).sum()
    }

    pub(super) fn piece(&self, mut index: u32) -> Option<Piece> {
        for extent in self.extents() {
            let pieces = self.pieces_of(extent);
            if index < pieces {
                let (start, end) = (self.ahead(extent, index), self.ahead(extent, index + 1));
                return Some(Piece {
                    file_offset: extent.file_offset + start as u64,
                    at: extent.at + start,
                    len: end.min(extent.len) - start,
                    required: extent.required.min(end).saturating_sub(start),
                    direct: self.direct,
                });
            }
            index -= pieces;
        }
        None
    }

    /// Bytes at the front of extent `number` that have landed once the first `pieces` have.
    pub fn landed(&self, number: usize, pieces: u32) -> usize {
        let before = self.extents().iter().take(number);
        let before: u32 = before.map(|e| self.pieces_of(e)).sum();
        let of_this = pieces.saturating_sub(before);
        self.extents()
            .get(number)
            .map_or(0, |e| e.required.min(self.ahead(e, of_this)))
    }

    fn piece_bytes(&self) -> usize {
        self.block.map_or(PIECE_BYTES, NonZeroUsize::get)
    }

    /// Bytes of the extent's first block that lie before it.
    fn within(&self, extent: &Extent) -> usize {
        self.block.map_or(0, |block| {
            (extent.file_offset % block.get() as u64) as usize
        })
    }

    fn pieces_of(&self, extent: &Extent) -> u32 {
        match extent.len {
            0 => 0,
            len => (self.within(extent) + len).div_ceil(self.piece_bytes()) as u32,
        }
    }

    /// Where piece `index` of the extent begins, from the extent's start.
    fn ahead(&self, extent: &Extent, index: u32) -> usize {
        (index as usize * self.piece_bytes()).saturating_sub(self.within(extent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(file_offset: u64, at: usize, len: usize) -> Extent {
        Extent {
            file_offset,
            at,
            len,
            required: len,
        }
    }

    #[test]
    fn pieces_cover_every_extent_in_order() {
        let plan = Plan::new(&[extent(7, 0, 20), extent(100, 4096, 2 * PIECE_BYTES + 1)]);
        let pieces: Vec<_> = (0..plan.pieces()).map(|i| plan.piece(i).unwrap()).collect();
        assert_eq!(
            pieces.iter().map(|p| p.len).collect::<Vec<_>>(),
            [20, PIECE_BYTES, PIECE_BYTES, 1]
        );
        assert_eq!(pieces[3].file_offset, 100 + 2 * PIECE_BYTES as u64);
        assert_eq!(pieces[3].at, 4096 + 2 * PIECE_BYTES);
        assert_eq!(plan.piece(4), None);
        assert_eq!(plan.buffer_bytes(), 4096 + 2 * PIECE_BYTES + 1);
    }

    #[test]
    fn what_has_landed_grows_extent_by_extent() {
        let plan = Plan::new(&[extent(7, 0, 20), extent(100, 4096, PIECE_BYTES + 5)]);
        let landed = |pieces| (plan.landed(0, pieces), plan.landed(1, pieces));
        assert_eq!(landed(0), (0, 0));
        assert_eq!(landed(1), (20, 0));
        assert_eq!(landed(2), (20, PIECE_BYTES));
        assert_eq!(landed(3), (20, PIECE_BYTES + 5));
    }

    #[test]
    fn bytes_of_the_file_are_found_where_one_extent_has_them_all() {
        let plan = Plan::new(&[extent(7, 0, 20), extent(100, 4096, 50)]);
        assert_eq!(plan.find(7, 20), Some((0, 0)));
        assert_eq!(plan.find(149, 1), Some((1, 49)));
        assert_eq!(plan.find(149, 2), None);
        assert_eq!(plan.find(6, 1), None);
        assert_eq!(plan.find(50, 1), None);
        assert_eq!(plan.find(u64::MAX, usize::MAX), None);
    }

    #[test]
    fn no_piece_reaches_across_a_block() {
        let plan = Plan::new(&[extent(90, 0, 20), extent(1200, 4096, 200)]).cut_at(100);
        let pieces: Vec<_> = (0..plan.pieces()).map(|i| plan.piece(i).unwrap()).collect();
        let ranges = pieces
            .iter()
            .map(|p| (p.file_offset, p.at, p.len, p.required));
        assert_eq!(
            ranges.collect::<Vec<_>>(),
            [
                (90, 0, 10, 10),
                (100, 10, 10, 10),
                (1200, 4096, 100, 100),
                (1300, 4196, 100, 100)
            ]
        );
        let landed: Vec<_> = (0..=4)
            .map(|n| (plan.landed(0, n), plan.landed(1, n)))
            .collect();
        assert_eq!(landed, [(0, 0), (10, 0), (20, 0), (20, 100), (20, 200)]);
        let none = Plan::new(&[extent(90, 0, 0)]).cut_at(100);
        assert_eq!((none.pieces(), none.landed(0, 0)), (0, 0));
    }

    #[test]
    fn bytes_that_may_lie_past_the_end_never_count_as_landed() {
        let wide = Extent {
            file_offset: 0,
            at: 0,
            len: 2 * PIECE_BYTES,
            required: PIECE_BYTES - 3,
        };
        let plan = Plan::new(&[wide]);
        assert_eq!(plan.piece(1).unwrap().required, 0);
        assert_eq!(plan.landed(0, 2), PIECE_BYTES - 3);
    }
}
