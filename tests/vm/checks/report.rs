//! The lines that become the table, and how a check passes or fails.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::files::Files;

/// Why a check can not go on, or failed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
/// Checks that share what they are run on.
pub type Group = fn(&mut Report, &Place<'_>) -> Result<()>;

/// Lines of each log that are shown when a check failed.
const LOG_LINES: usize = 25;

/// Where a group runs.
pub struct Place<'a> {
    /// Its own folder, for sockets and logs.
    pub dir: PathBuf,
    /// What is in the volumes.
    pub files: &'a Files,
}

/// What was printed.
#[derive(Default)]
pub struct Report {
    failed: u64,
    dir: PathBuf,
}

impl Report {
    /// Runs a group in a folder of its own.
    pub fn group(&mut self, name: &str, group: Group, files: &Files) {
        self.dir = Path::new("/tmp/checks").join(name);
        let place = Place {
            dir: self.dir.clone(),
            files,
        };
        let prepared = fs::create_dir_all(&self.dir).map_err(Error::from);
        let ran = prepared.and_then(|()| caught(|| group(self, &place)));
        if let Err(error) = ran {
            self.print(name, Err(error), Instant::now());
        }
    }

    /// Runs one check and prints what came of it: its detail, or why it failed.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        let begun = Instant::now();
        let outcome = caught(check);
        self.print(name, outcome, begun);
    }

    /// Prints a figure. `limit` says what it is held against.
    pub fn figure(&mut self, name: &str, value: f64, unit: &str, limit: &str) {
        println!("FIGURE\t{name}\t{value:.2}\t{unit}\t{limit}");
    }

    /// Whether nothing failed.
    pub fn all_passed(&self) -> bool {
        self.failed == 0
    }

    fn print(&mut self, name: &str, outcome: Result<String>, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(detail) => println!("CHECK\t{name}\tpass\t{} ({seconds:.1} s)", line(&detail)),
            Err(error) => {
                self.failed += 1;
                let why = line(&error.to_string());
                println!("CHECK\t{name}\tfail\t{why} ({seconds:.1} s)");
                show_logs(&self.dir);
            }
        }
    }
}

/// A panic, of a helper shared with the tests, is a failure like any other.
fn caught<T>(check: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a word")).into())
    })
}

/// A field of the table is one line without tabs.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn show_logs(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut logs: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    logs.retain(|path| path.extension().is_some_and(|e| e == "log"));
    logs.sort();
    for path in logs {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        println!("the end of {}:", path.display());
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
            println!("  {line}");
        }
    }
}
