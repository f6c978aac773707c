use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn real(dat_len: u64) -> Geometry {
    Geometry::new(ErasureConfig::default(), Some(dat_len), 0).unwrap()
}

fn block(shard: usize, offset: u64, left: u64) -> Option<Block> {
    Some(Block {
        shard,
        offset,
        left,
    })
}

/// Deals a file to shards by the rule alone: rows of large blocks while one is left, then of
/// small ones.
fn deal(dat: &[u32], data: usize, large: usize, small: usize) -> Vec<Vec<Option<u32>>> {
    let mut shards = vec![Vec::new(); data];
    let mut rest = dat;
    while !rest.is_empty() {
        let block = if rest.len() >= large * data {
            large
        } else {
            small
        };
        for shard in &mut shards {
            let (taken, left) = rest.split_at(block.min(rest.len()));
            shard.extend(taken.iter().copied().map(Some));
            shard.extend(std::iter::repeat_n(None, block - taken.len()));
            rest = left;
        }
    }
    shards
}

#[test]
fn every_byte_is_where_dealing_puts_it() {
    for (data, large, small) in [(3, 20, 4), (10, 6, 2), (1, 8, 8), (4, 5, 5)] {
        for len in (0..=4 * data * large + 7).step_by(3) {
            let dat: Vec<u32> = (0..len as u32).collect();
            let shards = deal(&dat, data, large, small);
            let sizes = (large as u64, small as u64);
            let geometry = Geometry::of_dat(data, 2, sizes, len as u64);
            assert_eq!(geometry.shard_len(), shards[0].len() as u64, "{len}");
            for byte in 0..len {
                let at = geometry.locate(byte as u64).unwrap();
                assert_eq!(shards[at.shard][at.offset as usize], Some(dat[byte]));
                let last = byte + at.left as usize - 1;
                if let Some(last) = dat.get(last) {
                    let end = (at.offset + at.left) as usize;
                    assert_eq!(shards[at.shard][end - 1], Some(*last), "one block");
                }
            }
            assert_eq!(geometry.locate(len as u64), None);
        }
    }
}

#[test]
fn a_length_that_is_not_known_is_taken_from_the_shards() {
    for len in (1..=4 * 3 * 20).filter(|len| !(len % 60 == 0 || len % 60 > 48)) {
        let known = Geometry::of_dat(3, 2, (20, 4), len);
        let guessed = Geometry::of_shards(3, 2, (20, 4), known.shard_len());
        for byte in 0..len {
            assert_eq!(known.locate(byte), guessed.locate(byte), "{byte} of {len}");
        }
    }
}

#[test]
fn blocks_of_a_gigabyte_come_before_those_of_a_megabyte() {
    let small = real(10 * GIB - 1);
    assert_eq!(small.shard_len(), GIB);
    assert_eq!(small.locate(MIB - 1), block(0, MIB - 1, 1));
    assert_eq!(small.locate(MIB), block(1, 0, MIB));
    assert_eq!(small.locate(10 * MIB), block(0, MIB, MIB));

    let both = real(20 * GIB + 25 * MIB + 3);
    assert_eq!(both.shard_len(), 2 * GIB + 3 * MIB);
    assert_eq!(both.locate(0), block(0, 0, GIB));
    assert_eq!(both.locate(GIB - 8), block(0, GIB - 8, 8));
    assert_eq!(both.locate(9 * GIB), block(9, 0, GIB));
    assert_eq!(both.locate(10 * GIB + 5), block(0, GIB + 5, GIB - 5));
    assert_eq!(both.locate(20 * GIB - 1), block(9, 2 * GIB - 1, 1));
    assert_eq!(both.locate(20 * GIB), block(0, 2 * GIB, MIB));
    assert_eq!(
        both.locate(20 * GIB + 11 * MIB),
        block(1, 2 * GIB + MIB, MIB)
    );
    assert_eq!(both.locate(20 * GIB + 25 * MIB + 3), None);

    assert_eq!(real(10 * GIB).locate(MIB), block(0, MIB, GIB - MIB));
    assert_eq!(real(0).shard_len(), 0);
    assert_eq!(real(1).shard_len(), MIB);
}

#[test]
fn a_volume_may_say_that_all_its_blocks_are_alike() {
    let config = ErasureConfig {
        block_bytes: 3 * MIB,
        ..ErasureConfig::default()
    };
    let uniform = Geometry::new(config, Some(25 * MIB), 0).unwrap();
    assert_eq!(uniform.shard_len(), 3 * MIB);
    assert_eq!(uniform.locate(7 * MIB), block(2, MIB, 2 * MIB));
}

#[test]
fn a_layout_that_can_not_be_is_corrupt() {
    let config = |data, parity, block_bytes| ErasureConfig {
        data,
        parity,
        block_bytes,
    };
    for bad in [
        config(0, 4, 0),
        config(10, 0, 0),
        config(30, 3, 0),
        config(u32::MAX, u32::MAX, 0),
        config(10, 4, 4096),
        config(10, 4, MIB + 1),
        config(10, 4, 1 << 60),
    ] {
        let made = Geometry::new(bad, Some(MIB), MIB);
        assert!(
            matches!(made, Err(VolumeError::CorruptVolume(_))),
            "{bad:?}"
        );
    }
    for len in [u64::MAX, 1 << 60] {
        assert!(Geometry::new(config(10, 4, 0), Some(len), MIB).is_err());
        assert!(Geometry::new(config(10, 4, 0), None, len).is_err());
    }
}
