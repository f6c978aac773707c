//! The `rdma-engine` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    rdma_engine::cli::run()
}
