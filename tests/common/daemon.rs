//! What an engine and a target have in common as processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::http::{Answer, Metrics};
use super::{eventually, http, process, within_patience};

/// A running daemon; killed by its own id when dropped.
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// What a daemon holds while nobody is connected.
pub struct Baseline {
    pub(super) descriptors: Vec<String>,
}

impl Daemon {
    /// Runs `command`, which writes to the file `log`.
    pub(super) fn run(name: &'static str, command: &mut Command, log: PathBuf) -> Self {
        let child = process::spawn_copied(command);
        Self { name, child, log }
    }

    /// Checks that it has not ended.
    pub(super) fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the {} ended, {status}:\n{}", self.name, self.log());
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, without colours.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
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

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it where it is, until it is told to go on; returns once all of it has stopped.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let child = Pid::from_child(&self.child);
        let stopped = waitpid(Some(child), WaitOptions::UNTRACED).unwrap();
        let (_, status) = stopped.expect("it was waited for");
        assert!(status.stopped(), "{status:?}");
    }

    /// Awaits its own end.
    pub fn await_exit(&mut self) -> ExitStatus {
        process::await_exit(&mut self.child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the {}'s log:\n{}", self.name, self.log());
        }
    }
}

impl Baseline {
    /// How many descriptors.
    pub fn count(&self) -> usize {
        self.descriptors.len()
    }

    /// Awaits that there are as many descriptors as there were.
    pub(super) fn await_again(&self, look: impl Fn() -> Vec<String>) {
        let mut now = Vec::new();
        let same = within_patience(|| {
            now = look();
            now.len() == self.count()
        });
        let then = &self.descriptors;
        assert!(same, "descriptors before: {then:#?}\nand now: {now:#?}");
    }
}
