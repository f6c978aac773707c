//! The real engine in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use super::http::{Answer, Metrics};
use super::{Bystander, Client, Setup, eventually, http, process, within_patience};

/// A running engine; killed by its own id when dropped.
pub struct Engine {
    child: Child,
    pub socket: PathBuf,
    log: PathBuf,
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
    /// Runs `command`, which writes to the file `log`, and waits until the engine answers.
    pub(super) fn run(command: &mut Command, log: PathBuf, setup: Setup) -> Self {
        let mut engine = Self {
            child: process::spawn_copied(command),
            socket: setup.socket(),
            log,
            setup,
        };
        engine.await_answer();
        engine
    }

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
        eventually("the log names the metrics' address", || {
            let log = self.log();
            let (_, rest) = log.split_once("metrics on http://")?;
            let (address, _) = rest.split_once("/metrics")?;
            Some(address.parse().expect("an address"))
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
        Bystander::of(self)
    }

    /// What the engine holds now. The caller has no connection open.
    pub fn baseline(&self) -> Baseline {
        self.await_no_connections();
        Baseline {
            descriptors: self.own_descriptors(),
        }
    }

    /// Awaits that every connection is closed, and every client process forgotten.
    fn await_no_connections(&self) {
        let port = self.http_address().port();
        eventually("every connection is closed", || {
            let open = process::accepted_on(&self.socket) + process::accepted_on_port(port);
            (open == 0).then_some(())
        });
        eventually("no client process is watched", || {
            let descriptors = process::descriptors(self.pid());
            (!descriptors.iter().any(|d| d.contains("pidfd"))).then_some(())
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
