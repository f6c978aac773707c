//! `rdma-engine check-config`: what `rdma-engine server` would run with, or why it would not.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{Config, ServerArgs, environment};

/// Prints the effective configuration as TOML and exits with 0, or the error and exits with 2.
pub fn run(args: &ServerArgs) -> ExitCode {
    let config = match Config::load(args, environment()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match std::io::stdout().write_all(config.to_toml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writing the configuration to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
