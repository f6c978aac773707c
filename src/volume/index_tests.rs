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
    for n in 1_000_000..1_200_000 {
        index.apply(scrambled(n), Some(located(n)));
        if n % 25_000 == 0 {
            assert_small(&index, "while growing");
        }
    }
    assert!(
        (0..1_200_000)
            .step_by(7)
            .all(|n| index.get(scrambled(n)) == Some(located(n)))
    );
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
