//! What is accepted, what wins, and what the errors say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::*;

mod device;
mod layers;
mod peers;
mod print;
mod refused;
mod target;
mod token;
mod values;

#[derive(Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

/// The three places a setting can be given in.
#[derive(Default)]
struct Given<'a> {
    file: &'a str,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

impl Given<'_> {
    /// Loads them as the engine's.
    fn load(&self) -> Result<Config, String> {
        self.load_with(Config::load)
    }

    /// Loads them as the target's.
    fn load_target(&self) -> Result<TargetConfig, String> {
        self.load_with(TargetConfig::load)
    }

    /// In errors the file is called engine.toml.
    fn load_with<A: clap::Args, C>(
        &self,
        load: impl FnOnce(&A, std::vec::IntoIter<(String, String)>) -> Result<C, ConfigError>,
    ) -> Result<C, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.toml");
        std::fs::write(&path, self.file).unwrap();
        let words = ["rdma-engine", "--config", path.to_str().unwrap()];
        let line = Line::<A>::try_parse_from(words.iter().chain(self.flags)).expect("known flags");
        let pairs = self.environment.iter();
        let environment = pairs.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let environment: Vec<_> = environment.collect();
        load(&line.args, environment.into_iter()).map_err(|error| {
            error
                .to_string()
                .replace(path.to_str().unwrap(), "engine.toml")
        })
    }

    fn error(&self) -> String {
        self.load().expect_err("must be refused")
    }

    fn target_error(&self) -> String {
        self.load_target().expect_err("must be refused")
    }
}

fn file(file: &str) -> Given<'_> {
    Given {
        file,
        ..Given::default()
    }
}

fn environment<'a>(environment: &'a [(&'a str, &'a str)]) -> Given<'a> {
    Given {
        environment,
        ..Given::default()
    }
}

fn flags<'a>(flags: &'a [&'a str]) -> Given<'a> {
    Given {
        flags,
        ..Given::default()
    }
}
