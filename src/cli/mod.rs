//! The command line: one file a subcommand.

mod bench;
mod capabilities;
mod check_config;
mod client_args;
mod devices;
mod error;
mod output;
mod ping;
mod read;
mod server;
mod sessions;
mod show;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, ServerArgs, TargetArgs};

pub use error::CliError;

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
    Server(Box<ServerArgs>),
    /// Run the storage node's daemon
    Target(Box<TargetArgs>),
    /// Check the configuration and print what is in effect, each value with its origin
    CheckConfig(Box<check_config::Args>),
    Devices(devices::Args),
    Ping(ping::Args),
    Capabilities(capabilities::Args),
    Read(read::Args),
    Sessions(sessions::Args),
    Bench(bench::Args),
}

/// Says what is wrong with a configuration, and gives the process's exit status.
fn refused(error: &ConfigError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}

/// Runs the command the process was started with. Exit status: 0 done, 1 failed, 2 wrong usage.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Server(args) => return server::run(&args),
        Command::Target(args) => return target::run(&args),
        Command::CheckConfig(args) => return check_config::run(&args),
        Command::Devices(args) => devices::run(args),
        Command::Ping(args) => ping::run(args),
        Command::Capabilities(args) => capabilities::run(args),
        Command::Read(args) => read::run(args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Bench(args) => bench::run(args),
    };
    error::exit_code(done)
}
