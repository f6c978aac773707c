//! Being told when the entries of directories change, by inotify.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Room for events: more than one of any length, or some hundred of usual ones.
const EVENT_BYTES: usize = 8 << 10;
/// The extensions that files have which tell of a change, besides those of shards.
const TELLING: [&[u8]; 6] = [b"dat", b"idx", b"vif", b"note", b"ecx", b"ecj"];

/// Directories being watched.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    /// The number of each directory's watch. One that has been replaced has another.
    watches: HashMap<PathBuf, i32>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the limit on instances, or on descriptors, is reached.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            watches: HashMap::new(),
        })
    }

    /// Watches the directory that is at `dir` now; the one that was there before no longer.
    ///
    /// # Errors
    /// When the limit on watches is reached, or there is no such directory.
    pub fn watch(&mut self, dir: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let added = inotify::add_watch(&self.inotify, dir, flags);
        let before = match &added {
            Ok(watch) => self.watches.insert(dir.to_path_buf(), *watch),
            Err(_) => self.watches.remove(dir),
        };
        let before = before.filter(|before| added.as_ref().ok() != Some(before));
        if let Some(before) = before.filter(|before| !self.watches.values().any(|w| w == before)) {
            // Of a directory that has been deleted there is none any more.
            let _ = inotify::remove_watch(&self.inotify, before);
        }
        added.map(drop).map_err(io::Error::from)
    }

    /// Takes what has happened; whether it may matter to a volume.
    ///
    /// # Errors
    /// When inotify can not be read.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut room);
        let mut matters = false;
        loop {
            match reader.next() {
                // One without a name is of a directory itself, or says that some were lost.
                Ok(event) => {
                    let name = event.file_name();
                    matters |= name.is_none_or(|name| is_telling(name.to_bytes()));
                }
                Err(Errno::AGAIN) => return Ok(matters),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn is_telling(name: &[u8]) -> bool {
    let extension = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_shard = || {
        extension
            .strip_prefix(b"ec")
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    TELLING.contains(&extension) || is_shard()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watching(dir: &Path) -> Watch {
        let mut watch = Watch::new().unwrap();
        watch.watch(dir).unwrap();
        assert!(!watch.take().unwrap(), "nothing has happened");
        watch
    }

    #[test]
    fn what_happens_to_volume_files_matters_and_to_others_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut watch = watching(dir.path());
        for name in [
            "1.cpd",
            "1.ldb",
            "1.dat.tmp",
            "dat.",
            "1.ec",
            "1.ecsum",
            "x",
        ] {
            fs::write(at(name), "x").unwrap();
        }
        assert!(!watch.take().unwrap());
        fs::rename(at("1.cpd"), at("1.dat")).unwrap();
        assert!(watch.take().unwrap());
        for name in [
            "c_1.idx", "1.vif", "1.note", "1.ec00", "1.ec13", "1.ecx", "1.ecj",
        ] {
            fs::write(at(name), "x").unwrap();
            assert!(watch.take().unwrap(), "{name} created");
            fs::remove_file(at(name)).unwrap();
            assert!(watch.take().unwrap(), "{name} removed");
        }
    }

    #[test]
    fn the_directory_that_has_the_name_now_is_watched_and_no_other() {
        let base = tempfile::tempdir().unwrap();
        let (dir, away) = (base.path().join("vol"), base.path().join("away"));
        fs::create_dir(&dir).unwrap();
        let mut watch = watching(&dir);
        watch.watch(&dir).unwrap();
        fs::rename(&dir, &away).unwrap();
        assert!(watch.take().unwrap(), "it has moved");
        assert!(watch.watch(&dir).is_err());
        fs::create_dir(&dir).unwrap();
        watch.watch(&dir).unwrap();
        watch.take().unwrap();
        fs::write(away.join("1.dat"), "x").unwrap();
        assert!(!watch.take().unwrap());
        fs::write(dir.join("1.dat"), "x").unwrap();
        assert!(watch.take().unwrap());
    }

    #[test]
    fn a_directory_watched_by_two_names_stays_watched_by_the_other() {
        let base = tempfile::tempdir().unwrap();
        let (dir, link) = (base.path().join("vol"), base.path().join("link"));
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let mut watch = watching(&dir);
        watch.watch(&link).unwrap();
        fs::remove_file(&link).unwrap();
        assert!(watch.watch(&link).is_err());
        fs::write(dir.join("1.dat"), "x").unwrap();
        assert!(watch.take().unwrap());
    }
}
