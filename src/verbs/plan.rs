//! How a read is cut into work requests.

/// The most bytes of one READ. Longer reads are cut, so that their checksum can be computed while
/// the rest is on its way and no one read keeps the others from the wire for long.
pub const PIECE_BYTES: usize = 1 << 20;

/// A contiguous part of a read that is one work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first byte, from the read's start.
    pub at: usize,
    /// Bytes, 1 to [`PIECE_BYTES`].
    pub len: usize,
}

/// The pieces of a read and which of them have landed. Those in flight are never more than
/// [`WINDOW`] apart.
#[derive(Debug)]
pub(super) struct Plan {
    len: usize,
    /// The next piece to post.
    next: usize,
    /// Pieces landed without a gap from the first.
    base: usize,
    /// Pieces landed from `base` on, one bit each.
    landed: u128,
}

/// Pieces of one read in flight at once; one bit of [`Plan::landed`] each.
pub(super) const WINDOW: usize = u128::BITS as usize;

impl Plan {
    pub(super) fn new(len: usize) -> Self {
        Self {
            len,
            next: 0,
            base: 0,
            landed: 0,
        }
    }

    fn pieces(&self) -> usize {
        self.len.div_ceil(PIECE_BYTES)
    }

    /// Whether pieces are left to post, now or when others have landed.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.pieces()
    }

    /// The next piece to post and its number, if the window has room.
    pub(super) fn next_piece(&mut self) -> Option<(usize, Piece)> {
        if !self.has_more() || self.next >= self.base + WINDOW {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let at = number * PIECE_BYTES;
        let len = PIECE_BYTES.min(self.len - at);
        Some((number, Piece { at, len }))
    }

    /// Takes note that piece `number`, which was posted, has landed.
    pub(super) fn complete(&mut self, number: usize) {
        if number < self.base || number >= self.next {
            return;
        }
        self.landed |= 1 << (number - self.base);
        let run = self.landed.trailing_ones();
        self.landed = self.landed.checked_shr(run).unwrap_or(0);
        self.base += run as usize;
    }

    /// Bytes landed without a gap.
    pub(super) fn landed_bytes(&self) -> usize {
        (self.base * PIECE_BYTES).min(self.len)
    }

    /// Whether everything has landed.
    pub(super) fn is_complete(&self) -> bool {
        self.base == self.pieces()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_read_without_gap_or_overlap() {
        for len in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 8 << 20] {
            let mut plan = Plan::new(len);
            let mut end = 0;
            while let Some((number, piece)) = plan.next_piece() {
                assert_eq!(piece.at, end);
                assert!((1..=PIECE_BYTES).contains(&piece.len));
                end += piece.len;
                plan.complete(number);
            }
            assert_eq!(end, len);
            assert!(plan.is_complete() && !plan.has_more());
        }
    }

    #[test]
    fn what_has_landed_counts_only_up_to_the_first_gap() {
        let mut plan = Plan::new(3 * PIECE_BYTES + 5);
        while plan.next_piece().is_some() {}
        plan.complete(1);
        plan.complete(3);
        assert_eq!(plan.landed_bytes(), 0);
        plan.complete(0);
        assert_eq!(plan.landed_bytes(), 2 * PIECE_BYTES);
        plan.complete(2);
        assert_eq!(plan.landed_bytes(), 3 * PIECE_BYTES + 5);
        assert!(plan.is_complete());
    }

    #[test]
    fn the_window_bounds_what_is_in_flight_and_moves_with_what_lands() {
        let mut plan = Plan::new((WINDOW + 2) * PIECE_BYTES);
        let posted = std::iter::from_fn(|| plan.next_piece()).count();
        assert_eq!(posted, WINDOW);
        assert!(plan.has_more());
        for number in 0..WINDOW {
            plan.complete(number);
        }
        assert_eq!(std::iter::from_fn(|| plan.next_piece()).count(), 2);
        assert!(!plan.has_more());
    }

    #[test]
    fn a_piece_that_was_not_posted_or_landed_before_changes_nothing() {
        let mut plan = Plan::new(2 * PIECE_BYTES);
        plan.complete(0);
        assert_eq!(plan.landed_bytes(), 0);
        plan.next_piece();
        plan.complete(0);
        plan.complete(0);
        plan.complete(1);
        assert_eq!(plan.landed_bytes(), PIECE_BYTES);
    }
}
