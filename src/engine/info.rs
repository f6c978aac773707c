//! Ping, GetCapabilities and AttachPool.

use std::time::SystemTime;

use super::{Engine, unix_ns};
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
        GetCapabilitiesResponse {
            // There is no RDMA transport in this build: no device, and none invented.
            device_name: "none".to_owned(),
            vendor_id: 0,
            max_transfer_size: self.limits.max_transfer,
            max_sessions: self.sessions.limit() as u64,
            active_sessions: self.sessions.count().0 as u64,
            port_gid: String::new(),
            port_lid: 0,
            supported_auth,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            real_rdma: false,
            transports: vec![Transport::Local.as_str().to_owned()],
            pool_bytes: self.pool.size_bytes() as u64,
            pool_page_size: self.pool.page_bytes() as u64,
            pool_registered: steps.fixed_buffers.is_none(),
            protocol_version: PROTOCOL_VERSION,
            steps_down: steps
                .hugepages
                .into_iter()
                .chain(steps.fixed_buffers)
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
