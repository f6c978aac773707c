//! Where a setting came from, and the error that says so.

use std::fmt;
use std::path::PathBuf;

/// Where a value of a setting was given. Ordered from weakest to strongest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// The configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name (a `_` in it stands for `-`).
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", one_line(&path.display())),
            Origin::Environment(name) => write!(f, "environment variable {}", one_line(name)),
            Origin::Flag(key) => write!(f, "flag --{}", key.replace('_', "-")),
        }
    }
}

/// The text without control characters: an origin stands in comments and log lines.
fn one_line(text: &dyn fmt::Display) -> String {
    let text = text.to_string();
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Why a configuration is refused: where, which setting, what is wrong, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// `problem` with the setting `key`, which was given at `origin`.
    pub(super) fn at(origin: &Origin, key: &str, problem: impl fmt::Display) -> Self {
        match origin {
            // A flag and a variable already name the setting.
            Origin::Flag(_) | Origin::Environment(_) => Self::of(origin, problem),
            Origin::File { .. } | Origin::Default => Self(format!("{origin}: {key}: {problem}")),
        }
    }

    /// `problem` with what was given at `origin` as a whole.
    pub(super) fn of(origin: &Origin, problem: impl fmt::Display) -> Self {
        Self(format!("{origin}: {problem}"))
    }
}
