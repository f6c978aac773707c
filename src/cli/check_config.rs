//! `rdma-engine check-config`: what `rdma-engine server` would run with, or why it would not.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ServerArgs;

/// Prints the effective configuration as TOML and exits with 0, or the error and exits with 2.
pub fn run(args: &ServerArgs) -> ExitCode {
    let config = match super::load(args) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match std::io::stdout().write_all(config.to_toml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writing the configuration to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
