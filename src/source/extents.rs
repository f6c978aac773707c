//! Spans of a file, placed in a buffer as few extents. Pure.
//!
//! Spans that are close become one extent: reading a little more is cheaper than another
//! submission. Every byte keeps its place in the page, so that the kernel copies page to page,
//! and so that direct I/O, which must begin and end at blocks, can be widened in place.

use crate::uring::{Extent, Plan};

/// Alignment of direct I/O: no common file system asks for more.
const BLOCK: u64 = 4096;
/// Spans with less than this between them are read as one.
const NEAR: u64 = 4096;

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub offset: u64,
    /// How many.
    pub len: usize,
}

/// Places `spans`, which ascend and do not overlap, from byte `base` (a multiple of the block)
/// of a buffer on.
pub fn place<const N: usize>(spans: [Span; N], direct: bool, base: usize) -> Plan {
    const { assert!(N >= 1 && N <= Plan::MAX_EXTENTS) };
    let mut extents = [Extent::default(); N];
    let mut count = 0;
    let mut next = base;
    for span in spans {
        let (start, end) = (span.offset, span.offset + span.len as u64);
        let joined = count > 0 && start < file_end(&extents[count - 1]) + NEAR;
        if !joined {
            let within = (start % BLOCK) as usize;
            extents[count] = Extent {
                file_offset: start,
                at: next + within,
                len: 0,
                required: 0,
            };
            if direct {
                extents[count].file_offset -= within as u64;
                extents[count].at -= within;
            }
            count += 1;
        }
        let extent = &mut extents[count - 1];
        extent.required = (end - extent.file_offset) as usize;
        let widened = if direct {
            end.next_multiple_of(BLOCK)
        } else {
            end
        };
        extent.len = (widened - extent.file_offset) as usize;
        next = (extent.at + extent.len).next_multiple_of(BLOCK as usize);
    }
    Plan::new(&extents[..count]).direct(direct)
}

fn file_end(extent: &Extent) -> u64 {
    extent.file_offset + extent.len as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: u64, len: usize) -> Span {
        Span { offset, len }
    }

    #[test]
    fn near_spans_are_read_as_one_with_what_lies_between() {
        let plan = place([span(8, 20), span(1000, 500), span(1600, 12)], false, 0);
        assert_eq!(
            plan.extents(),
            [Extent {
                file_offset: 8,
                at: 8,
                len: 1604,
                required: 1604
            }]
        );
    }

    #[test]
    fn far_spans_are_read_apart_and_keep_their_place_in_the_page() {
        let plan = place(
            [span(8, 20), span(1_000_005, 500), span(9_000_000, 12)],
            false,
            8192,
        );
        assert_eq!(
            plan.extents().iter().map(|e| e.len).collect::<Vec<_>>(),
            [20, 500, 12]
        );
        for extent in plan.extents() {
            assert_eq!(extent.file_offset % 4096, extent.at as u64 % 4096);
            assert!(extent.at >= 8192);
        }
    }

    #[test]
    fn direct_reads_are_widened_to_blocks_and_need_only_what_was_asked() {
        let plan = place([span(5000, 20), span(9000, 5000)], true, 0);
        let whole = Extent {
            file_offset: 4096,
            at: 0,
            len: 12_288,
            required: 14_000 - 4096,
        };
        assert_eq!(plan.extents(), [whole]);
        let apart = place([span(5000, 20), span(900_000, 5000)], true, 0);
        assert_eq!(apart.extents().len(), 2);
        for extent in apart.extents() {
            assert_eq!(
                (
                    extent.file_offset % 4096,
                    extent.at % 4096,
                    extent.len % 4096
                ),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn extents_never_overlap_in_the_buffer() {
        for direct in [false, true] {
            let plan = place(
                [span(4090, 20), span(20_000, 4096), span(40_001, 1)],
                direct,
                0,
            );
            let mut end = 0;
            for extent in plan.extents() {
                assert!(extent.at >= end);
                end = extent.at + extent.len;
            }
            assert_eq!(plan.buffer_bytes(), end);
        }
    }

    #[test]
    fn an_empty_span_costs_nothing() {
        let plan = place([span(8, 16), span(24, 0), span(24, 12)], false, 0);
        assert_eq!(
            plan.extents(),
            [Extent {
                file_offset: 8,
                at: 8,
                len: 28,
                required: 28
            }]
        );
    }
}
