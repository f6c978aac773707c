//! The real engine in a process of its own.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rdma_engine::protocol::message::StartRead;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{range, whole};
use super::http::{Answer, Metrics};
use super::{
    Client, Needle, Pool, Spec, Volume, bytes, eventually, http, process, within_patience,
};

/// A volume every engine has, for clients who behave.
const GOOD_VOLUME: u32 = 9000;

fn good_needle() -> Needle {
    Needle::new(1, bytes(9000, 10_000))
}

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
    volumes: Vec<PathBuf>,
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
            // Hugepages are the host's; what runs here must not depend on them.
            settings: BTreeMap::from([("hugepages", r#""never""#.to_owned())]),
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
        let child = process::spawn_copied(&mut command);
        let mut engine = Engine {
            child,
            socket: self.socket(),
            log,
            metrics_address: None,
            setup: self,
        };
        engine.await_answer();
        engine
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
    std::env::var_os("RDMA_ENGINE_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_rdma-engine").into())
        .into()
}

/// A running engine; killed by its own id when dropped.
pub struct Engine {
    child: Child,
    pub socket: PathBuf,
    log: PathBuf,
    metrics_address: Option<SocketAddr>,
    pub setup: Setup,
}

/// What an engine holds while nobody is connected.
pub struct Baseline {
    descriptors: Vec<String>,
}

impl Baseline {
    /// How many descriptors.
    pub fn count(&self) -> usize {
        self.descriptors.len()
    }
}

impl Engine {
    fn await_answer(&mut self) {
        let socket = self.socket.clone();
        eventually("the engine answers a Ping", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the engine ended, {status}:\n{}", self.log());
            }
            // As root, the engine's own user's socket is open to us whatever its mode.
            let mut client = Client::connect(&socket).ok()?;
            client.answers().then_some(())
        });
    }

    /// The engine's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).expect("the engine accepts connections")
    }

    /// Where the HTTP endpoints are, from the log.
    pub fn http_address(&self) -> SocketAddr {
        self.metrics_address.unwrap_or_else(|| {
            eventually("the log names the metrics' address", || {
                let log = self.log();
                let (_, rest) = log.split_once("metrics on http://")?;
                let (address, _) = rest.split_once("/metrics")?;
                Some(address.parse().expect("an address"))
            })
        })
    }

    /// Fetches a path from the HTTP endpoints.
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.http_address(), path).expect("the HTTP endpoints answer")
    }

    /// Scrapes the metrics.
    pub fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Metrics::parse(&answer.body)
    }

    /// Awaits a state of the metrics.
    pub fn await_metrics(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(what, || {
            let metrics = self.metrics();
            wanted(&metrics).then_some(metrics)
        })
    }

    /// A client who behaves, connected before whatever a test does to the engine.
    pub fn bystander(&self) -> Bystander {
        let mut client = self.client();
        let pool = client.attach();
        Bystander {
            client,
            pool,
            needle: good_needle(),
        }
    }

    /// What the engine holds now. The caller has no connection open.
    pub fn baseline(&self) -> Baseline {
        self.await_no_connections();
        Baseline {
            descriptors: self.own_descriptors(),
        }
    }

    fn await_no_connections(&self) {
        let port = self.http_address().port();
        eventually("every connection is closed", || {
            let open = process::accepted_on(&self.socket) + process::accepted_on_port(port);
            (open == 0).then_some(())
        });
    }

    /// Descriptors but those of volume files, which are opened when they are first needed, and
    /// of what the engine reads about itself for a moment.
    fn own_descriptors(&self) -> Vec<String> {
        let mut links = process::descriptors(self.pid());
        links.retain(|link| {
            let link = Path::new(link);
            let of_a_volume = self.setup.volumes.iter().any(|v| link.starts_with(v));
            !of_a_volume && !link.starts_with("/proc")
        });
        links.sort();
        links
    }

    /// Checks, when all the test's clients are gone, that every session, buffer and descriptor
    /// came back, that the engine lives and that nothing in it panicked.
    pub fn assert_nothing_lost(&self, before: &Baseline) {
        self.await_metrics("no session and no buffer is held", |m| {
            m.sessions() == 0.0 && m.pool_bytes_taken() == 0.0
        });
        self.await_no_connections();
        let mut now = Vec::new();
        let same = within_patience(|| {
            now = self.own_descriptors();
            now.len() == before.descriptors.len()
        });
        assert!(
            same,
            "descriptors before: {:#?}\nand now: {now:#?}",
            before.descriptors
        );
        let volume_files = process::descriptors(self.pid()).len() - now.len();
        let count = |dir: &PathBuf| std::fs::read_dir(dir).unwrap().count();
        let files: usize = self.setup.volumes.iter().map(count).sum();
        assert!(
            volume_files <= 2 * files,
            "{volume_files} descriptors of {files} volume files"
        );
        self.bystander().served();
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Awaits the engine's own end.
    pub fn await_exit(&mut self) -> ExitStatus {
        process::await_exit(&mut self.child)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the engine's log:\n{}", self.log());
        }
    }
}

/// A client who behaves, to show that what others do is nothing to it.
pub struct Bystander {
    pub client: Client,
    pub pool: Pool,
    needle: Needle,
}

impl Bystander {
    /// Checks that pings and reads are answered.
    pub fn served(&mut self) {
        self.client.ping();
        let (data, _) = self.client.fetch(&self.pool, &Self::whole()).unwrap();
        assert_eq!(data, self.needle.data);
        let part = range(GOOD_VOLUME, &self.needle, 4000, 200);
        let (data, _) = self.client.fetch(&self.pool, &part).unwrap();
        assert_eq!(data, &self.needle.data[4000..4200]);
    }

    /// A read that is always possible.
    pub fn whole() -> StartRead {
        whole(GOOD_VOLUME, &good_needle())
    }
}
