//! What a volume's files are at one moment, to tell later whether they still are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How a file changes in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// It is appended to, which whoever has it open sees: it stays the same file until another
    /// takes its name.
    Appended,
    /// It is written anew: it is the same only as long as nothing about it changes.
    Rewritten,
}

/// Those of a volume's files that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<FileStamp>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    path: PathBuf,
    growth: Growth,
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileStamp {
    /// None where there is no such file, or none that can be seen.
    fn of(path: PathBuf, growth: Growth) -> Option<Self> {
        let metadata = fs::metadata(&path).ok()?;
        Some(Self {
            path,
            growth,
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn is_same_file(&self, other: &Self) -> bool {
        match self.growth {
            Growth::Rewritten => self == other,
            Growth::Appended => {
                (&self.path, self.device, self.inode) == (&other.path, other.device, other.inode)
            }
        }
    }
}

impl Stamp {
    /// Of `files`, now. Costs a stat each.
    pub(super) fn of(files: impl IntoIterator<Item = (PathBuf, Growth)>) -> Self {
        let files = files.into_iter();
        Self(
            files
                .filter_map(|(path, growth)| FileStamp::of(path, growth))
                .collect(),
        )
    }

    /// The same, but for files that are appended to and have not `len` bytes.
    pub(super) fn of_len(mut self, len: u64) -> Self {
        let fits = |file: &FileStamp| file.growth == Growth::Rewritten || file.len == len;
        self.0.retain(fits);
        self
    }

    /// Whether what is open since `self` is still what is there at `later`, whatever has been
    /// appended to it. (`==` asks whether nothing at all has changed.)
    pub(super) fn is_current(&self, later: &Self) -> bool {
        self.0.len() == later.0.len() && self.0.iter().zip(&later.0).all(|(a, b)| a.is_same_file(b))
    }

    /// Whether some, but not all, of the files that are appended to have been replaced: what
    /// belongs together may be on its way.
    pub(super) fn is_half_replaced(&self, later: &Self) -> bool {
        let appended = |s: &Self| -> Vec<FileStamp> {
            let files = s.0.iter().filter(|f| f.growth == Growth::Appended);
            files.cloned().collect()
        };
        let (before, now) = (appended(self), appended(later));
        let stayed = |old: &FileStamp| now.iter().any(|new| old.is_same_file(new));
        let stayed = before.iter().filter(|old| stayed(old)).count();
        0 < stayed && (stayed < before.len() || now.len() != before.len())
    }

    /// Whether all files that are appended to are the same.
    pub(super) fn has_same_data(&self, later: &Self) -> bool {
        let appended = |s: &Self| s.0.iter().filter(|f| f.growth == Growth::Appended).count();
        appended(self) == appended(later) && {
            let mut files = self.0.iter().filter(|f| f.growth == Growth::Appended);
            files.all(|old| later.0.iter().any(|new| old.is_same_file(new)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn stamp(dir: &Path) -> Stamp {
        Stamp::of([
            (dir.join("dat"), Growth::Appended),
            (dir.join("idx"), Growth::Appended),
            (dir.join("vif"), Growth::Rewritten),
        ])
    }

    #[test]
    fn appending_changes_nothing_and_another_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["dat", "idx", "vif"] {
            fs::write(at(name), name).unwrap();
        }
        let first = stamp(dir.path());
        assert_eq!(first, stamp(dir.path()));
        fs::write(at("dat"), "longer").unwrap();
        let longer = stamp(dir.path());
        assert!(first != longer && first.is_current(&longer));
        assert!(!first.is_half_replaced(&longer));

        fs::write(at("cpd"), "another").unwrap();
        fs::write(at("cpx"), "another").unwrap();
        fs::rename(at("cpd"), at("dat")).unwrap();
        let half = stamp(dir.path());
        assert!(!first.is_current(&half) && first.is_half_replaced(&half));
        fs::rename(at("cpx"), at("idx")).unwrap();
        let whole = stamp(dir.path());
        assert!(!first.is_current(&whole) && !first.is_half_replaced(&whole));
        assert!(!first.has_same_data(&whole));
    }

    #[test]
    fn a_file_that_is_rewritten_or_gone_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let vif = dir.path().join("vif");
        fs::write(&vif, "one").unwrap();
        fs::write(dir.path().join("dat"), "x").unwrap();
        let first = stamp(dir.path());
        fs::write(&vif, "three").unwrap();
        let second = stamp(dir.path());
        assert!(!first.is_current(&second) && first.has_same_data(&second));
        fs::remove_file(&vif).unwrap();
        assert!(!second.is_current(&stamp(dir.path())));
        fs::remove_file(dir.path().join("dat")).unwrap();
        assert!(!second.has_same_data(&stamp(dir.path())));
        assert_eq!(stamp(dir.path()), Stamp::default());
    }
}
