//! An opened device with the pool registered: what workers share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ibverbs_sys::ibv_port_state;

use super::choice::{self, Chosen, DeviceChoice, PortChoice};
use super::completion::CompletionQueue;
use super::context::Context;
use super::counters::Counters;
use super::device::{DeviceInfo, Limits, LinkLayer, devices};
use super::endpoint::{Endpoint, mtu_bytes, random_psn};
use super::error::{OpenError, VerbsError};
use super::gid::{Gid, GidInfo, GidKind};
use super::memory::{MemoryRegion, ProtectionDomain};
use super::pairs::Pairs;
use super::rate::port_rate;
use super::status::WcStatus;
use crate::pool::{Pool, REGION_BYTES};
use crate::telemetry::VerbsState;

/// What the device may do with the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Write what this side READs from others.
    LandReads,
    /// Let others READ.
    LendReads,
}

/// An opened device. The pool is registered with it once, region by region.
#[derive(Debug)]
pub struct Adapter {
    device: DeviceInfo,
    port: u8,
    gid: Gid,
    gid_kind: GidKind,
    /// It changes when the address is taken away and comes back.
    gid_index: AtomicU8,
    /// It follows that of the network interface.
    mtu: AtomicU16,
    link_layer: LinkLayer,
    /// A subnet manager may change it.
    lid: AtomicU16,
    port_usable: AtomicBool,
    gone: AtomicBool,
    pairs: Mutex<Pairs>,
    counters: Counters,
    /// Nominal rate of the port, bytes a second; 0 when the device does not say.
    rate: AtomicU64,
    /// For responders, which complete nothing.
    silent: Arc<CompletionQueue>,
    regions: Vec<MemoryRegion>,
    domain: Arc<ProtectionDomain>,
}

impl Adapter {
    /// Opens the device chosen and registers the pool with it. `None` when none is wanted, or any
    /// would do and there is none with an active port.
    ///
    /// # Errors
    /// When what was named is not there, or the device refuses the pool.
    pub fn open(
        choice: &DeviceChoice,
        ports: &PortChoice,
        pool: &Arc<Pool>,
        access: Access,
    ) -> Result<Option<Arc<Self>>, OpenError> {
        let listed = match choice {
            DeviceChoice::None => return Ok(None),
            DeviceChoice::Auto | DeviceChoice::Named(_) => devices()?,
        };
        let chosen = match choice {
            DeviceChoice::Named(name) => Some(choice::named(&listed, name, ports)?),
            DeviceChoice::Auto | DeviceChoice::None => choice::auto(&listed, ports)?,
        };
        chosen
            .map(|c| Self::set_up(&c, pool, access).map(Arc::new))
            .transpose()
    }

    fn set_up(chosen: &Chosen<'_>, pool: &Arc<Pool>, access: Access) -> Result<Self, OpenError> {
        let Chosen { device, port, gid } = *chosen;
        let name = || device.name.clone();
        let context = Context::open(&device.name).map_err(|source| OpenError::Open {
            device: name(),
            source,
        })?;
        let context = Arc::new(context);
        let refused = |what| {
            move |source| VerbsError::Create {
                what,
                device: name(),
                source,
            }
        };
        let domain = ProtectionDomain::new(&context).map_err(refused("a protection domain"))?;
        let silent = CompletionQueue::silent(&context).map_err(refused("a completion queue"))?;
        let rate = context.port(port.number).map_or(0, |port| port_rate(&port));
        Ok(Self {
            regions: register(&domain, pool, access)?,
            device: device.clone(),
            port: port.number,
            gid: gid.gid,
            gid_kind: gid.kind,
            gid_index: AtomicU8::new(gid.index),
            mtu: AtomicU16::new(port.active_mtu),
            link_layer: port.link_layer,
            lid: AtomicU16::new(port.lid),
            port_usable: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            pairs: Mutex::default(),
            counters: Counters::default(),
            rate: AtomicU64::new(rate),
            silent,
            domain,
        })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// The IEEE number of its vendor.
    pub fn vendor_id(&self) -> u32 {
        self.device.vendor_id
    }

    /// The address used.
    pub fn gid(&self) -> Gid {
        self.gid
    }

    /// Its index in the port's table now.
    pub fn gid_index(&self) -> u8 {
        self.gid_index.load(Ordering::Relaxed)
    }

    /// The port's local id now; 0 on RoCE.
    pub fn lid(&self) -> u16 {
        self.lid.load(Ordering::Relaxed)
    }

    /// Number of the port used.
    pub fn port(&self) -> u8 {
        self.port
    }

    /// The port's MTU now, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// What the device can do at most.
    pub fn limits(&self) -> &Limits {
        &self.device.limits
    }

    /// Memory regions the pool is registered as. It never changes.
    pub fn registrations(&self) -> usize {
        self.regions.len()
    }

    /// The key this side's work requests name the pool's memory at `pool_offset` by.
    ///
    /// # Panics
    /// When the offset is outside the pool.
    pub fn local_key(&self, pool_offset: usize) -> u32 {
        self.regions[pool_offset / REGION_BYTES].local_key
    }

    /// The key a peer names the pool's memory at `pool_offset` by.
    ///
    /// # Panics
    /// When the offset is outside the pool.
    pub fn remote_key(&self, pool_offset: usize) -> u32 {
        self.regions[pool_offset / REGION_BYTES].remote_key
    }

    /// Whether the port is active, has its GID, and the device is there; as of the last event.
    pub fn is_usable(&self) -> bool {
        self.port_usable.load(Ordering::Relaxed) && !self.gone.load(Ordering::Relaxed)
    }

    /// Whether an event said that queue pair `qpn` is broken.
    pub fn fatal_queue_pair(&self, qpn: u32) -> bool {
        self.pairs().is_broken(qpn)
    }

    /// What a scrape tells of a device, or of there being none.
    pub fn state(adapter: Option<&Self>) -> VerbsState {
        let none = Counters::default();
        let counters = adapter.map_or(&none, Self::counters);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let completed = counters.completed_by_status.iter().map(load);
        let rate = adapter.map_or(0, |a| load(&a.rate));
        VerbsState {
            posted: load(&counters.posted),
            completions: WcStatus::ALL
                .iter()
                .map(|status| status.as_str())
                .zip(completed)
                .collect(),
            polls_hit: load(&counters.polls_hit),
            sleeps: load(&counters.sleeps),
            rate: (rate > 0).then_some(rate as f64),
        }
    }

    /// Queue pairs there are, and how many of them an event said are broken.
    pub fn queue_pairs(&self) -> (u64, u64) {
        self.pairs().count()
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn link_layer(&self) -> LinkLayer {
        self.link_layer
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        self.domain.context()
    }

    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    pub(super) fn silent(&self) -> &Arc<CompletionQueue> {
        &self.silent
    }

    /// The endpoint of queue pair `qpn`, with a packet sequence number of its own.
    pub(super) fn endpoint(&self, qpn: u32, max_reads: u8) -> Result<Endpoint, VerbsError> {
        Ok(Endpoint {
            qpn,
            psn: random_psn()?,
            gid: self.gid,
            lid: self.lid(),
            mtu: self.mtu(),
            max_reads,
        })
    }

    /// Asks the device how the port is.
    pub(super) fn refresh(&self) {
        let usable = self.find_port().unwrap_or(false);
        self.port_usable.store(usable, Ordering::Relaxed);
    }

    /// Whether the port is active and has its GID, whose index is kept.
    fn find_port(&self) -> io::Result<bool> {
        let port = self.context().port(self.port)?;
        self.lid.store(port.lid, Ordering::Relaxed);
        self.mtu
            .store(mtu_bytes(port.active_mtu), Ordering::Relaxed);
        self.rate.store(port_rate(&port), Ordering::Relaxed);
        let own = |g: &GidInfo| g.gid == self.gid && g.kind == self.gid_kind;
        let mut found = self.context().gid(self.port, self.gid_index())?.filter(own);
        if found.is_none() {
            let table_len = usize::try_from(port.gid_tbl_len).unwrap_or(0);
            found = self
                .context()
                .gids(self.port, table_len)?
                .into_iter()
                .find(own);
        }
        if let Some(found) = found {
            self.gid_index.store(found.index, Ordering::Relaxed);
        }
        Ok(found.is_some() && port.state == ibv_port_state::IBV_PORT_ACTIVE)
    }

    /// The device, or what it reports to, has failed for good.
    pub(super) fn lost(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// The queue pairs there are.
    pub(super) fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register(
    domain: &Arc<ProtectionDomain>,
    pool: &Arc<Pool>,
    access: Access,
) -> Result<Vec<MemoryRegion>, OpenError> {
    let regions: Vec<_> = pool.regions().collect();
    let each = regions.iter().enumerate().map(|(i, &region)| {
        MemoryRegion::register(domain, pool, region, access).map_err(|source| OpenError::Register {
            device: domain.context().name().to_owned(),
            region: i + 1,
            regions: regions.len(),
            bytes: region.1,
            source,
        })
    });
    each.collect()
}
