//! Which client processes are connected, and which have gone.
//!
//! A process is known by its pid and a pidfd, which tells a process that has ended from another
//! that has got its pid. One that has ended loses its sessions after a short grace, in which a
//! last message still under way may arrive. One that still runs keeps them until their deadlines,
//! connected or not; and so does one that can not be watched, because it may still run.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::telemetry::Identity;

/// A client process, for as long as the engine runs: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub u64);

/// The client processes that have connections, or had some and may still hold sessions.
#[derive(Debug, Default)]
pub struct Clients {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<ClientKey, Client>,
    by_pid: HashMap<i32, ClientKey>,
    last: u64,
}

#[derive(Debug)]
struct Client {
    pid: Option<Pid>,
    process: Process,
    connections: u32,
    /// Since when it has had no connection.
    unconnected: Option<Instant>,
    identity: Arc<Identity>,
}

/// What can be told of a client's process.
#[derive(Debug)]
enum Process {
    Watched(OwnedFd),
    /// It was gone before it could be watched.
    Ended,
    /// It is in another pid namespace, or the kernel is older than pidfds.
    Unknown,
}

impl Clients {
    /// Counts a new connection of process `pid`, of user `uid`; `None` when the kernel can not name
    /// the process (it is in another pid namespace), and then the connection counts as a process of
    /// its own.
    pub fn connected(&self, pid: Option<i32>, uid: u32) -> (ClientKey, Arc<Identity>) {
        let pid = pid.and_then(Pid::from_raw);
        let mut known = self.known();
        if let Some(key) = pid.and_then(|p| known.by_pid.get(&p.as_raw_nonzero().get()).copied())
            && let Some(client) = known.by_key.get_mut(&key)
            && !client.process.has_ended()
        {
            client.connections += 1;
            client.unconnected = None;
            return (key, Arc::clone(&client.identity));
        }
        known.last += 1;
        let key = ClientKey(known.last);
        let process = pid.map_or(Process::Unknown, Process::watch);
        if let Some(pid) = pid {
            known.by_pid.insert(pid.as_raw_nonzero().get(), key);
        }
        let identity = Arc::new(Identity::new(format!("uid-{uid}")));
        known.by_key.insert(
            key,
            Client {
                pid,
                process,
                connections: 1,
                unconnected: None,
                identity: Arc::clone(&identity),
            },
        );
        (key, identity)
    }

    /// Counts a connection's end. A client without connections is remembered only while it
    /// `holds_sessions`.
    pub fn disconnected(&self, key: ClientKey, now: Instant, holds_sessions: bool) {
        let mut known = self.known();
        let Some(client) = known.by_key.get_mut(&key) else {
            return;
        };
        client.connections = client.connections.saturating_sub(1);
        if client.connections == 0 {
            client.unconnected = Some(now);
            if !holds_sessions {
                known.forget(key);
            }
        }
    }

    /// The clients without a connection for `grace` whose process has ended: their sessions are
    /// to be reclaimed. They are forgotten, and so are those that `holds_sessions` says hold none.
    pub fn gone(
        &self,
        grace: Duration,
        now: Instant,
        holds_sessions: impl Fn(ClientKey) -> bool,
    ) -> Vec<ClientKey> {
        let mut known = self.known();
        let unconnected: Vec<ClientKey> = known
            .by_key
            .iter()
            .filter(|(_, client)| {
                client
                    .unconnected
                    .is_some_and(|since| now.saturating_duration_since(since) >= grace)
            })
            .map(|(&key, _)| key)
            .collect();
        let mut gone = Vec::new();
        for key in unconnected {
            let ended = known
                .by_key
                .get(&key)
                .is_none_or(|client| client.process.has_ended());
            if ended {
                gone.push(key);
            }
            if ended || !holds_sessions(key) {
                known.forget(key);
            }
        }
        gone
    }

    /// Clients known.
    pub fn len(&self) -> usize {
        self.known().by_key.len()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, key: ClientKey) {
        let Some(client) = self.by_key.remove(&key) else {
            return;
        };
        if let Some(pid) = client.pid.map(|p| p.as_raw_nonzero().get())
            && self.by_pid.get(&pid) == Some(&key)
        {
            self.by_pid.remove(&pid);
        }
    }
}

impl Process {
    fn watch(pid: Pid) -> Self {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Self::Watched(process),
            Err(rustix::io::Errno::SRCH) => Self::Ended,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether it is known to have ended: a pidfd becomes readable then.
    fn has_ended(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Unknown => false,
            Self::Watched(process) => {
                let mut polled = [PollFd::new(process, PollFlags::IN)];
                let at_once = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                rustix::event::poll(&mut polled, Some(&at_once)).is_ok_and(|ended| ended > 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const GRACE: Duration = Duration::from_secs(2);

    /// A process that runs until its input is closed.
    fn process() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn connected(clients: &Clients, pid: Option<i32>) -> ClientKey {
        clients.connected(pid, 7).0
    }

    fn pid(child: &Child) -> Option<i32> {
        i32::try_from(child.id()).ok()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn connections_of_one_process_are_one_client() {
        let (clients, a, b) = (Clients::default(), process(), process());
        assert_eq!(connected(&clients, pid(&a)), connected(&clients, pid(&a)));
        assert_ne!(connected(&clients, pid(&a)), connected(&clients, pid(&b)));
        end(a);
        end(b);
    }

    #[test]
    fn a_client_is_gone_once_its_process_has_ended_and_the_grace_is_over() {
        let (clients, child, now) = (Clients::default(), process(), Instant::now());
        let key = connected(&clients, pid(&child));
        end(child);
        assert_eq!(clients.gone(GRACE, now + GRACE, |_| true), []);
        clients.disconnected(key, now, true);
        assert_eq!(clients.gone(GRACE, now + GRACE / 2, |_| true), []);
        assert_eq!(clients.gone(GRACE, now + GRACE, |_| true), [key]);
        assert!(clients.is_empty());
    }

    #[test]
    fn a_process_that_runs_on_without_a_connection_keeps_its_sessions() {
        let (clients, child, now) = (Clients::default(), process(), Instant::now());
        let key = connected(&clients, pid(&child));
        clients.disconnected(key, now, true);
        assert_eq!(clients.gone(GRACE, now + 10 * GRACE, |_| true), []);
        assert_eq!(clients.len(), 1);
        assert_eq!(connected(&clients, pid(&child)), key);
        clients.disconnected(key, now, true);
        assert_eq!(clients.gone(GRACE, now + 10 * GRACE, |_| false), []);
        assert!(
            clients.is_empty(),
            "with no sessions there is nothing to remember"
        );
        end(child);
    }

    #[test]
    fn a_client_that_leaves_nothing_behind_is_forgotten_at_once() {
        let (clients, now) = (Clients::default(), Instant::now());
        let key = connected(&clients, None);
        clients.disconnected(key, now, false);
        assert!(clients.is_empty());
    }

    #[test]
    fn a_process_that_can_not_be_watched_keeps_its_sessions_until_their_deadlines() {
        let (clients, now) = (Clients::default(), Instant::now());
        let (a, b) = (connected(&clients, None), connected(&clients, Some(0)));
        assert_ne!(a, b);
        clients.disconnected(a, now, true);
        assert_eq!(clients.gone(GRACE, now + 10 * GRACE, |_| true), []);
        assert_eq!(clients.gone(GRACE, now + 10 * GRACE, |_| false), []);
        assert_eq!(clients.len(), 1);
    }

    #[test]
    fn a_process_that_ended_before_it_could_be_watched_is_gone() {
        let (clients, child, now) = (Clients::default(), process(), Instant::now());
        let id = pid(&child);
        end(child);
        let key = connected(&clients, id);
        clients.disconnected(key, now, true);
        assert_eq!(clients.gone(GRACE, now + GRACE, |_| true), [key]);
    }
}
