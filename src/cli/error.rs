//! How a command ends.

use std::io::Write;
use std::process::ExitCode;

use crate::client::ClientError;

/// Why a command failed, for the person who gave it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments can not be followed: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit status 1.
    #[error("{0}")]
    Failed(String),
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Says on stderr what went wrong, and gives the process's exit status.
pub fn exit_code(done: Result<(), CliError>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    // Where stderr is closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "rdma-engine: {error}");
    match error {
        CliError::Usage(_) => ExitCode::from(2),
        CliError::Failed(_) => ExitCode::FAILURE,
    }
}
