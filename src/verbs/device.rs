//! What there is: devices, their ports and their limits.

use std::io;

use ibverbs_sys as ffi;
use serde::Serialize;

use super::context::Context;
use super::endpoint::mtu_bytes;
use super::error::ListError;
use super::gid::GidInfo;

/// An RDMA device of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// Its name, as the kernel has it.
    pub name: String,
    /// Its node's globally unique id.
    pub node_guid: u64,
    /// The IEEE number of its vendor.
    pub vendor_id: u32,
    /// The vendor's number of the part.
    pub vendor_part_id: u32,
    /// The firmware's version; empty where there is none.
    pub firmware: String,
    /// Its ports.
    pub ports: Vec<PortInfo>,
    /// What it can do at most.
    pub limits: Limits,
}

/// A port of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortInfo {
    /// Its number, from 1.
    pub number: u8,
    /// Whether packets pass.
    pub state: PortState,
    /// What it is connected to.
    pub link_layer: LinkLayer,
    /// Its local id; 0 where there are none (RoCE).
    pub lid: u16,
    /// MTU in use, in bytes.
    pub active_mtu: u16,
    /// Its addresses.
    pub gids: Vec<GidInfo>,
}

/// Whether packets pass a port (`ibv_port_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each state is its own description")]
pub enum PortState {
    Down,
    Initializing,
    Armed,
    Active,
    ActiveDeferred,
    Unknown,
}

impl PortState {
    /// The state in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Initializing => "initializing",
            Self::Armed => "armed",
            Self::Active => "active",
            Self::ActiveDeferred => "active_deferred",
            Self::Unknown => "unknown",
        }
    }
}

/// What a port is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkLayer {
    /// InfiniBand.
    #[serde(rename = "infiniband")]
    InfiniBand,
    /// Ethernet: RoCE or iWARP.
    Ethernet,
    /// The driver does not say.
    Unknown,
}

impl LinkLayer {
    /// The link layer in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InfiniBand => "InfiniBand",
            Self::Ethernet => "Ethernet",
            Self::Unknown => "unknown link layer",
        }
    }
}

/// What a device can do at most (`ibv_device_attr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Queue pairs.
    pub max_qp: u32,
    /// Work requests of a queue.
    pub max_qp_wr: u32,
    /// Scatter/gather entries of a work request.
    pub max_sge: u32,
    /// Completion queues.
    pub max_cq: u32,
    /// Entries of a completion queue.
    pub max_cqe: u32,
    /// Memory regions.
    pub max_mr: u32,
    /// Bytes of a memory region.
    pub max_mr_size: u64,
    /// Protection domains.
    pub max_pd: u32,
    /// READs a queue pair serves at once.
    pub max_qp_rd_atom: u8,
    /// READs a queue pair has outstanding.
    pub max_qp_init_rd_atom: u8,
}

/// The RDMA devices of this host; none where the kernel has no RDMA.
///
/// # Errors
/// When they can not be listed, or one can not be opened.
pub fn devices() -> Result<Vec<DeviceInfo>, ListError> {
    let list = match ibverbs::devices() {
        Ok(list) => list,
        // The kernel has no RDMA, which is not an error to die of.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(ListError::List { source }),
    };
    let names = list
        .iter()
        .filter_map(|d| Some(d.name()?.to_string_lossy().into_owned()));
    names
        .map(|name| {
            let described = Context::open(&name).and_then(|context| describe(&context));
            described.map_err(|source| ListError::Open { name, source })
        })
        .collect()
}

/// What an open device says of itself.
pub(super) fn describe(context: &Context) -> io::Result<DeviceInfo> {
    let attributes = context.attributes()?;
    let ports = (1..=attributes.phys_port_cnt).map(|number| port(context, number));
    let firmware = attributes.fw_ver.iter().take_while(|&&c| c != 0);
    Ok(DeviceInfo {
        name: context.name().to_owned(),
        node_guid: u64::from_be(attributes.node_guid),
        vendor_id: attributes.vendor_id,
        vendor_part_id: attributes.vendor_part_id,
        firmware: firmware.map(|&c| char::from(c as u8)).collect(),
        ports: ports.collect::<io::Result<_>>()?,
        limits: limits(&attributes),
    })
}

fn port(context: &Context, number: u8) -> io::Result<PortInfo> {
    use ffi::ibv_port_state as state;
    let port = context.port(number)?;
    let table_len = usize::try_from(port.gid_tbl_len).unwrap_or(0);
    Ok(PortInfo {
        number,
        state: match port.state {
            state::IBV_PORT_DOWN => PortState::Down,
            state::IBV_PORT_INIT => PortState::Initializing,
            state::IBV_PORT_ARMED => PortState::Armed,
            state::IBV_PORT_ACTIVE => PortState::Active,
            state::IBV_PORT_ACTIVE_DEFER => PortState::ActiveDeferred,
            _ => PortState::Unknown,
        },
        link_layer: match u32::from(port.link_layer) {
            ffi::IBV_LINK_LAYER_INFINIBAND => LinkLayer::InfiniBand,
            ffi::IBV_LINK_LAYER_ETHERNET => LinkLayer::Ethernet,
            _ => LinkLayer::Unknown,
        },
        lid: port.lid,
        active_mtu: mtu_bytes(port.active_mtu),
        gids: context.gids(number, table_len)?,
    })
}

fn limits(a: &ffi::ibv_device_attr) -> Limits {
    let count = |n: i32| u32::try_from(n).unwrap_or(0);
    let reads = |n: i32| u8::try_from(n.max(0)).unwrap_or(u8::MAX);
    Limits {
        max_qp: count(a.max_qp),
        max_qp_wr: count(a.max_qp_wr),
        max_sge: count(a.max_sge),
        max_cq: count(a.max_cq),
        max_cqe: count(a.max_cqe),
        max_mr: count(a.max_mr),
        max_mr_size: a.max_mr_size,
        max_pd: count(a.max_pd),
        max_qp_rd_atom: reads(a.max_qp_rd_atom),
        max_qp_init_rd_atom: reads(a.max_qp_init_rd_atom),
    }
}
