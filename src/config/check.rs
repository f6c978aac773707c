//! What one setting alone can not show: contradictions between two, and what must exist on disk.

use std::path::Path;

use super::kind::{bytes, span};
use super::origin::ConfigError;
use super::settings::Config;
use super::token::Token;

impl Config {
    /// Refuses contradictions and missing directories, and reads the token.
    pub(super) fn checked(mut self) -> Result<Self, ConfigError> {
        self.check_contradictions()?;
        self.check_directories()?;
        if let Some(path) = &self.auth_token_file {
            let token = Token::read(path).map_err(|problem| {
                self.error("auth_token_file", format!("{}: {problem}", path.display()))
            })?;
            self.auth_token = Some(token);
        }
        Ok(self)
    }

    fn check_contradictions(&self) -> Result<(), ConfigError> {
        if self.session_timeout > self.session_timeout_max {
            return Err(self.contradiction(
                ("session_timeout", span(self.session_timeout)),
                ("session_timeout_max", span(self.session_timeout_max)),
                "a session_timeout of at most session_timeout_max",
            ));
        }
        if self.max_transfer_size > self.buffer_size / 2 {
            return Err(self.contradiction(
                ("max_transfer_size", bytes(self.max_transfer_size)),
                ("buffer_size", bytes(self.buffer_size)),
                "a max_transfer_size of at most half of buffer_size",
            ));
        }
        if let Some(index_dir) = &self.index_dir
            && self.volumes.is_empty()
        {
            return Err(self.contradiction(
                (
                    "index_dir",
                    format!("{:?}", index_dir.display().to_string()),
                ),
                ("volumes", "[]".to_owned()),
                "an index_dir only for volumes",
            ));
        }
        Ok(())
    }

    fn check_directories(&self) -> Result<(), ConfigError> {
        let mut seen = Vec::new();
        for path in &self.volumes {
            self.check_directory("volumes", path)?;
            let same = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.contains(&same) {
                let problem = format!("{} is given twice; allowed: once", path.display());
                return Err(self.error("volumes", problem));
            }
            seen.push(same);
        }
        match &self.index_dir {
            Some(path) => self.check_directory("index_dir", path),
            None => Ok(()),
        }
    }

    fn check_directory(&self, key: &str, path: &Path) -> Result<(), ConfigError> {
        match std::fs::read_dir(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(
                key,
                format!(
                    "{}: {error}; allowed: a directory that exists and can be read",
                    path.display()
                ),
            )),
        }
    }

    fn error(&self, key: &str, problem: String) -> ConfigError {
        ConfigError::at(self.origin(key), key, problem)
    }

    /// Two settings that can not both hold: the error stands where the stronger one was given,
    /// and names both.
    fn contradiction(&self, a: (&str, String), b: (&str, String), allowed: &str) -> ConfigError {
        let (origin_a, origin_b) = (self.origin(a.0), self.origin(b.0));
        let problem = format!(
            "{} = {} ({origin_a}) contradicts {} = {} ({origin_b}); allowed: {allowed}",
            a.0, a.1, b.0, b.1
        );
        let (origin, key) = (origin_a, a.0).max((origin_b, b.0));
        ConfigError::at(origin, key, problem)
    }
}
