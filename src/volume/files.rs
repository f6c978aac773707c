//! Which files make up a volume, and opening and reading them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a volume's files are called: `[<collection>_]<vid>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VolumeName {
    pub(super) id: u32,
    /// Empty for none; may itself contain '_'.
    pub(super) collection: String,
}

impl VolumeName {
    /// From a file's name without its extension; None if no volume is called so.
    pub(super) fn parse(stem: &str) -> Option<Self> {
        let (collection, digits) = match stem.rsplit_once('_') {
            // SeaweedFS splits only where something stands before the '_'.
            Some((collection, digits)) if !collection.is_empty() => (collection, digits),
            _ => ("", stem),
        };
        let id: u32 = digits.parse().ok()?;
        // "+7" and "007" are numbers, but not what SeaweedFS calls volume 7.
        (id.to_string() == digits).then(|| Self {
            id,
            collection: collection.to_owned(),
        })
    }

    /// The path of this volume's file with `extension` in `dir`.
    pub(super) fn path(&self, dir: &Path, extension: &str) -> PathBuf {
        dir.join(format!("{self}.{extension}"))
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.collection.is_empty() {
            write!(f, "{}_", self.collection)?;
        }
        write!(f, "{}", self.id)
    }
}

/// Opens the regular file at `path` for reading, with further open `flags`.
///
/// Anything else by that name is refused before it is opened, since opening a FIFO would wait
/// for its other end.
pub(super) fn open_regular(path: &Path, flags: i32) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads from `offset` until `buffer` is full or the file ends; how many bytes that were.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_collection() {
        let parse = |stem| VolumeName::parse(stem).map(|name| (name.collection, name.id));
        assert_eq!(parse("7"), Some((String::new(), 7)));
        assert_eq!(parse("pics_7"), Some(("pics".into(), 7)));
        assert_eq!(parse("my_old_pics_12"), Some(("my_old_pics".into(), 12)));
        assert_eq!(parse("a__3"), Some(("a_".into(), 3)));
        assert_eq!(parse("4294967295"), Some((String::new(), u32::MAX)));
        for other in [
            "",
            "_7",
            "x",
            "x_",
            "7.old",
            "007",
            "+7",
            "-1",
            "4294967296",
            "7_x",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let name = VolumeName::parse("my_old_pics_12").unwrap();
        assert_eq!(
            name.path(Path::new("/v"), "dat"),
            Path::new("/v/my_old_pics_12.dat")
        );
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("1.dat");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(open_regular(&fifo, 0).is_err());
        assert!(open_regular(dir.path(), 0).is_err());
    }

    #[test]
    fn reading_stops_at_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, b"0123456789").unwrap();
        let file = open_regular(&path, 0).unwrap();
        let mut buffer = [0; 6];
        assert_eq!(read_at(&file, &mut buffer, 2).unwrap(), 6);
        assert_eq!(&buffer, b"234567");
        assert_eq!(read_at(&file, &mut buffer, 8).unwrap(), 2);
        assert_eq!(read_at(&file, &mut buffer, 10).unwrap(), 0);
        assert_eq!(read_at(&file, &mut buffer, 1 << 40).unwrap(), 0);
    }
}
