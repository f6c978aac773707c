//! What a queue pair is told on its way from state to state.
//!
//! Source: ibv_modify_qp(3), its tables of the attributes each transition takes.

use ffi::ibv_qp_attr_mask as mask;
use ffi::ibv_qp_state as state;
use ibverbs_sys as ffi;

use super::adapter::{Access, Adapter};
use super::device::LinkLayer;
use super::endpoint::{Endpoint, mtu_code};

/// How long an acknowledgement is waited for: 4.096 µs × 2^15 = 134 ms, of which a device may
/// make up to four times as much (InfiniBand specification, 9.7.6.1.3).
const TIMEOUT: u8 = 15;
/// Times a request without an answer is sent again. With the first that is 7 × 134 ms: a peer that
/// is dead is given up after 0.9 s at best and 3.8 s at worst. Not 7, the most there is: Soft-RoCE
/// takes it for "for ever".
const RETRIES: u8 = 6;
/// Times a request is sent again to a peer that is not ready, which happens to no READ; 7 would
/// be for ever.
const RNR_RETRIES: u8 = 6;
/// How long such a peer asks to be left alone: code 12, 0.64 ms.
const RNR_TIMER: u8 = 12;
/// Routers a RoCE packet may pass.
const HOPS: u8 = 64;

/// A state and what is set on entering it.
pub(super) struct Transition {
    /// The state's name.
    pub(super) name: &'static str,
    pub(super) attributes: ffi::ibv_qp_attr,
    /// The attributes that count.
    pub(super) set: mask,
}

/// Binds to a port. Only [`Access::LendReads`] lets a peer READ.
pub(super) fn init(port: u8, access: Access) -> Transition {
    let flags = match access {
        Access::LandReads => 0,
        Access::LendReads => ffi::ibv_access_flags::IBV_ACCESS_REMOTE_READ.0,
    };
    Transition {
        name: "INIT",
        attributes: ffi::ibv_qp_attr {
            qp_state: state::IBV_QPS_INIT,
            pkey_index: 0,
            port_num: port,
            qp_access_flags: flags,
            ..ffi::ibv_qp_attr::default()
        },
        set: mask::IBV_QP_STATE
            | mask::IBV_QP_PKEY_INDEX
            | mask::IBV_QP_PORT
            | mask::IBV_QP_ACCESS_FLAGS,
    }
}

/// Connects to `remote`, serving it `reads` READs at once.
pub(super) fn ready_to_receive(adapter: &Adapter, remote: &Endpoint, reads: u8) -> Transition {
    let mtu = adapter.mtu().min(remote.mtu);
    Transition {
        name: "RTR",
        attributes: ffi::ibv_qp_attr {
            qp_state: state::IBV_QPS_RTR,
            path_mtu: mtu_code(mtu).unwrap_or(ffi::IBV_MTU_256),
            dest_qp_num: remote.qpn,
            rq_psn: remote.psn,
            max_dest_rd_atomic: reads,
            min_rnr_timer: RNR_TIMER,
            ah_attr: path(adapter, remote),
            ..ffi::ibv_qp_attr::default()
        },
        set: mask::IBV_QP_STATE
            | mask::IBV_QP_AV
            | mask::IBV_QP_PATH_MTU
            | mask::IBV_QP_DEST_QPN
            | mask::IBV_QP_RQ_PSN
            | mask::IBV_QP_MAX_DEST_RD_ATOMIC
            | mask::IBV_QP_MIN_RNR_TIMER,
    }
}

/// Sends from packet `psn` on, with `reads` READs outstanding at most.
pub(super) fn ready_to_send(psn: u32, reads: u8) -> Transition {
    Transition {
        name: "RTS",
        attributes: ffi::ibv_qp_attr {
            qp_state: state::IBV_QPS_RTS,
            sq_psn: psn,
            timeout: TIMEOUT,
            retry_cnt: RETRIES,
            rnr_retry: RNR_RETRIES,
            max_rd_atomic: reads,
            ..ffi::ibv_qp_attr::default()
        },
        set: mask::IBV_QP_STATE
            | mask::IBV_QP_SQ_PSN
            | mask::IBV_QP_TIMEOUT
            | mask::IBV_QP_RETRY_CNT
            | mask::IBV_QP_RNR_RETRY
            | mask::IBV_QP_MAX_QP_RD_ATOMIC,
    }
}

/// Ends everything.
pub(super) fn error() -> Transition {
    Transition {
        name: "ERR",
        attributes: ffi::ibv_qp_attr {
            qp_state: state::IBV_QPS_ERR,
            ..ffi::ibv_qp_attr::default()
        },
        set: mask::IBV_QP_STATE,
    }
}

/// The way to `remote`: by GID where packets are routed as IP, by LID on InfiniBand.
fn path(adapter: &Adapter, remote: &Endpoint) -> ffi::ibv_ah_attr {
    let mut path = ffi::ibv_ah_attr {
        port_num: adapter.port(),
        ..ffi::ibv_ah_attr::default()
    };
    if adapter.link_layer() == LinkLayer::InfiniBand && remote.lid != 0 {
        path.dlid = remote.lid;
    } else {
        path.is_global = 1;
        path.grh = ffi::ibv_global_route {
            dgid: ffi::ibv_gid { raw: remote.gid.0 },
            sgid_index: adapter.gid_index(),
            hop_limit: HOPS,
            ..ffi::ibv_global_route::default()
        };
    }
    path
}
