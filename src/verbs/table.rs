//! Work request ids: what a completion's id stands for.
//!
//! An id is a slot and the number of times the slot was used before, so one that the device
//! reports twice, late, or never had, is told from those outstanding.

/// Entries by id.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Entries in the table.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps `entry` under a new id.
    pub(super) fn insert(&mut self, entry: T) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                entry: None,
            });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.entry = Some(entry);
        u64::from(place.generation) << 32 | u64::from(slot)
    }

    /// Takes out what `id` stands for; `None` for an id that is not outstanding.
    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let (generation, slot) = ((id >> 32) as u32, id as u32);
        let place = self.slots.get_mut(slot as usize)?;
        if place.generation != generation {
            return None;
        }
        let entry = place.entry.take()?;
        place.generation = generation.wrapping_add(1);
        self.free.push(slot);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_entry_once() {
        let mut table = Table::default();
        let (a, b) = (table.insert("a"), table.insert("b"));
        assert_ne!(a, b);
        assert_eq!((table.remove(a), table.remove(a)), (Some("a"), None));
        assert_eq!((table.remove(b), table.len()), (Some("b"), 0));
    }

    #[test]
    fn an_id_of_a_former_use_or_from_nowhere_finds_nothing() {
        let mut table = Table::default();
        let old = table.insert(1);
        table.remove(old);
        let new = table.insert(2);
        assert_eq!(old as u32, new as u32, "the slot is used again");
        for wrong in [old, u64::MAX, new + 1, new ^ (1 << 63)] {
            assert_eq!(table.remove(wrong), None);
        }
        assert_eq!(table.remove(new), Some(2));
    }
}
