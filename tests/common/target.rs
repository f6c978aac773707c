//! The real target in a process of its own.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::bystander::{GOOD_VOLUME, good_needle};
use super::daemon::{Baseline, Daemon};
use super::peer::{Peer, read};
use super::setup::binary;
use super::{Needle, Spec, Volume, eventually, process};

/// How long a target waits for a peer in tests that wait for that: well above what a busy machine
/// makes a peer that behaves take.
pub const SHORT: Duration = Duration::from_secs(2);

/// What a target is started with. Everything lies in a temporary directory of its own.
pub struct TargetSetup {
    pub dir: TempDir,
    settings: BTreeMap<&'static str, String>,
    secret: Option<&'static str>,
    listen: String,
}

impl TargetSetup {
    /// A pool of 16 MiB, no secret, and a directory with the volume every target has.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rdma").tempdir().unwrap();
        let volumes = dir.path().join("vol");
        std::fs::create_dir(&volumes).unwrap();
        Volume::create(&volumes, GOOD_VOLUME, &Spec::default()).put(&good_needle());
        let setup = Self {
            dir,
            settings: BTreeMap::new(),
            secret: None,
            listen: "127.0.0.1:0".to_owned(),
        };
        // Hugepages and devices are the host's; what runs here must not depend on them.
        setup
            .set("hugepages", r#""never""#)
            .set("device", r#""none""#)
            .set("buffer_size", "16777216")
    }

    /// One with these needles in its volume 7.
    pub fn with(needles: &[Needle]) -> Self {
        let setup = Self::new();
        setup.volume(7, &Spec::default(), needles);
        setup
    }

    /// Writes a volume.
    pub fn volume(&self, id: u32, spec: &Spec, needles: &[Needle]) -> Volume {
        let mut volume = Volume::create(&self.volumes(), id, spec);
        for needle in needles {
            volume.put(needle);
        }
        volume
    }

    /// The directory of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.dir.path().join("vol")
    }

    /// Sets a key of the configuration file; `value` is TOML.
    pub fn set(mut self, key: &'static str, value: &str) -> Self {
        self.settings.insert(key, value.to_owned());
        self
    }

    /// Gives the target a secret.
    pub fn secret(mut self, secret: &'static str) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Has it listen there.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// Has it close connections of peers who keep it waiting after [`SHORT`].
    pub fn impatient(self) -> Self {
        self.set("peer_timeout", &format!(r#""{}ms""#, SHORT.as_millis()))
    }

    /// The command that runs the target.
    pub fn command(&self) -> Command {
        let mut lines: String = self
            .settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        if let Some(secret) = self.secret {
            let file = self.dir.path().join("secret");
            std::fs::write(&file, format!("{secret}\n")).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            lines += &format!("peer_secret_file = {file:?}\n");
        }
        let config = self.dir.path().join("t.toml");
        std::fs::write(&config, lines).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["target", "--metrics-listen", "127.0.0.1:0"])
            .args(["--listen", &self.listen])
            .arg("--volumes")
            .arg(self.volumes())
            .arg("-c")
            .arg(config)
            .current_dir("/");
        for (name, _) in std::env::vars() {
            if name.starts_with("RDMA_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts the target and waits until it says where it listens.
    pub fn start(self) -> Target {
        let log = self.dir.path().join("stderr");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).unwrap());
        let mut target = Target {
            daemon: Daemon::run("target", &mut command, log),
            setup: self,
            address: None,
        };
        target.await_ready();
        target
    }

    /// Runs it where it is to refuse to start. Returns its exit code and what it said.
    pub fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }
}

/// A running target.
pub struct Target {
    /// Before the setup, so that it has ended when its directory is removed.
    daemon: Daemon,
    pub setup: TargetSetup,
    address: Option<SocketAddr>,
}

impl Deref for Target {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Target {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Target {
    fn await_ready(&mut self) {
        let address = eventually("the target says that it is ready", || {
            self.assert_runs();
            let log = self.log();
            let (_, rest) = log.split_once("listen=")?;
            let (address, _) = rest.split_once(char::is_whitespace)?;
            Some(address.parse().expect("an address"))
        });
        self.address = Some(address);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it has said so")
    }

    /// A new connection, before its handshake.
    pub fn stranger(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// A new connection after its handshake.
    pub fn peer(&self) -> Peer {
        let mut peer = self.stranger();
        peer.greet(self.setup.secret);
        peer
    }

    /// Awaits a number of connections that are open, handshake or not.
    pub fn await_connections(&self, count: u32) {
        self.await_metrics(&format!("{count} connections are open"), |m| {
            m.get("rdma_connections_active") == f64::from(count)
        });
    }

    /// Checks that a new peer is served.
    pub fn serves(&self) {
        self.serves_on(&mut self.peer());
    }

    /// Checks that a peer is served.
    pub fn serves_on(&self, peer: &mut Peer) {
        peer.ping();
        let needle = good_needle();
        assert_eq!(peer.fetched(read(GOOD_VOLUME, &needle)), needle.data);
    }

    /// What it holds now. The caller has no connection open.
    pub fn baseline(&self) -> Baseline {
        self.await_no_connections();
        let descriptors = self.own_descriptors();
        Baseline { descriptors }
    }

    fn await_no_connections(&self) {
        let ports = [self.http_address().port(), self.address().port()];
        eventually("every connection is closed", || {
            let open: usize = ports.map(process::accepted_on_port).iter().sum();
            (open == 0).then_some(())
        });
    }

    /// Descriptors but those of volume files, which are opened when they are first needed, and
    /// of what it reads about itself for a moment.
    fn own_descriptors(&self) -> Vec<String> {
        let volumes = self.setup.volumes();
        let mut links = process::descriptors(self.pid());
        links.retain(|link| {
            let link = Path::new(link);
            !link.starts_with(&volumes) && !link.starts_with("/proc")
        });
        links.sort();
        links
    }

    /// Checks, when all the test's peers are gone, that every lease, buffer, connection and
    /// descriptor came back, that it still serves and that nothing in it panicked.
    pub fn assert_nothing_lost(&self, before: &Baseline) {
        self.await_metrics("no lease, buffer or connection is held", |m| {
            let held = ["rdma_leases_active", "rdma_connections_active"];
            held.iter().all(|name| m.get(name) == 0.0)
                && m.pool_bytes_taken() == 0.0
                && m.get("rdma_pool_waiters") == 0.0
        });
        self.await_no_connections();
        before.await_again(|| self.own_descriptors());
        self.serves();
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Runs `abuse` on a target while a peer of another connection is served, and counts afterwards.
pub fn while_others_are_served(setup: TargetSetup, abuse: impl FnOnce(&Target)) {
    let target = setup.start();
    let before = target.baseline();
    let mut bystander = target.peer();
    target.serves_on(&mut bystander);
    abuse(&target);
    target.serves_on(&mut bystander);
    drop(bystander);
    target.assert_nothing_lost(&before);
}
