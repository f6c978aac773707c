//! Following erasure-coded volumes: shards that come and go, and volumes that are encoded and
//! decoded. A `.dat` that can be read wins over shards of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::erasure::{ErasureVolume, ShardSet, shard_extension};
use super::error::VolumeError;
use super::files::VolumeName;
use super::registry::{Registry, Slot};
use super::seen::Failure;
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

    /// Whether the shards of the volume called `name` could not be read as they are now.
    pub(super) fn is_shut_for_good(&self, name: &VolumeName) -> bool {
        let known = self.seen().shut.get(&name.id).cloned();
        known.is_some_and(|known| known.stands(&self.erasure_stamp(name)))
    }

    /// Opens the erasure-coded volume called `name`, or anew if its shards are others now;
    /// whether it did. Its claim is held.
    pub(super) fn look_at_shards(&self, name: &VolumeName) -> bool {
        let id = name.id;
        let used = match self.slot(id) {
            Some(Slot::Erasure(opened)) => Some(opened),
            _ => None,
        };
        if let Some(used) = &used
            && self.is_erasure_current(used)
        {
            // What it could not read, lookups will say.
            let _ = used.volume.catch_up();
            return false;
        }
        // Before: should a file be replaced meanwhile, the next look will see that it was.
        let stamp = self.erasure_stamp(name);
        let is_again = used.is_some();
        let known = self.seen().shut.get(&id).cloned();
        let failure = match known.filter(|known| known.stands(&stamp)) {
            Some(known) => known,
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
                    self.seen().shut.remove(&id);
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
        let before = self.seen().shut.insert(id, failure);
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
