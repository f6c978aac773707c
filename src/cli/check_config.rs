//! `rdma-engine check-config`: what a daemon would run with, or why it would not.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{Config, ServerArgs, TargetArgs, TargetConfig, environment};

/// The engine's flags; or `target` and the target's.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    other: Option<Other>,
}

/// Daemons other than `rdma-engine server`.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Check the configuration of `rdma-engine target` instead
    Target(TargetArgs),
}

/// Prints the effective configuration as TOML and exits with 0, or the error and exits with 2.
pub fn run(args: &Args) -> ExitCode {
    let effective = match &args.other {
        None => Config::load(&args.server, environment()).map(|config| config.to_toml()),
        Some(Other::Target(args)) => {
            TargetConfig::load(args, environment()).map(|config| config.to_toml())
        }
    };
    let text = match effective {
        Ok(text) => text,
        Err(error) => return super::refused(&error),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writing the configuration to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
