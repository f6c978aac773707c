//! `.ecj`: the ids of needles deleted since the volume was encoded, 8 bytes each.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::error::VolumeError;
use super::super::files::{open_regular, read_at};
use super::super::index::Index;

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;
const ID_LEN: u64 = 8;

/// A file, and how long it is: as long as both stay so, there is nothing new in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) len: u64,
}

impl Stamp {
    /// What is at `path` now; None if nothing is, or it can not be seen.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self {
            inode: metadata.ino(),
            len: metadata.len(),
        })
    }

    /// Whether this is the file that `earlier` was, with something appended at most.
    pub(super) fn continues(self, earlier: Self) -> bool {
        self.inode == earlier.inode && self.len >= earlier.len
    }
}

/// Hands the ids in bytes `from..to` of the journal at `path` to `take`, some at a time; a part of
/// one at the end is a write in progress. How far it came.
pub(super) fn replay(
    path: &Path,
    from: u64,
    to: u64,
    mut take: impl FnMut(&[[u8; ID_LEN as usize]]),
) -> Result<u64, VolumeError> {
    let file: File = open_regular(path, 0).map_err(|error| VolumeError::io("open", path, error))?;
    let mut done = from - from % ID_LEN;
    let mut buffer = Vec::new();
    while to.saturating_sub(done) >= ID_LEN {
        let bytes = (to - done).min(READ_BYTES);
        buffer.resize((bytes - bytes % ID_LEN) as usize, 0);
        let count = read_at(&file, &mut buffer, done)
            .map_err(|error| VolumeError::io("read", path, error))?;
        let (ids, _) = buffer.get(..count).unwrap_or_default().as_chunks();
        if ids.is_empty() {
            break;
        }
        take(ids);
        done += ids.len() as u64 * ID_LEN;
    }
    Ok(done)
}

/// Takes these ids out of `index`.
pub(super) fn remove(ids: &[[u8; ID_LEN as usize]], index: &mut Index) {
    for id in ids {
        index.apply(u64::from_be_bytes(*id), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::needle::Located;
    use super::*;

    #[test]
    fn ids_are_taken_out_once_they_are_complete() {
        let mut index = Index::default();
        for id in 1..=200_000 {
            index.apply(id, Some(Located { offset: 8, size: 1 }));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("7.ecj");
        let mut journal: Vec<u8> = (1..=150_000_u64).flat_map(u64::to_be_bytes).collect();
        journal.extend(&200_000_u64.to_be_bytes()[..5]);
        fs::write(&path, &journal).unwrap();
        let len = journal.len() as u64;
        assert_eq!(
            replay(&path, 0, len, |ids| remove(ids, &mut index)).unwrap(),
            1_200_000
        );
        assert_eq!(index.len(), 50_000);
        journal.extend(&200_000_u64.to_be_bytes()[5..]);
        fs::write(&path, &journal).unwrap();
        assert_eq!(
            replay(&path, len, len + 3, |ids| remove(ids, &mut index)).unwrap(),
            len + 3
        );
        assert!(index.get(200_000).is_none() && index.get(199_999).is_some());
    }
}
