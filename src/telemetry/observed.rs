//! States, and what others count: asked for when somebody scrapes.

use metrics::{counter, gauge};

use super::live::Live;
use super::process::Process;
use super::text::Text;

/// Somebody who knows the daemon's state.
pub trait Observe: Send + Sync {
    /// The state now. Called from the telemetry thread, once a scrape; it must not wait long.
    fn observe(&self) -> Observed;

    /// The sessions that are open; at a target, its leases.
    fn sessions(&self) -> Vec<Live> {
        Vec::new()
    }
}

/// The daemon's state at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Sessions that are open.
    pub sessions_active: u64,
    /// Sessions that may be open at once.
    pub sessions_limit: u64,
    /// Client connections that are open.
    pub connections_active: u64,
    /// Client connections that may be open at once.
    pub connections_limit: u64,
    /// Leases of a target's that are open.
    pub leases_active: u64,
    /// Leases of a target's that may be open at once.
    pub leases_limit: u64,
    /// The pool.
    pub pool: PoolState,
    /// Volumes being served.
    pub volumes: u64,
    /// Volumes that can not be read.
    pub volumes_unreadable: u64,
    /// Live needles in those being served.
    pub needles: u64,
    /// Age of the last complete look at their files, seconds.
    pub follow_lag_seconds: f64,
    /// The pool lies on ordinary pages although huge ones were wanted.
    pub hugepages_stepped_down: bool,
    /// Reads do without fixed buffers because the pool could not be registered.
    pub fixed_buffers_stepped_down: bool,
    /// Configured peers.
    pub peers: Vec<PeerState>,
    /// Queue pairs: ready, broken, being made.
    pub queue_pairs: [u64; 3],
    /// The data rings, all together.
    pub rings: RingState,
    /// The RDMA device, zeros without one.
    pub verbs: VerbsState,
}

/// The buffer pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolState {
    /// Bytes that are free, reserved, in flight, leased, quarantined, as of [`crate::pool`].
    pub usage: crate::pool::Usage,
    /// Size of the pages it lies on, bytes.
    pub page_size_bytes: u64,
    /// Whether it is registered with every data ring.
    pub registered: bool,
}

/// A configured peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerState {
    /// Its name.
    pub name: String,
    /// Some worker is connected to it.
    pub connected: bool,
    /// Some worker reads it by RDMA.
    pub with_verbs: bool,
    /// Connections made anew after one was lost.
    pub reconnects: u64,
}

/// What the data rings have done since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the metric of that name")]
pub struct RingState {
    pub submissions: u64,
    pub completions: u64,
    pub enters: u64,
    pub overflows: u64,
}

/// What the RDMA device has done since start.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "each is the metric of that name")]
pub struct VerbsState {
    pub posted: u64,
    /// By status.
    pub completions: Vec<(&'static str, u64)>,
    pub polls_hit: u64,
    pub sleeps: u64,
    /// Bytes a second; None without a device, or when it does not say.
    pub rate: Option<f64>,
}

impl Observed {
    /// Sets what follows from the state alone, but for what may be absent.
    pub(super) fn set(&self) {
        self.set_limits();
        self.set_pool();
        self.set_peers();
        self.set_volumes();
        self.set_rings();
        self.set_verbs();
    }

    /// Writes what may be absent: the exporter forgets no gauge.
    pub(super) fn write(&self, text: &mut Text) {
        if let Some(rate) = self.verbs.rate {
            text.family("rdma_device_rate_bytes_per_second").only(rate);
        }
    }

    fn set_limits(&self) {
        for (name, value) in [
            ("rdma_sessions_active", self.sessions_active),
            ("rdma_sessions_limit", self.sessions_limit),
            ("rdma_connections_active", self.connections_active),
            ("rdma_connections_limit", self.connections_limit),
            ("rdma_leases_active", self.leases_active),
            ("rdma_leases_limit", self.leases_limit),
        ] {
            gauge!(name).set(value as f64);
        }
    }

    fn set_pool(&self) {
        let PoolState {
            usage,
            page_size_bytes,
            registered,
        } = &self.pool;
        for (state, value) in [
            ("free", usage.free),
            ("reserved", usage.reserved),
            ("in_flight", usage.in_flight),
            ("leased", usage.leased),
            ("quarantined", usage.quarantined),
        ] {
            gauge!("rdma_pool_bytes", "state" => state).set(value as f64);
        }
        for (name, value) in [
            ("rdma_pool_size_bytes", usage.total),
            ("rdma_pool_largest_free_bytes", usage.largest_free),
            ("rdma_pool_waiters", usage.waiting),
            ("rdma_pool_page_size_bytes", *page_size_bytes),
            ("rdma_pool_registered", u64::from(*registered)),
        ] {
            gauge!(name).set(value as f64);
        }
        for (kind, down) in [
            ("hugepages", self.hugepages_stepped_down),
            ("fixed_buffers", self.fixed_buffers_stepped_down),
        ] {
            gauge!("rdma_step_down", "kind" => kind).set(u8::from(down));
        }
    }

    fn set_peers(&self) {
        let [mut verbs, mut tcp, mut down] = [0u32; 3];
        for peer in &self.peers {
            match (peer.with_verbs, peer.connected) {
                (true, _) => verbs += 1,
                (false, true) => tcp += 1,
                (false, false) => down += 1,
            }
        }
        for (state, count) in [("verbs", verbs), ("tcp", tcp), ("down", down)] {
            gauge!("rdma_peers", "state" => state).set(count);
        }
        for peer in &self.peers {
            gauge!("rdma_peer_up", "peer" => peer.name.clone()).set(u8::from(peer.connected));
            counter!("rdma_peer_reconnects_total", "peer" => peer.name.clone())
                .absolute(peer.reconnects);
        }
        for (state, count) in ["ready", "error", "connecting"]
            .into_iter()
            .zip(self.queue_pairs)
        {
            gauge!("rdma_queue_pairs", "state" => state).set(count as f64);
        }
    }

    fn set_volumes(&self) {
        gauge!("rdma_volumes").set(self.volumes as f64);
        gauge!("rdma_volumes_unreadable").set(self.volumes_unreadable as f64);
        gauge!("rdma_needles").set(self.needles as f64);
        gauge!("rdma_follow_lag_seconds").set(self.follow_lag_seconds);
    }

    fn set_rings(&self) {
        for (name, value) in [
            ("rdma_uring_submissions_total", self.rings.submissions),
            ("rdma_uring_completions_total", self.rings.completions),
            ("rdma_uring_enters_total", self.rings.enters),
            ("rdma_uring_overflows_total", self.rings.overflows),
        ] {
            counter!(name).absolute(value);
        }
    }

    fn set_verbs(&self) {
        let verbs = &self.verbs;
        for (name, value) in [
            ("rdma_verbs_posted_total", verbs.posted),
            ("rdma_verbs_polls_hit_total", verbs.polls_hit),
            ("rdma_verbs_sleeps_total", verbs.sleeps),
        ] {
            counter!(name).absolute(value);
        }
        for (status, count) in &verbs.completions {
            counter!("rdma_verbs_completions_total", "status" => *status).absolute(*count);
        }
    }
}

impl Process {
    /// Writes what the kernel says of the process; what it does not say is left out. CPU time is a
    /// counter with a fraction, which the exporter's have not.
    pub(super) fn write(&self, text: &mut Text) {
        let count = |value: Option<u64>| value.map(|value| value as f64);
        for (name, value) in [
            ("process_cpu_seconds_total", self.cpu_seconds),
            ("process_start_time_seconds", self.start_seconds),
            ("process_resident_memory_bytes", count(self.resident_bytes)),
            ("process_virtual_memory_bytes", count(self.virtual_bytes)),
            ("process_open_fds", count(self.open_fds)),
            ("process_max_fds", count(self.max_fds)),
            ("process_threads", count(self.threads)),
        ] {
            if let Some(value) = value {
                text.family(name).only(value);
            }
        }
    }
}
