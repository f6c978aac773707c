//! What one peer says that it serves. Pure.

use std::collections::BTreeSet;

use super::message::{ServedVolume, Volumes};

/// The most volumes a peer may serve, far more than a host has: a bound on memory.
pub(super) const SERVED_MAX: usize = 100_000;

/// The volumes of a peer. What it said on one connection stays until it has spoken on the next.
#[derive(Debug, Default)]
pub(super) struct Served {
    volumes: BTreeSet<(u32, String)>,
    told: bool,
}

/// More than [`SERVED_MAX`] volumes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Served {
    /// There is a new connection, on which it has said nothing yet.
    pub(super) fn begin(&mut self) {
        self.told = false;
    }

    /// Whether it has said on this connection what it serves.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// Takes note of what it says.
    ///
    /// # Errors
    /// When it serves more than it may.
    pub(super) fn hear(&mut self, news: Volumes) -> Result<(), TooMany> {
        if !std::mem::replace(&mut self.told, true) {
            self.volumes.clear();
        }
        let pair = |volume: ServedVolume| (volume.id, volume.collection);
        for gone in news.removed {
            self.volumes.remove(&pair(gone));
        }
        self.volumes.extend(news.added.into_iter().map(pair));
        match self.volumes.len() {
            0..=SERVED_MAX => Ok(()),
            _ => Err(TooMany),
        }
    }

    /// Whether it serves, or last served, the volume, in that collection where one is given.
    pub(super) fn has(&self, id: u32, collection: Option<&str>) -> bool {
        match collection {
            Some(collection) => self.volumes.contains(&(id, collection.to_owned())),
            None => {
                let mut from = self.volumes.range((id, String::new())..);
                from.next().is_some_and(|(found, _)| *found == id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(id: u32, collection: &str) -> ServedVolume {
        let collection = collection.to_owned();
        ServedVolume { id, collection }
    }

    fn news(added: &[ServedVolume], removed: &[ServedVolume]) -> Volumes {
        let (added, removed) = (added.to_vec(), removed.to_vec());
        Volumes { added, removed }
    }

    #[test]
    fn volumes_come_and_go_by_id_and_collection() {
        let mut served = Served::default();
        let all = [volume(7, ""), volume(7, "a"), volume(9, "b")];
        assert_eq!(served.hear(news(&all, &[])), Ok(()));
        assert!(served.has(7, None) && served.has(7, Some("")) && served.has(7, Some("a")));
        assert!(!served.has(7, Some("b")) && !served.has(8, None) && !served.has(10, None));
        served.hear(news(&[], &[volume(7, "")])).unwrap();
        assert!(served.has(7, None) && !served.has(7, Some("")));
        served.hear(news(&[], &[volume(7, "a")])).unwrap();
        assert!(!served.has(7, None) && served.has(9, None));
    }

    #[test]
    fn what_was_said_before_counts_until_something_is_said_on_the_new_connection() {
        let mut served = Served::default();
        assert!(!served.is_told());
        served.hear(news(&[volume(7, "")], &[])).unwrap();
        served.begin();
        assert!(!served.is_told() && served.has(7, None));
        served.hear(news(&[], &[])).unwrap();
        assert!(served.is_told() && !served.has(7, None));
    }

    #[test]
    fn there_is_a_limit() {
        let mut served = Served::default();
        let most: Vec<_> = (0..SERVED_MAX as u32).map(|id| volume(id, "")).collect();
        assert_eq!(served.hear(news(&most, &[])), Ok(()));
        assert_eq!(served.hear(news(&most, &[])), Ok(()));
        assert_eq!(served.hear(news(&[volume(0, "a")], &[])), Err(TooMany));
    }
}
