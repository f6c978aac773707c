//! The command line: one file a subcommand.

mod check_config;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ServerArgs;

/// Needles of SeaweedFS, read into a registered pool and used in place.
#[derive(Debug, Parser)]
#[command(name = "rdma-engine", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Server(ServerArgs),
    /// Check the configuration and print what is in effect, each value with its origin
    CheckConfig(ServerArgs),
}

/// Runs the command the process was started with.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Server(args) => server::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
    }
}
