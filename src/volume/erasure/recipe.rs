//! How the bytes of a missing shard come from those of others.
//!
//! Reed-Solomon over GF(2⁸), with the systematic Vandermonde matrix of Klaus Post's Go package,
//! which SeaweedFS uses: byte `i` of any shard is the sum of the bytes `i` of as many others as
//! have data, each times a factor that depends on which they are. So any range can be computed
//! from the same range of the others, and one by one.

use reed_solomon_erasure::galois_8::{ReedSolomon, mul_slice_xor};

use super::geometry::Geometry;
use super::set::ShardSet;

/// What to add up for one data shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Shards and their factors.
    parts: Vec<(usize, u8)>,
}

impl Recipe {
    /// Of the shards that are `there`, those to compute data shard `wanted` from; None if they are
    /// too few.
    pub fn new(geometry: &Geometry, there: ShardSet, wanted: usize) -> Option<Self> {
        let (data, total) = (geometry.data(), geometry.total());
        let sources: Vec<usize> = there.iter().filter(|&n| n < total).take(data).collect();
        if sources.len() < data || wanted >= data {
            return None;
        }
        // The shards of unit vectors: what comes out for the wanted one are the factors.
        let mut shards: Vec<Option<Vec<u8>>> = vec![None; total];
        for (place, &source) in sources.iter().enumerate() {
            let mut unit = vec![0; data];
            *unit.get_mut(place)? = 1;
            *shards.get_mut(source)? = Some(unit);
        }
        let code = ReedSolomon::new(data, total - data).ok()?;
        code.reconstruct_data(&mut shards).ok()?;
        let factors = shards.get(wanted)?.as_ref()?;
        let parts = sources.iter().copied().zip(factors.iter().copied());
        Some(Self {
            parts: parts.filter(|&(_, factor)| factor != 0).collect(),
        })
    }

    /// The shards to read.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|&(shard, _)| shard)
    }

    /// Computes into `wanted` from the same range of every source, one after the other in
    /// `sources`.
    ///
    /// # Panics
    /// When they are not as many as [`Self::sources`], each as long as `wanted`.
    pub fn cook(&self, sources: &[u8], wanted: &mut [u8]) {
        assert_eq!(sources.len(), self.parts.len() * wanted.len());
        wanted.fill(0);
        if wanted.is_empty() {
            return;
        }
        for (bytes, &(_, factor)) in sources.chunks_exact(wanted.len()).zip(&self.parts) {
            mul_slice_xor(factor, bytes, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::vif::ErasureConfig;
    use super::*;

    const LEN: usize = 33;

    fn volume(data: u32, parity: u32) -> (Geometry, Vec<Vec<u8>>) {
        let config = ErasureConfig {
            data,
            parity,
            block_bytes: 0,
        };
        let geometry = Geometry::new(config, Some(1), 0).unwrap();
        let byte = |shard: usize, i: usize| (shard * 91 + i * i * 7 + 13) as u8;
        let shard = |n| (0..LEN).map(|i| byte(n, i)).collect();
        let mut shards: Vec<Vec<u8>> = (0..geometry.total()).map(shard).collect();
        let code = ReedSolomon::new(data as usize, parity as usize).unwrap();
        code.encode(&mut shards).unwrap();
        (geometry, shards)
    }

    fn cooked(recipe: &Recipe, shards: &[Vec<u8>]) -> Vec<u8> {
        let sources: Vec<u8> = recipe.sources().flat_map(|n| shards[n].clone()).collect();
        let mut wanted = vec![0xaa; LEN];
        recipe.cook(&sources, &mut wanted);
        wanted
    }

    #[test]
    fn a_shard_comes_from_any_ten_others() {
        let (geometry, shards) = volume(10, 4);
        let all: ShardSet = (0..14).collect();
        for lost in [[0, 1, 2, 3], [6, 7, 8, 9], [0, 9, 10, 13], [5, 11, 12, 13]] {
            let there = all.without(lost.into_iter().collect());
            for wanted in lost.into_iter().filter(|&n| n < 10) {
                let recipe = Recipe::new(&geometry, there, wanted).unwrap();
                assert!(recipe.sources().all(|n| there.contains(n)));
                assert_eq!(
                    cooked(&recipe, &shards),
                    shards[wanted],
                    "{lost:?} {wanted}"
                );
            }
            assert!(!there.contains(lost[0]));
        }
    }

    #[test]
    fn other_counts_do_as_well() {
        for (data, parity) in [(1, 1), (3, 2), (16, 16)] {
            let (geometry, shards) = volume(data, parity);
            let there = (1..geometry.total()).collect();
            let recipe = Recipe::new(&geometry, there, 0).unwrap();
            assert_eq!(cooked(&recipe, &shards), shards[0]);
        }
    }

    #[test]
    fn of_too_few_there_is_none() {
        let (geometry, _) = volume(10, 4);
        assert_eq!(Recipe::new(&geometry, (5..14).collect(), 0), None);
        assert_eq!(Recipe::new(&geometry, (5..32).collect(), 0), None);
        assert_eq!(Recipe::new(&geometry, (0..14).collect(), 10), None);
    }
}
