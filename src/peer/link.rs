//! A worker's link to one peer: its connection, its queue pairs, and what it serves.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::conn::{Conn, Lost};
use super::lane::Lane;
use super::message::Volumes;
use super::served::{SERVED_MAX, Served};
use super::status::PeerStatus;

/// A link to one peer.
#[derive(Debug)]
pub struct Link {
    /// What all workers know of the peer.
    pub status: Arc<PeerStatus>,
    pub(super) conn: RefCell<Option<Rc<Conn>>>,
    /// What it served when it was last heard of.
    pub(super) served: RefCell<Served>,
    pub(super) leases: Rc<Lane>,
    pub(super) named: Rc<Lane>,
}

impl Link {
    /// Its connection, if it has one.
    pub fn connection(&self) -> Option<Rc<Conn>> {
        let conn = self.conn.borrow().clone();
        conn.filter(|conn| conn.over().is_none())
    }

    /// A queue pair failed a read: it is looked at now.
    pub fn look_at_queue_pairs(&self) {
        self.leases.look();
        self.named.look();
    }

    pub(super) fn serves(&self, volume_id: u32, collection: Option<&str>) -> bool {
        self.served.borrow().has(volume_id, collection)
    }

    pub(super) fn hear(&self, news: Volumes) -> Result<(), Lost> {
        let heard = self.served.borrow_mut().hear(news);
        heard.map_err(|_| {
            Lost(format!(
                "it says that it serves more than {SERVED_MAX} volumes"
            ))
        })
    }

    /// Its connection, once the peer has said on it what it serves.
    pub(super) fn told_connection(&self) -> Result<Rc<Conn>, String> {
        let conn = self.connection().ok_or_else(|| self.unreachable())?;
        if !self.served.borrow().is_told() {
            let name = &self.status.address.name;
            return Err(format!("peer {name} has not said yet what it serves"));
        }
        Ok(conn)
    }

    pub(super) fn unreachable(&self) -> String {
        let name = &self.status.address.name;
        let why = self
            .status
            .trouble()
            .unwrap_or_else(|| "the connection ended".to_owned());
        format!("peer {name} is not connected: {why}")
    }
}
