//! `rdma-engine target`: the storage node's daemon.

use std::process::ExitCode;

use crate::config::{TargetArgs, TargetConfig, environment};
use crate::{target, telemetry};

/// Runs the daemon until it is told to stop. Exits with 2 when the configuration is wrong, with 1
/// when the daemon can not start.
pub fn run(args: &TargetArgs) -> ExitCode {
    let config = match TargetConfig::load(args, environment()) {
        Ok(config) => config,
        Err(error) => return super::refused(&error),
    };
    if let Err(error) = telemetry::log::init(config.debug, config.log_format) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match target::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
