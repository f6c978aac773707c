//! What the engine is started with.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::bystander::{GOOD_VOLUME, good_needle};
use super::target::SHORT;
use super::{Engine, Needle, Spec, Volume};

/// What an engine is started with. Everything lies in a temporary directory of its own.
pub struct Setup {
    pub dir: TempDir,
    /// The pool, in bytes.
    pub buffer_size: u64,
    pub max_sessions: u64,
    /// Seconds.
    pub session_timeout: u64,
    /// Run as this user, with no capabilities.
    pub uid: Option<u32>,
    /// Limit on locked memory, in bytes.
    pub memlock: Option<u64>,
    pub(super) volumes: Vec<PathBuf>,
    /// The peers' names and addresses.
    pub(super) peers: Vec<(String, SocketAddr)>,
    settings: BTreeMap<&'static str, String>,
}

impl Setup {
    /// A pool of 16 MiB and a volume directory.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rdma").tempdir().unwrap();
        let volumes = dir.path().join("vol");
        std::fs::create_dir(&volumes).unwrap();
        let mut good = Volume::create(&volumes, GOOD_VOLUME, &Spec::default());
        good.put(&good_needle());
        Self {
            dir,
            buffer_size: 16 << 20,
            max_sessions: 1000,
            session_timeout: 300,
            uid: None,
            memlock: None,
            volumes: vec![volumes],
            peers: Vec::new(),
            settings: BTreeMap::from([
                // Hugepages are the host's; what runs here must not depend on them.
                ("hugepages", r#""never""#.to_owned()),
                // A client that is gone is watched for as long.
                ("client_grace", r#""50ms""#.to_owned()),
            ]),
        }
    }

    /// The directory of volumes.
    pub fn volumes(&self) -> &Path {
        &self.volumes[0]
    }

    /// One more directory of volumes.
    pub fn also_volumes(&mut self, dir: &Path) {
        self.volumes.push(dir.to_owned());
    }

    /// Sets a key of the configuration file; `value` is TOML.
    pub fn set(mut self, key: &'static str, value: &str) -> Self {
        self.settings.insert(key, value.to_owned());
        self
    }

    /// Has it read from a target, under this name.
    pub fn peer(mut self, name: &str, address: SocketAddr) -> Self {
        self.peers.push((name.to_owned(), address));
        self
    }

    /// Has it give up peers who keep it waiting after [`SHORT`].
    pub fn impatient(self) -> Self {
        self.set("peer_timeout", &format!(r#""{}ms""#, SHORT.as_millis()))
    }

    /// Gives it a secret to share with its peers.
    pub fn peer_secret(self, secret: &str) -> Self {
        let file = self.dir.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        self.set("peer_secret_file", &format!("{file:?}"))
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("e.sock")
    }

    /// The command that runs the engine.
    pub fn command(&self) -> Command {
        let config = self.dir.path().join("e.toml");
        let lines = self.settings.iter().map(|(k, v)| format!("{k} = {v}\n"));
        std::fs::write(&config, lines.collect::<String>()).unwrap();
        let mut program = binary();
        if let Some(uid) = self.uid {
            program = self.open_to(uid, &program);
        }
        let mut command = match self.memlock {
            Some(limit) => {
                // Runs the engine in its own place, so that the process id is the engine's.
                let mut command = Command::new("prlimit");
                command
                    .arg(format!("--memlock={limit}:{limit}"))
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.args([
            "server",
            "--device",
            "none",
            "--metrics-listen",
            "127.0.0.1:0",
        ]);
        command.arg("--ipc-socket").arg(self.socket());
        for dir in &self.volumes {
            command.arg("--volumes").arg(dir);
        }
        for (name, address) in &self.peers {
            command.arg("--peer").arg(format!("{name}={address}"));
        }
        for (flag, value) in [
            ("--buffer-size", self.buffer_size),
            ("--max-sessions", self.max_sessions),
            ("--session-timeout", self.session_timeout),
        ] {
            command.arg(flag).arg(value.to_string());
        }
        command.arg("-c").arg(config).current_dir("/");
        for (name, _) in std::env::vars() {
            if name.starts_with("RDMA_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Lets another user in: a copy of the program, and the directory to put a socket in.
    fn open_to(&self, uid: u32, program: &Path) -> PathBuf {
        let copy = self.dir.path().join("rdma-engine");
        std::fs::copy(program, &copy).unwrap();
        std::os::unix::fs::chown(self.dir.path(), Some(uid), Some(uid)).unwrap();
        self.reachable();
        copy
    }

    /// Lets every user into the directory.
    pub fn reachable(&self) {
        std::fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
    }

    /// Starts the engine and waits until it answers.
    pub fn start(self) -> Engine {
        let log = self.dir.path().join("stderr");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).unwrap());
        Engine::run(&mut command, log, self)
    }
}

/// An engine with these needles in its volume 7.
pub fn engine_with(needles: &[Needle]) -> Engine {
    let setup = Setup::new();
    let mut volume = Volume::create(setup.volumes(), 7, &Spec::default());
    for needle in needles {
        volume.put(needle);
    }
    setup.start()
}

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::var_os("ENGINE_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_rdma-engine").into())
        .into()
}
