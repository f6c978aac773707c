//! What one setting alone can not show: contradictions between two, and what must exist on disk.

use std::path::{Path, PathBuf};

use super::choice::TransportChoice;
use super::origin::ConfigError;
use super::peer::PEERS_MAX;
use super::resolved::Resolved;
use super::server::Config;
use super::target::TargetConfig;
use super::token::Token;
use crate::verbs::DeviceChoice;

impl Config {
    /// Refuses contradictions and missing directories, and reads the secrets.
    pub(super) fn checked(mut self) -> Result<Self, ConfigError> {
        let settings = &self.resolved;
        if self.session_timeout > self.session_timeout_max {
            let allowed = "a session_timeout of at most session_timeout_max";
            return Err(settings.contradiction("session_timeout", "session_timeout_max", allowed));
        }
        check_pool(settings, self.max_transfer_size, self.buffer_size)?;
        if self.index_dir.is_some() && self.volumes.is_empty() {
            let allowed = "an index_dir only for volumes";
            return Err(settings.contradiction("index_dir", "volumes", allowed));
        }
        check_transport(settings, self.transport, &self.device)?;
        self.check_peers()?;
        check_directories(settings, &self.volumes, self.index_dir.as_deref())?;
        self.auth_token = secret(settings, "auth_token_file", &self.auth_token_file, "token")?;
        self.peer_secret = peer_secret(settings, &self.peer_secret_file)?;
        Ok(self)
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        let error = |problem| Err(self.resolved.error("peers", problem));
        if self.peers.len() > PEERS_MAX {
            let given = self.peers.len();
            return error(format!("{given} are given; allowed: at most {PEERS_MAX}"));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            for other in self.peers.iter().take(index) {
                if peer.name == other.name {
                    let problem = format!("two are named {}", peer.name);
                    return error(format!("{problem}; allowed: a name of its own for each"));
                }
                if (&peer.host, peer.port) == (&other.host, other.port) {
                    return error(format!("{peer} is given twice; allowed: once"));
                }
            }
        }
        let trusted = self.peer_secret_file.is_some() || self.insecure;
        match self.peers.iter().find(|peer| !peer.is_loopback()) {
            Some(peer) if !trusted => error(beyond_this_host(peer)),
            _ => Ok(()),
        }
    }
}

impl TargetConfig {
    /// Refuses contradictions and missing directories, and reads the secret.
    pub(super) fn checked(mut self) -> Result<Self, ConfigError> {
        let settings = &self.resolved;
        if self.volumes.is_empty() {
            let problem = "no directory is given; allowed: at least one, such as --volumes DIR";
            return Err(settings.error("volumes", problem.to_owned()));
        }
        check_pool(settings, self.max_transfer_size, self.buffer_size)?;
        check_transport(settings, self.transport, &self.device)?;
        let trusted = self.peer_secret_file.is_some() || self.insecure;
        if !trusted && !self.listen.ip().is_loopback() {
            return Err(settings.error("listen", beyond_this_host(self.listen)));
        }
        check_directories(settings, &self.volumes, self.index_dir.as_deref())?;
        self.peer_secret = peer_secret(settings, &self.peer_secret_file)?;
        Ok(self)
    }
}

fn beyond_this_host(address: impl std::fmt::Display) -> String {
    format!(
        "{address} is not a loopback address and there is no peer_secret_file; allowed: with a \
         peer_secret_file, or with insecure = true where everyone in the network is trusted"
    )
}

fn check_pool(
    settings: &Resolved,
    max_transfer_size: u64,
    buffer_size: u64,
) -> Result<(), ConfigError> {
    if max_transfer_size <= buffer_size / 2 {
        return Ok(());
    }
    let allowed = "a max_transfer_size of at most half of buffer_size";
    Err(settings.contradiction("max_transfer_size", "buffer_size", allowed))
}

fn check_transport(
    settings: &Resolved,
    transport: TransportChoice,
    device: &DeviceChoice,
) -> Result<(), ConfigError> {
    if (transport, device) != (TransportChoice::Verbs, &DeviceChoice::None) {
        return Ok(());
    }
    let allowed = "a device for verbs, or another transport";
    Err(settings.contradiction("transport", "device", allowed))
}

fn check_directories(
    settings: &Resolved,
    volumes: &[PathBuf],
    index_dir: Option<&Path>,
) -> Result<(), ConfigError> {
    let mut seen = Vec::new();
    for path in volumes {
        check_directory(settings, "volumes", path)?;
        let same = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&same) {
            let problem = format!("{} is given twice; allowed: once", path.display());
            return Err(settings.error("volumes", problem));
        }
        seen.push(same);
    }
    index_dir.map_or(Ok(()), |path| check_directory(settings, "index_dir", path))
}

fn check_directory(settings: &Resolved, key: &str, path: &Path) -> Result<(), ConfigError> {
    let problem = |error| {
        format!(
            "{}: {error}; allowed: a directory that exists and can be read",
            path.display()
        )
    };
    match std::fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(settings.error(key, problem(error))),
    }
}

fn peer_secret(settings: &Resolved, path: &Option<PathBuf>) -> Result<Option<Token>, ConfigError> {
    secret(settings, "peer_secret_file", path, "secret")
}

/// The secret in the file that `key` names. `what` it is called in an error.
fn secret(
    settings: &Resolved,
    key: &str,
    path: &Option<PathBuf>,
    what: &str,
) -> Result<Option<Token>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    let read = Token::read(path, what);
    let problem = |problem| format!("{}: {problem}", path.display());
    read.map(Some)
        .map_err(|error| settings.error(key, problem(error)))
}
