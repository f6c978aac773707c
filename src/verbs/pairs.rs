//! The queue pairs there are, and which of them an event said are broken.

use std::collections::HashMap;

/// By number, whether it is broken.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashMap<u32, bool>);

impl Pairs {
    /// A queue pair has been made; what was known of a former one of its number is over.
    pub(super) fn opened(&mut self, qpn: u32) {
        self.0.insert(qpn, false);
    }

    /// A queue pair is about to be destroyed.
    pub(super) fn closed(&mut self, qpn: u32) {
        self.0.remove(&qpn);
    }

    /// An event said that a queue pair is broken. One that is closed already is not kept: until it
    /// is destroyed there may still be events of it.
    pub(super) fn broke(&mut self, qpn: u32) {
        if let Some(broken) = self.0.get_mut(&qpn) {
            *broken = true;
        }
    }

    /// Whether an event said that it is broken.
    pub(super) fn is_broken(&self, qpn: u32) -> bool {
        self.0.get(&qpn).copied().unwrap_or(false)
    }

    /// How many there are, and how many of them are broken.
    pub(super) fn count(&self) -> (u64, u64) {
        let broken = self.0.values().filter(|&&broken| broken).count();
        (self.0.len() as u64, broken as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_pair_is_broken_from_its_event_until_it_is_closed() {
        let mut pairs = Pairs::default();
        pairs.opened(1);
        pairs.opened(2);
        pairs.broke(2);
        assert_eq!((pairs.is_broken(1), pairs.is_broken(2)), (false, true));
        assert_eq!(pairs.count(), (2, 1));
        pairs.closed(2);
        assert_eq!(pairs.count(), (1, 0));
        pairs.opened(2);
        assert!(!pairs.is_broken(2), "it is another of the same number");
    }

    #[test]
    fn an_event_of_a_queue_pair_that_is_closed_is_not_kept() {
        let mut pairs = Pairs::default();
        pairs.opened(1);
        pairs.closed(1);
        pairs.broke(1);
        assert_eq!((pairs.is_broken(1), pairs.count()), (false, (0, 0)));
    }
}
