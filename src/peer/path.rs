//! The ways to a needle: which peers serve its volume, and how each can be read now.

use std::rc::Rc;

use tokio::time::Instant;

use super::conn::Conn;
use super::link::Link;
use super::links::Links;
use crate::config::TransportChoice;
use crate::verbs::Requester;

/// A way a needle can be read.
#[derive(Clone, Debug)]
pub struct Path {
    /// The link.
    pub link: Rc<Link>,
    /// Its connection.
    pub conn: Rc<Conn>,
    /// How the bytes come.
    pub via: Via,
}

/// How bytes come from a peer.
#[derive(Clone, Debug)]
pub enum Via {
    /// By RDMA READ.
    Verbs(Rc<Requester>),
    /// Over the connection; why not by RDMA, where that would have been possible.
    Tcp(Option<Fallback>),
}

/// Why a read does not go by RDMA although this host has a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The peer has no device, or does not lend.
    Peer,
    /// There is no queue pair that works.
    QueuePair,
    /// This host's port is down.
    Port,
}

impl Fallback {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Peer, Self::QueuePair, Self::Port];
    /// Their names.
    pub const LABELS: [&'static str; 3] = ["peer_without_verbs", "queue_pair", "port_down"];
}

/// Why there is no path to a volume, or to a peer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPath {
    /// No peer of that name is configured.
    UnknownPeer,
    /// No peer that is connected serves it, and all are connected.
    NotServed,
    /// Whoever serves it, or may serve it, can not be reached; why.
    Unreachable(String),
    /// It can be reached, but not by RDMA, which is what was asked for; why.
    NoVerbs(String),
    /// This host has no RDMA device in use, and nothing else would do.
    NoDevice,
}

impl Links {
    /// A link that is connected and serves the volume.
    ///
    /// # Errors
    /// When a peer is named that there is none of.
    pub fn serving(
        &self,
        volume_id: u32,
        collection: Option<&str>,
        name: Option<&str>,
    ) -> Result<Option<Rc<Link>>, NoPath> {
        let only = name.map(|name| self.named(Some(name))).transpose()?;
        let mut serving = self.links.iter().filter(|link| {
            link.serves(volume_id, collection)
                && link.told_connection().is_ok()
                && only.is_none_or(|only| Rc::ptr_eq(only, link))
        });
        Ok(serving.next().cloned())
    }

    /// Whether there is any peer at all.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether some peer serves, or last served, the volume.
    pub fn serve(&self, volume_id: u32) -> bool {
        self.links.iter().any(|link| link.serves(volume_id, None))
    }

    /// The peer of that name, or the only one.
    ///
    /// # Errors
    /// When there is none, or it is not clear which.
    pub fn named(&self, name: Option<&str>) -> Result<&Rc<Link>, NoPath> {
        match (name, self.links.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(NoPath::UnknownPeer),
            (Some(name), links) => {
                let mut found = links.iter().filter(|l| l.status.address.name == name);
                found.next().ok_or(NoPath::UnknownPeer)
            }
        }
    }

    /// The ways to read a volume, the best first: those not `tried` yet, by RDMA before TCP.
    ///
    /// # Errors
    /// When there is none.
    pub fn paths(
        &self,
        volume_id: u32,
        collection: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<Path>, NoPath> {
        let only = name.map(|name| self.named(Some(name))).transpose()?;
        let first = self.turn.replace(self.turn.get().wrapping_add(1));
        let count = self.links.len();
        let in_turn = (0..count).filter_map(|i| self.links.get(first.wrapping_add(i) % count));
        let asked = in_turn.filter(|link| only.is_none_or(|only| Rc::ptr_eq(only, link)));
        let (mut verbs, mut tcp) = (Vec::new(), Vec::new());
        let mut trouble = None;
        let mut unconnected = None;
        for link in asked {
            let serves = link.serves(volume_id, collection);
            let conn = match link.told_connection() {
                Ok(conn) => conn,
                Err(why) if serves => {
                    trouble = Some(NoPath::Unreachable(why));
                    continue;
                }
                Err(why) => {
                    unconnected = Some(NoPath::Unreachable(why));
                    continue;
                }
            };
            if !serves {
                continue;
            }
            let path = |via| Path {
                link: Rc::clone(link),
                conn: Rc::clone(&conn),
                via,
            };
            match self.by_verbs(link, &conn) {
                Ok(requester) => {
                    verbs.push(path(Via::Verbs(requester)));
                    if self.may_fall_back(&conn) {
                        tcp.push(path(Via::Tcp(Some(Fallback::QueuePair))));
                    }
                }
                Err(fallback) if self.may_fall_back(&conn) => tcp.push(path(Via::Tcp(fallback))),
                Err(_) => trouble = Some(NoPath::NoVerbs(self.no_verbs(link, &conn))),
            }
        }
        verbs.append(&mut tcp);
        if verbs.is_empty() {
            return Err(trouble.or(unconnected).unwrap_or(NoPath::NotServed));
        }
        Ok(verbs)
    }

    pub(super) fn may_fall_back(&self, conn: &Conn) -> bool {
        self.settings.transport != TransportChoice::Verbs && conn.welcome.tcp
    }

    /// The queue pair for leased memory; or why it is not to be used, where there is a device.
    fn by_verbs(&self, link: &Link, conn: &Conn) -> Result<Rc<Requester>, Option<Fallback>> {
        let Some(verbs) = self.verbs.as_ref().filter(|_| self.wants_verbs()) else {
            return Err(None);
        };
        if !conn.welcome.verbs {
            return Err(Some(Fallback::Peer));
        }
        if !verbs.adapter.is_usable() {
            return Err(Some(Fallback::Port));
        }
        link.leases
            .requester()
            .map_err(|_| Some(Fallback::QueuePair))
    }

    /// Why a peer is not read by RDMA, where it is not, or can not be, read over TCP instead.
    fn no_verbs(&self, link: &Link, conn: &Conn) -> String {
        let name = &link.status.address.name;
        let why = match link.leases.requester() {
            _ if !self.wants_verbs() => "this engine is set to tcp".to_owned(),
            _ if self.verbs.is_none() => "this engine has no RDMA device in use".to_owned(),
            _ if !conn.welcome.verbs => "it has no RDMA device in use".to_owned(),
            Err(why) => why,
            Ok(_) => "the port is down".to_owned(),
        };
        let nor = if conn.welcome.tcp {
            ""
        } else {
            ", and it serves nothing over TCP"
        };
        format!("peer {name} can not be read by RDMA: {why}{nor}")
    }

    pub(super) fn wants_verbs(&self) -> bool {
        self.settings.transport != TransportChoice::Tcp
    }

    /// Waits for a queue pair that works: one for memory that clients name, or one for leases.
    ///
    /// # Errors
    /// When there is none by `deadline`, or never will be.
    pub async fn queue_pair(
        &self,
        link: &Link,
        named: bool,
        deadline: Instant,
    ) -> Result<Rc<Requester>, NoPath> {
        let deadline = deadline.min(Instant::now() + self.settings.timeout);
        let has_verbs = self.verbs.is_some() && self.wants_verbs();
        if named && !has_verbs {
            return Err(NoPath::NoDevice);
        }
        match link.connection() {
            None => return Err(NoPath::Unreachable(link.unreachable())),
            Some(conn) if !has_verbs || !conn.welcome.verbs => {
                return Err(NoPath::NoVerbs(self.no_verbs(link, &conn)));
            }
            Some(_) => {}
        }
        let lane = if named { &link.named } else { &link.leases };
        lane.wait(deadline).await.map_err(|why| {
            let name = &link.status.address.name;
            NoPath::NoVerbs(format!("peer {name}: {why}"))
        })
    }
}
