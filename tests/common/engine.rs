//! The real engine in a process of its own.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use rdma_engine::protocol::message::StartRead;

use super::daemon::{Baseline, Daemon};
use super::{Bystander, Client, Setup, eventually, process, within_patience};

/// A running engine.
pub struct Engine {
    /// Before the setup, so that it has ended when its directory is removed.
    daemon: Daemon,
    pub socket: PathBuf,
    pub setup: Setup,
}

impl Deref for Engine {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Engine {
    /// Runs `command`, which writes to the file `log`, and waits until the engine answers.
    pub(super) fn run(command: &mut Command, log: PathBuf, setup: Setup) -> Self {
        let mut engine = Self {
            daemon: Daemon::run("engine", command, log),
            socket: setup.socket(),
            setup,
        };
        engine.await_answer();
        engine
    }

    fn await_answer(&mut self) {
        let socket = self.socket.clone();
        eventually("the engine answers a Ping", || {
            self.assert_runs();
            // As root, the engine's own user's socket is open to us whatever its mode.
            let mut client = Client::connect(&socket).ok()?;
            client.answers().then_some(())
        });
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).expect("the engine accepts connections")
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
        before.await_again(|| self.own_descriptors());
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
}
