//! Some of a volume's shards.

/// Numbers of shards, below [`ShardSet::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u32);

impl ShardSet {
    /// The most shards a volume has, as in SeaweedFS.
    pub const MAX: usize = u32::BITS as usize;

    /// Whether shard `number` is one of them.
    pub fn contains(self, number: usize) -> bool {
        Self::bit(number) & self.0 != 0
    }

    /// These and shard `number`.
    #[must_use]
    pub fn with(self, number: usize) -> Self {
        Self(self.0 | Self::bit(number))
    }

    /// These but for the `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// How many they are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |&number| self.contains(number))
    }

    fn bit(number: usize) -> u32 {
        u32::try_from(number)
            .ok()
            .and_then(|number| 1_u32.checked_shl(number))
            .unwrap_or(0)
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        numbers.into_iter().fold(Self::default(), Self::with)
    }
}

impl std::fmt::Display for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, number) in self.iter().enumerate() {
            write!(f, "{}{number}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let set: ShardSet = [0, 3, 31].into_iter().collect();
        assert_eq!((set.len(), set.to_string().as_str()), (3, "0, 3, 31"));
        assert!(set.contains(31) && !set.contains(1) && !set.contains(32));
        assert!(!set.contains(usize::MAX) && set.with(99) == set);
        let rest = set.without([3].into_iter().collect());
        assert_eq!(rest.iter().collect::<Vec<_>>(), [0, 31]);
        assert!(ShardSet::default().is_empty());
    }
}
