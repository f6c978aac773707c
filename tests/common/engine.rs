//! The real engine in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rdma_engine::protocol::message::StartRead;
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

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        eventually("the log says how many workers there are", || {
            let log = self.log();
            let (_, rest) = log.split_once("workers=")?;
            let (count, _) = rest.split_once(char::is_whitespace)?;
            Some(count.parse().expect("a number"))
        })
    }

    /// Awaits that every worker reads from the real target of that name. Nobody else connects
    /// meanwhile: new connections are dealt to the workers in turn.
    pub fn await_peer(&self, name: &str) {
        let read = StartRead {
            peer: Some(name.to_owned()),
            ..Bystander::whole()
        };
        for _ in 0..self.workers() {
            let mut client = self.client();
            eventually(&format!("peer {name} is read from"), || {
                let started = client.start(&read).ok()?;
                assert_eq!(started.transport, "tcp");
                client.complete(&started);
                Some(())
            });
        }
    }

    /// A client who behaves, connected before whatever a test does to the engine.
    pub fn bystander(&self) -> Bystander {
        Bystander::of(self)
    }

    /// What the engine holds now. The caller has no connection open.
    pub fn baseline(&self) -> Baseline {
        self.await_no_connections();
        // A link that is just being made may show for a moment.
        let looks = std::iter::repeat_with(|| self.own_descriptors()).take(5);
        Baseline {
            descriptors: looks.min_by_key(Vec::len).unwrap(),
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

    /// Descriptors of its links to peers, two a link.
    fn peer_descriptors(&self) -> Vec<String> {
        let ports: Vec<u16> = self.setup.peers.iter().map(|(_, a)| a.port()).collect();
        let sockets = process::sockets_to(&ports).into_iter();
        let sockets: Vec<String> = sockets.map(|inode| format!("socket:[{inode}]")).collect();
        let mut links = process::descriptors(self.pid());
        links.retain(|link| sockets.contains(link));
        links
    }

    /// Descriptors but those of volume files, which are opened when they are first needed, of
    /// links to peers, which come and go, and of what the engine reads about itself for a moment.
    fn own_descriptors(&self) -> Vec<String> {
        let mut links = process::descriptors(self.pid());
        let of_peers = self.peer_descriptors();
        links.retain(|link| {
            let of_itself = Path::new(link).starts_with("/proc");
            !self.is_of_a_volume(link) && !of_itself && !of_peers.contains(link)
        });
        links.sort();
        links
    }

    fn is_of_a_volume(&self, descriptor: &str) -> bool {
        let mut volumes = self.setup.volumes.iter();
        volumes.any(|dir| Path::new(descriptor).starts_with(dir))
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
        let mut volume_files = process::descriptors(self.pid());
        volume_files.retain(|link| self.is_of_a_volume(link));
        let volume_files = volume_files.len();
        let count = |dir: &PathBuf| std::fs::read_dir(dir).unwrap().count();
        let files: usize = self.setup.volumes.iter().map(count).sum();
        assert!(
            volume_files <= 2 * files,
            "{volume_files} descriptors of {files} volume files"
        );
        let links = self.setup.peers.len() * self.workers();
        let found = within_patience(|| self.peer_descriptors().len() <= 2 * links);
        assert!(found, "more than {links} links to peers");
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
