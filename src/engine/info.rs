//! Ping, GetCapabilities and AttachPool.

use std::time::SystemTime;

use super::{Engine, Network, unix_ns};
use crate::error::Result;
use crate::protocol::PROTOCOL_VERSION;
use crate::protocol::message::{
    AttachPool, AttachPoolResponse, GetCapabilitiesResponse, Ping, Pong,
};
use crate::source::Transport;

impl Engine {
    /// Answers a sign of life with another.
    pub fn ping(&self, request: &Ping) -> Pong {
        let now = unix_ns(SystemTime::now());
        Pong {
            client_timestamp_ns: request.timestamp_ns,
            server_timestamp_ns: now,
            server_rtt_ns: now.saturating_sub(request.timestamp_ns),
            request_id: None,
        }
    }

    /// What this engine can do, as it is.
    pub fn capabilities(&self) -> GetCapabilitiesResponse {
        let steps = self.steps_down();
        let mut supported_auth = vec!["peercred".to_owned()];
        supported_auth.extend(self.token.is_some().then(|| "token".to_owned()));
        let Network { adapter, peers, .. } = &self.network;
        let adapter = adapter.as_ref();
        let [by_verbs, by_tcp, _] = self.network.peers_by_state();
        let transports = [
            (Transport::Local, true),
            (Transport::Verbs, by_verbs > 0),
            (Transport::Tcp(None), by_tcp > 0),
        ];
        let troubles = peers.iter().filter_map(|peer| {
            let trouble = peer.trouble()?;
            Some(format!("peer {}: {trouble}", peer.address.name))
        });
        GetCapabilitiesResponse {
            device_name: adapter.map_or("none", |a| a.name()).to_owned(),
            vendor_id: adapter.map_or(0, |a| a.vendor_id()),
            max_transfer_size: self.limits.max_transfer,
            max_sessions: self.sessions.limit() as u64,
            active_sessions: self.sessions.count().0 as u64,
            port_gid: adapter.map_or_else(String::new, |a| a.gid().to_string()),
            port_lid: adapter.map_or(0, |a| a.lid()),
            supported_auth,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Only when reads do go by RDMA, not when they merely could.
            real_rdma: by_verbs > 0,
            transports: transports
                .into_iter()
                .filter(|(_, used)| *used)
                .map(|(transport, _)| transport.as_str().to_owned())
                .collect(),
            pool_bytes: self.pool.size_bytes() as u64,
            pool_page_size: self.pool.page_bytes() as u64,
            pool_registered: steps.fixed_buffers.is_none(),
            protocol_version: PROTOCOL_VERSION,
            steps_down: steps
                .hugepages
                .into_iter()
                .chain(steps.fixed_buffers)
                .chain(troubles)
                .collect(),
            request_id: None,
        }
    }

    /// What goes with the pool's descriptor.
    ///
    /// # Errors
    /// UNAUTHENTICATED where a token is configured and not shown: who has the pool mapped can
    /// read whatever any client reads.
    pub fn attach_pool(&self, request: &AttachPool) -> Result<AttachPoolResponse> {
        self.authenticate(request.auth_token.as_deref())?;
        Ok(AttachPoolResponse {
            pool_bytes: self.pool.size_bytes() as u64,
            page_size: self.pool.page_bytes() as u64,
            boot_id: self.boot_id.clone(),
            request_id: None,
        })
    }
}
