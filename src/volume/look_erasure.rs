//! Following erasure-coded volumes: shards that come and go, and volumes that are encoded and
//! decoded. A `.dat` that can be read wins over shards of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::erasure::{ErasureVolume, ShardSet, shard_extension};
use super::error::VolumeError;
use super::files::VolumeName;
use super::listing::Listing;
use super::look::{Failure, Look, Seen};
use super::registry::{Registry, Slot};
use super::stamp::{Growth, Stamp};
use super::stored::Volume;

/// An open erasure-coded volume, and what its files were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct OpenedErasure {
    pub(super) volume: Arc<Volume>,
    name: VolumeName,
    shard_len: u64,
    stamp: Arc<Stamp>,
}

impl Registry {
    /// Whether the shards of `opened` are those that are there now.
    pub(super) fn is_erasure_current(&self, opened: &OpenedErasure) -> bool {
        // One that is still being written has not the length of the others yet.
        let now = self.erasure_stamp(&opened.name).of_len(opened.shard_len);
        opened.stamp.is_current(&now)
    }

    /// Opens the erasure-coded volumes of `listing` that no `.dat` is served of, and opens anew
    /// those whose shards are others now; forgets those that are gone.
    pub(super) fn look_at_erasure(
        &self,
        listing: &Listing,
        only: Option<u32>,
        seen: &mut Seen,
        look: &mut Look,
    ) {
        let known = only.map_or_else(|| self.known_ids(), |id| vec![id]);
        for id in known {
            let is_there = listing.sharded.contains_key(&id) || !listing.unknown.is_empty();
            match self.slot(id) {
                Some(Slot::Erasure(_)) if !is_there => {
                    tracing::info!("volume {id} is gone: none of its shards are there");
                    look.gone += 1;
                }
                Some(Slot::Partial(_)) if !is_there => {}
                _ => continue,
            }
            self.put(id, None);
        }
        if only.is_none() {
            seen.shut.retain(|id, _| listing.sharded.contains_key(id));
        }
        for (id, name) in &listing.sharded {
            let used = match self.slot(*id) {
                Some(Slot::Open(_)) => continue,
                Some(Slot::Erasure(opened)) => Some(opened),
                Some(Slot::Shut(_) | Slot::Partial(_)) | None => None,
            };
            if let Some(used) = &used
                && (self.is_erasure_current(used) || !listing.unknown.is_empty())
            {
                // What it could not read, lookups will say.
                let _ = used.volume.catch_up();
                continue;
            }
            look.opened += usize::from(self.open_erasure(name, used.is_some(), seen));
        }
    }

    /// Opens the volume called `name`, unless that failed before and nothing has changed; whether
    /// it did.
    fn open_erasure(&self, name: &VolumeName, is_again: bool, seen: &mut Seen) -> bool {
        let id = name.id;
        // Before: should a file be replaced meanwhile, the next look will see that it was.
        let stamp = self.erasure_stamp(name);
        let known = seen.shut.get(&id).filter(|known| known.stands(&stamp));
        let failure = match known {
            Some(known) => known.clone(),
            None => match ErasureVolume::open(&self.dirs, self.index_dir.as_deref(), name) {
                Ok(volume) => {
                    let there = volume.shards().there();
                    let shard_len = volume.shards().geometry().shard_len();
                    if is_again {
                        tracing::info!("volume {id}: its shards have changed; {there} are read");
                    } else {
                        tracing::debug!("volume {id}: opened; shards {there} are read");
                    }
                    let opened = OpenedErasure {
                        volume: Arc::new(Volume::Erasure(volume)),
                        name: name.clone(),
                        shard_len,
                        stamp: Arc::new(stamp.of_len(shard_len)),
                    };
                    self.put(id, Some(Slot::Erasure(opened)));
                    seen.shut.remove(&id);
                    return true;
                }
                Err(error) => Failure { stamp, error },
            },
        };
        // What a `.dat` of it can not be read for says more.
        if is_again
            || !matches!(
                self.slot(id),
                Some(Slot::Shut(VolumeError::CorruptVolume(_)))
            )
        {
            let error = failure.error.clone();
            let slot = match error {
                VolumeError::VolumeNotFound(_) => Slot::Partial(error),
                error => Slot::Shut(error),
            };
            self.put(id, Some(slot));
        }
        let text = failure.error.to_string();
        let before = seen.shut.insert(id, failure);
        if before.is_none_or(|before| before.error.to_string() != text) {
            tracing::info!("volume {id} can not be read: {text}");
        }
        false
    }

    /// What a volume's shards and index are now. (An open one follows its index and journal itself.)
    fn erasure_stamp(&self, name: &VolumeName) -> Stamp {
        let file = |dir: &PathBuf, number| {
            let path = name.path(dir, &shard_extension(number));
            (path, Growth::Appended)
        };
        let shards = |dir| (0..ShardSet::MAX).map(move |number| file(dir, number));
        let infos = self.dirs.iter().map(|dir| name.path(dir, "vif"));
        let infos = infos.map(|path| (path, Growth::Rewritten));
        let indexes = self.directories().map(|dir| name.path(dir, "ecx"));
        let indexes = indexes.map(|path| (path, Growth::Appended));
        let shards = self.dirs.iter().flat_map(shards);
        Stamp::of(shards.chain(infos).chain(indexes))
    }
}
