//! What is announced to the peers.

use std::collections::HashSet;
use std::sync::Arc;

use crate::peer::message::{ServedVolume, VOLUMES_MAX, Volumes};

/// The volumes being served at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served(Arc<HashSet<ServedVolume>>);

impl Served {
    /// Those of `volumes` now.
    pub(super) fn of(volumes: &crate::source::Volumes) -> Self {
        let served = volumes.served().into_iter();
        Self(Arc::new(
            served
                .map(|(id, collection)| ServedVolume { id, collection })
                .collect(),
        ))
    }

    /// What tells somebody who knows `before` of this, in messages of bounded length.
    pub(super) fn news(&self, before: &Self) -> Vec<Volumes> {
        let mut added = self.0.difference(&before.0).cloned();
        let mut removed = before.0.difference(&self.0).cloned();
        let mut messages = Vec::new();
        loop {
            let removed: Vec<_> = removed.by_ref().take(VOLUMES_MAX).collect();
            let room = VOLUMES_MAX - removed.len();
            let added: Vec<_> = added.by_ref().take(room).collect();
            if added.is_empty() && removed.is_empty() {
                return messages;
            }
            messages.push(Volumes { added, removed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(ids: impl Iterator<Item = u32>) -> Served {
        let volume = |id| ServedVolume {
            id,
            collection: String::new(),
        };
        Served(Arc::new(ids.map(volume).collect()))
    }

    #[test]
    fn news_is_what_came_and_what_went() {
        let (before, now) = (served([1, 2].into_iter()), served([2, 3].into_iter()));
        let news = now.news(&before);
        let ids = |list: &[ServedVolume]| list.iter().map(|v| v.id).collect::<Vec<_>>();
        assert_eq!(news.len(), 1);
        assert_eq!(
            (ids(&news[0].added), ids(&news[0].removed)),
            (vec![3], vec![1])
        );
        assert_eq!(now.news(&now), []);
    }

    #[test]
    fn much_news_comes_in_several_messages() {
        let many = VOLUMES_MAX as u32 + 1;
        let news = served(0..many).news(&served(many..2 * many));
        let entries = |m: &Volumes| m.added.len() + m.removed.len();
        assert!(news.iter().all(|m| entries(m) <= VOLUMES_MAX));
        assert_eq!(news.iter().map(entries).sum::<usize>(), 2 * many as usize);
    }
}
