//! Where a command puts bytes: stdout, a file that appears when it is complete, or whatever else
//! has a path.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::CliError;

/// A place for bytes that is taken for good only by [`commit`](Self::commit).
#[derive(Debug)]
pub enum Output {
    /// Standard output, without the standard library's buffering of lines.
    Stdout(File),
    /// A device, pipe or socket: written to as it is, never replaced.
    Special(File),
    /// A file beside the one asked for, renamed to it in the end.
    Replacement(Replacement),
}

/// A file that takes another's place, or disappears when it is dropped before.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    /// Where it is now; None once it is in its place.
    temporary: Option<PathBuf>,
    target: PathBuf,
}

impl Output {
    /// Opens the output named with `-o`: `-` is stdout, as is nothing unless that is a terminal.
    ///
    /// # Errors
    /// For a terminal nobody asked for, a directory, and what can not be opened or created.
    pub fn open(named: Option<&Path>) -> Result<Self, CliError> {
        let target = match named {
            None if io::stdout().is_terminal() => {
                return Err(CliError::Usage(
                    "a needle's bytes would go to this terminal: name a file with -o FILE, or -o - \
                     if that is what you want"
                        .to_owned(),
                ));
            }
            Some(path) if path != Path::new("-") => path,
            _ => {
                let copied = io::stdout().as_fd().try_clone_to_owned();
                let stdout = copied.map_err(|e| failed(Path::new("-"), &e))?;
                return Ok(Self::Stdout(stdout.into()));
            }
        };
        Self::at(target).map_err(|e| failed(target, &e))
    }

    fn at(target: &Path) -> io::Result<Self> {
        let target = match fs::metadata(target) {
            // The file a link points to is what is replaced, not the link.
            Ok(found) if found.is_file() => fs::canonicalize(target)?,
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => {
                return OpenOptions::new()
                    .write(true)
                    .open(target)
                    .map(Self::Special);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(e) => return Err(e),
        };
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let file = File::create_new(&temporary)?;
        Ok(Self::Replacement(Replacement {
            file,
            temporary: Some(temporary),
            target,
        }))
    }

    /// Whether stdout is what is written to.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    /// Puts a finished file in its place.
    ///
    /// # Errors
    /// When the file can not be renamed; then it is removed.
    pub fn commit(self) -> Result<(), CliError> {
        match self {
            Self::Stdout(_) | Self::Special(_) => Ok(()),
            Self::Replacement(mut finished) => {
                finished.rename().map_err(|e| failed(&finished.target, &e))
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(file) | Self::Special(file) => file.write(bytes),
            Self::Replacement(replacement) => replacement.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Replacement {
    fn rename(&mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.target)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about a file that can not be removed; its name says what it is.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("-o {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"whole").unwrap();
        assert!(!path.exists());
        output.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn what_was_there_stays_until_the_new_file_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "old").unwrap();
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn the_file_behind_a_link_is_replaced_and_the_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut output = Output::open(Some(&link)).unwrap();
        output.write_all(b"new").unwrap();
        output.commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn a_device_is_written_to_and_never_replaced() {
        let output = Output::open(Some(Path::new("/dev/null"))).unwrap();
        assert!(matches!(output, Output::Special(_)));
    }

    #[test]
    fn a_directory_and_a_place_that_is_not_there_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in [dir.path().to_owned(), dir.path().join("none/out")] {
            let refused = Output::open(Some(&wrong)).unwrap_err().to_string();
            assert!(refused.contains(&*wrong.to_string_lossy()), "{refused}");
        }
        assert!(names(dir.path()).is_empty());
    }
}
