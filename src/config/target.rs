//! The target's table.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::buckets::OPTIONAL_BUCKETS;
use super::choice::{
    DEVICE, HUGEPAGES, Hugepages, LOG_FORMATS, LogFormat, TRANSPORTS, TransportChoice,
};
use super::kind::{Address, Switch};
use super::settings::{
    BUFFER_SIZE, COUNT, DEVICE_PORT, GIB, GID_INDEX, GRACE, MAX_TRANSFER_SIZE, METRICS_PORT,
    OPTIONAL_PATH, PATHS, PEER_PORT, SERIES, TIMEOUT, WORKERS, default_max_transfer_size,
    default_workers, loopback, metrics_listen, settings,
};
use crate::telemetry::MetricsSettings;
use crate::verbs::{DeviceChoice, PortChoice};

settings! {
    /// The flags of `rdma-engine target` and `check-config target`. A flag's words are kept as
    /// they came: [`TargetConfig::load`] gives them their meaning.
    flags TargetArgs;

    /// The target's effective configuration: complete, checked, free of contradictions.
    config TargetConfig {
        /// What `peer_secret_file` holds; None when engines are served without one.
        peer_secret,
    }

    /// Directory with SeaweedFS volumes to serve; at least one, may be repeated
    volumes: Vec<PathBuf> = PATHS, default Vec::new(), [value_name = "DIR"];

    /// Directory with the volumes' indexes, where they are not beside the data
    index_dir: Option<PathBuf> = OPTIONAL_PATH, default None, [value_name = "DIR"];

    /// Read volumes with O_DIRECT, past the page cache
    direct_io: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Where engines are served; port 0 is one the kernel chooses [default: 127.0.0.1:18515]
    listen: SocketAddr = Address { port: PEER_PORT }, default loopback(PEER_PORT),
        [value_name = "ADDR:PORT"];

    /// RDMA device: auto, none or its name [default: auto]
    device: DeviceChoice = DEVICE, default DeviceChoice::Auto, [short, value_name = "NAME"];

    /// Port of the RDMA device, from 1 [default: the first active one]
    device_port: Option<u8> = DEVICE_PORT, default None, [value_name = "NUMBER"];

    /// Index of the RDMA port's address (GID) [default: the one for RoCE v2]
    gid_index: Option<u8> = GID_INDEX, default None, [value_name = "NUMBER"];

    /// How engines may read: auto, verbs (RDMA or not at all) or tcp [default: auto]
    transport: TransportChoice = TRANSPORTS, default TransportChoice::Auto,
        [value_name = "NAME"];

    /// File with the secret that peers prove to each other to know; not readable by everyone
    peer_secret_file: Option<PathBuf> = OPTIONAL_PATH, default None, [value_name = "FILE"];

    /// Serve engines without a shared secret even beyond this host
    insecure: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Connections that may be open at once; each worker of an engine has one [default: 256]
    max_peers: u32 = COUNT, default 256, [value_name = "COUNT"];

    /// Leases a connection may hold at once [default: 256]
    max_leases: u32 = COUNT, default 256, [value_name = "COUNT"];

    /// Life of a lease that is not released [default: 30s]
    lease_timeout: Duration = TIMEOUT, default Duration::from_secs(30), [value_name = "TIME"];

    /// How long a peer may be silent, or take what is sent to it [default: 30s]
    peer_timeout: Duration = TIMEOUT, default Duration::from_secs(30), [value_name = "TIME"];

    /// Size of the buffer pool, bytes or e.g. 4GiB, a multiple of 4096 [default: 1GiB]
    buffer_size: u64 = BUFFER_SIZE, default GIB, [value_name = "BYTES"];

    /// Largest single transfer, a power of two up to half of the pool [default: 64MiB, or a
    /// quarter of the pool if that is less]
    max_transfer_size: u64 = MAX_TRANSFER_SIZE, default default_max_transfer_size(buffer_size),
        [value_name = "BYTES"];

    /// Huge pages for the pool: auto, require or never [default: auto]
    hugepages: Hugepages = HUGEPAGES, default Hugepages::Auto, [value_name = "WHEN"];

    /// Worker threads [default: one a core, at most 4]
    workers: u16 = WORKERS, default default_workers(), [value_name = "COUNT"];

    /// Where /metrics, /sessions, /healthz and /readyz are served, or off [default: 127.0.0.1:9465]
    metrics_listen: Option<SocketAddr> = metrics_listen(METRICS_PORT + 1),
        default Some(loopback(METRICS_PORT + 1)), [value_name = "ADDR:PORT"];

    /// Upper bounds of the buckets of times in /metrics, seconds, ascending, up to 512 [default:
    /// 1us to 10s, 25 a decade]
    histogram_buckets: Option<Vec<f64>> = OPTIONAL_BUCKETS, default None, [value_name = "SECONDS"];

    /// Leases that /metrics lists by themselves, the largest that are older than a second
    /// [default: 20]
    live_sessions: u32 = SERIES, default 20, [value_name = "COUNT"];

    /// Engines that /metrics counts by themselves, the first that come [default: 50]
    client_series: u32 = SERIES, default 50, [value_name = "COUNT"];

    /// Volumes that /metrics counts by themselves, the first that are read [default: 200]
    volume_series: u32 = SERIES, default 200, [value_name = "COUNT"];

    /// How the log is written: text or json [default: text]
    log_format: LogFormat = LOG_FORMATS, default LogFormat::Text, [value_name = "NAME"];

    /// Log at level debug (RUST_LOG overrides)
    debug: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// How long a stop waits for what is in flight [default: 10s]
    shutdown_timeout: Duration = GRACE, default Duration::from_secs(10), [value_name = "TIME"];
}

impl TargetConfig {
    /// What /metrics tells apart.
    pub fn metrics_settings(&self) -> MetricsSettings {
        MetricsSettings {
            histogram_buckets: self.histogram_buckets.clone(),
            live_sessions: self.live_sessions as usize,
            client_series: self.client_series as usize,
            volume_series: self.volume_series as usize,
        }
    }

    /// Which port and address of the device to use.
    pub fn port_choice(&self) -> PortChoice {
        PortChoice {
            port: self.device_port,
            gid_index: self.gid_index,
        }
    }
}
