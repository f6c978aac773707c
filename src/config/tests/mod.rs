//! What is accepted, what wins, and what the errors say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::*;

mod layers;
mod print;
mod refused;
mod token;
mod values;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ServerArgs,
}

/// The three places a setting can be given in.
#[derive(Default)]
struct Given<'a> {
    file: &'a str,
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

impl Given<'_> {
    /// Loads them. In errors and origins the file is called engine.toml.
    fn load(&self) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.toml");
        std::fs::write(&path, self.file).unwrap();
        let words = ["rdma-engine", "--config", path.to_str().unwrap()];
        let line = Line::try_parse_from(words.iter().chain(self.flags)).expect("known flags");
        let pairs = self.environment.iter();
        let environment = pairs.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Config::load(&line.args, environment).map_err(|error| {
            error
                .to_string()
                .replace(path.to_str().unwrap(), "engine.toml")
        })
    }

    fn error(&self) -> String {
        self.load().expect_err("must be refused")
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
