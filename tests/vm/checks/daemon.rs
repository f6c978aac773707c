//! The real engine and target, each in a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rdma_engine::client::Connection;
use rdma_engine::protocol::message::GetCapabilitiesResponse;
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::http::{self, Metrics};
use crate::report::Result;
use crate::wait::until;

/// The program under test.
pub const PROGRAM: &str = "rdma-engine";
/// Where the volumes are.
pub const VOLUMES: &str = "/data/volumes";

/// Settings by flag; a later one replaces an earlier one.
#[derive(Clone, Debug)]
pub struct Flags {
    command: &'static str,
    values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// An engine that reads from the target at `peer`, and has no volumes of its own.
    pub fn engine(peer: SocketAddr) -> Self {
        Self::of("server").and("peer", &peer.to_string())
    }

    /// A target that serves the volumes.
    pub fn target() -> Self {
        Self::of("target")
            .and("volumes", VOLUMES)
            .and("listen", "127.0.0.1:0")
    }

    fn of(command: &'static str) -> Self {
        let values = BTreeMap::new();
        Self { command, values }
            .and("metrics-listen", "127.0.0.1:0")
            .and("hugepages", "never")
            .and("buffer-size", "64MiB")
            .and("workers", "2")
    }

    /// With one more.
    #[must_use]
    pub fn and(mut self, flag: &'static str, value: &str) -> Self {
        self.values.insert(flag, value.to_owned());
        self
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        let workers = self.values.get("workers");
        workers.and_then(|w| w.parse().ok()).unwrap_or(1)
    }

    /// The words of the command line.
    pub fn words(&self) -> Vec<String> {
        let flags = self.values.iter().map(|(k, v)| format!("--{k}={v}"));
        [self.command.to_owned()].into_iter().chain(flags).collect()
    }
}

/// A daemon; killed by its own id when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    http: SocketAddr,
}

/// An engine.
pub struct Engine {
    daemon: Daemon,
    /// Where its clients connect.
    pub socket: PathBuf,
}

/// A target.
pub struct Target {
    daemon: Daemon,
    /// Where engines connect.
    pub address: SocketAddr,
}

impl Deref for Engine {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Deref for Target {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Engine {
    /// Starts one and waits until it is ready. Its socket and log are `dir/name.*`.
    pub fn start(dir: &Path, name: &str, flags: &Flags) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.args(flags.words());
        Self::run(command, dir, name)
    }

    /// The same with a command that ends in the words of the flags.
    pub fn run(mut command: Command, dir: &Path, name: &str) -> Result<Self> {
        let socket = dir.join(name).with_extension("sock");
        command.arg("--ipc-socket").arg(&socket);
        let daemon = Daemon::start(command, dir, name)?;
        Ok(Self { daemon, socket })
    }

    /// What it says of itself.
    pub fn capabilities(&self) -> Result<GetCapabilitiesResponse> {
        Ok(Connection::open(&self.socket, PATIENCE)?.capabilities()?)
    }

    /// Awaits that its only peer is read by verbs, on each of its workers.
    pub fn await_verbs(&self, workers: usize) -> Result<()> {
        until("every worker reads by verbs", || {
            let connected = self.log().matches(": read by verbs").count();
            (connected >= workers).then_some(())
        })?;
        self.await_metrics("the peer is read by verbs", |m| peers(m, "verbs") == 1.0)?;
        Ok(())
    }

    /// Stops it in order.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self.daemon);
    }
}

impl Target {
    /// Starts one and waits until it is ready. Its log is `dir/name.log`.
    pub fn start(dir: &Path, name: &str, flags: &Flags) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.args(flags.words());
        let daemon = Daemon::start(command, dir, name)?;
        let log = daemon.log();
        let after = log.split("listen=").nth(1).unwrap_or_default();
        let address = after.split_whitespace().next().unwrap_or_default();
        let address = address
            .parse()
            .map_err(|e| format!("the target's log names no address: {e}"))?;
        Ok(Self { daemon, address })
    }

    /// Stops it in order.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self.daemon);
    }
}

impl Daemon {
    fn start(mut command: Command, dir: &Path, name: &str) -> Result<Self> {
        let log = dir.join(name).with_extension("log");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(File::create(&log)?).spawn()?;
        let ready = until(&format!("{name} is ready"), || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(format!("{name} ended, {status}: {}", read(&log))));
            }
            let text = read(&log);
            let (_, rest) = text.split_once("metrics on http://")?;
            let http = rest.split_once("/metrics")?.0.parse().ok()?;
            let answer = http::get(http, "/readyz").ok()?;
            (answer.status == 200).then_some(Ok(http))
        });
        match ready {
            Ok(Ok(http)) => Ok(Self { child, log, http }),
            Ok(Err(why)) => Err(why.into()),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&http::get(self.http, "/metrics")?.body))
    }

    /// Awaits a state of its metrics.
    pub fn await_metrics(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let mut last = None;
        let came = until(what, || {
            last = self.metrics().ok();
            last.as_ref().is_some_and(&wanted).then_some(())
        });
        match (came, last) {
            (Ok(()), Some(metrics)) => Ok(metrics),
            (came, last) => {
                let states = last.map_or_else(|| "no metrics".to_owned(), |m| states(&m));
                let why = came.err().map(|e| e.to_string()).unwrap_or_default();
                Err(format!("{why}; now: {states}").into())
            }
        }
    }

    /// Awaits that nothing of the pool is held.
    pub fn await_idle(&self) -> Result<Metrics> {
        self.await_metrics("everything has been given back", |m| {
            m.pool_bytes_taken() == 0.0 && m.sessions() == 0.0 && m.get("rdma_leases_active") == 0.0
        })
    }

    /// Descriptors it has open.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = await_end(&mut self.child)?;
        if !status.success() {
            return Err(format!("a daemon ended with {status}: {}", self.log()).into());
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Runs a daemon that must not start; its exit status and what it said.
pub fn refused(mut command: Command, log: &Path) -> Result<(ExitStatus, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(File::create(log)?).spawn()?;
    match await_end(&mut child) {
        Ok(status) => Ok((status, read(log))),
        Err(_) => {
            end(&mut child);
            Err(format!("it was to be refused, and runs: {}", read(log)).into())
        }
    }
}

/// Peers in a state.
pub fn peers(metrics: &Metrics, state: &str) -> f64 {
    metrics.sum("rdma_peers", |labels| {
        labels.contains(&format!("\"{state}\""))
    })
}

/// Bytes of the pool in a state.
pub fn pool(metrics: &Metrics, state: &str) -> f64 {
    metrics.sum("rdma_pool_bytes", |labels| {
        labels.contains(&format!("\"{state}\""))
    })
}

fn await_end(child: &mut Child) -> Result<ExitStatus> {
    until("the process ends", || child.try_wait().ok().flatten())
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

fn states(metrics: &Metrics) -> String {
    let told = |s: &&String| {
        [
            "rdma_pool_bytes",
            "rdma_sessions",
            "rdma_leases",
            "rdma_peers",
        ]
        .iter()
        .any(|n| s.starts_with(n))
    };
    let series = metrics.0.iter().filter(|(series, _)| told(series));
    series.map(|(s, v)| format!("{s} {v} ")).collect()
}
