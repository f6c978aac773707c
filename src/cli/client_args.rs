//! What every command that talks to a running engine takes.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CliError;
use crate::client::{ClientError, Connection, DEFAULT_TIMEOUT};

/// Where the engine listens when nothing else is said.
const DEFAULT_SOCKET: &str = "/tmp/rdma-engine.sock";
/// Environment variables that name the socket, the first that is set.
const SOCKET_VARIABLES: [&str; 2] = ["RDMA_ENGINE_IPC_SOCKET", "RDMA_SOCKET_PATH"];
/// The most bytes of a token file.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Options of the client commands.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// The engine's socket [env: RDMA_ENGINE_IPC_SOCKET, RDMA_SOCKET_PATH] [default:
    /// /tmp/rdma-engine.sock]
    #[arg(long, value_name = "PATH")]
    ipc_socket: Option<PathBuf>,
    /// File with the shared secret, where the engine asks for one
    #[arg(long, value_name = "FILE")]
    auth_token_file: Option<PathBuf>,
    /// Seconds to wait for the engine to take or answer a request
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ClientArgs {
    /// The socket: the flag's, the environment's or the default one.
    pub fn socket(&self) -> PathBuf {
        socket(self.ipc_socket.as_deref(), |name| std::env::var_os(name))
    }

    /// A new connection to the engine.
    pub fn connect(&self) -> Result<Connection, ClientError> {
        Connection::open(&self.socket(), Duration::from_secs(self.timeout))
    }

    /// The shared secret, if a file with one was named: its text without the newline at its end.
    pub fn auth_token(&self) -> Result<Option<String>, CliError> {
        let Some(path) = &self.auth_token_file else {
            return Ok(None);
        };
        let failed = |why: &dyn std::fmt::Display| {
            CliError::Failed(format!("--auth-token-file {}: {why}", path.display()))
        };
        let mut token = String::new();
        File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut token))
            .map_err(|e| failed(&e))?;
        if token.len() as u64 > TOKEN_BYTES_MAX {
            return Err(failed(&format_args!("longer than {TOKEN_BYTES_MAX} bytes")));
        }
        let token = token.trim_end_matches(['\r', '\n']);
        if token.is_empty() {
            return Err(failed(&"there is no token in it"));
        }
        Ok(Some(token.to_owned()))
    }
}

fn socket(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let from_environment = || {
        let mut set = SOCKET_VARIABLES.iter().filter_map(|name| variable(name));
        set.find(|path| !path.is_empty()).map(PathBuf::from)
    };
    flag.map(Path::to_owned)
        .or_else(from_environment)
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_flags_then_the_environments_then_the_default() {
        let both = |name: &str| Some(OsString::from(format!("/run/{name}")));
        let old = |name: &str| (name == "RDMA_SOCKET_PATH").then(|| "/run/old".into());
        let empty = |_: &str| Some(OsString::new());
        let none = |_: &str| None;
        assert_eq!(socket(Some("/flag".as_ref()), both), Path::new("/flag"));
        let own = Path::new("/run/RDMA_ENGINE_IPC_SOCKET");
        assert_eq!(socket(None, both), own);
        assert_eq!(socket(None, old), Path::new("/run/old"));
        assert_eq!(socket(None, empty), Path::new(DEFAULT_SOCKET));
        assert_eq!(socket(None, none), Path::new(DEFAULT_SOCKET));
    }

    #[test]
    fn a_token_is_the_text_of_its_file_and_must_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let args = ClientArgs {
            ipc_socket: None,
            auth_token_file: Some(path.clone()),
            timeout: 1,
            json: false,
        };
        assert!(args.auth_token().is_err(), "no file");
        std::fs::write(&path, " s3cret\r\n").unwrap();
        assert_eq!(args.auth_token().unwrap().as_deref(), Some(" s3cret"));
        for wrong in ["".to_owned(), "\n".to_owned(), "x".repeat(4097)] {
            std::fs::write(&path, &wrong).unwrap();
            assert!(args.auth_token().is_err(), "{wrong:?}");
        }
    }
}
