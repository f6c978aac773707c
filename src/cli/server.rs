//! `rdma-engine server`: the daemon.

use std::process::ExitCode;

use crate::config::{Config, ServerArgs, environment};
use crate::{server, telemetry};

/// Runs the daemon until it is told to stop. Exits with 2 when the configuration is wrong, with 1
/// when the daemon can not start.
pub fn run(args: &ServerArgs) -> ExitCode {
    let config = match Config::load(args, environment()) {
        Ok(config) => config,
        Err(error) => return super::refused(&error),
    };
    if let Err(error) = telemetry::log::init(config.debug, config.log_format) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match server::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
