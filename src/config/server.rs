//! The engine's table.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::buckets::OPTIONAL_BUCKETS;
use super::choice::{
    DEVICE, HUGEPAGES, Hugepages, LOG_FORMATS, LogFormat, TRANSPORTS, TransportChoice,
};
use super::kind::{FilePath, Integer, List, Switch};
use super::peer::{Peer, PeerAddress};
use super::quantity::Span;
use super::settings::{
    BUFFER_SIZE, COUNT, DAY, DEVICE_PORT, GIB, GID_INDEX, GRACE, HOUR, MAX_TRANSFER_SIZE,
    METRICS_PORT, OPTIONAL_PATH, PATHS, PEER_PORT, SERIES, TENTH, TIMEOUT, WORKERS,
    default_max_transfer_size, default_workers, loopback, metrics_listen, settings,
};
use crate::telemetry::MetricsSettings;
use crate::verbs::{DeviceChoice, PortChoice};

/// A Unix socket's path, without the zero byte that ends it (sun_path in unix(7)).
const SOCKET_PATH: FilePath = FilePath { bytes_max: 107 };
/// Polling for longer would cost other reads more than a wake-up costs this one.
const POLL_MAX: Duration = Duration::from_millis(10);

settings! {
    /// The flags of `rdma-engine server` and `check-config`. A flag's words are kept as they
    /// came: [`Config::load`] gives them their meaning.
    flags ServerArgs;

    /// The engine's effective configuration: complete, checked, free of contradictions.
    config Config {
        /// What `auth_token_file` holds; None when no token is asked for.
        auth_token,
        /// What `peer_secret_file` holds; None when peers are talked to without one.
        peer_secret,
    }

    /// RDMA device: auto, none or its name [default: auto]
    device: DeviceChoice = DEVICE, default DeviceChoice::Auto, [short, value_name = "NAME"];

    /// Port of the RDMA device, from 1 [default: the first active one]
    device_port: Option<u8> = DEVICE_PORT, default None, [value_name = "NUMBER"];

    /// Index of the RDMA port's address (GID) [default: the one for RoCE v2]
    gid_index: Option<u8> = GID_INDEX, default None, [value_name = "NUMBER"];

    /// How peers are read: auto, verbs (RDMA or not at all) or tcp [default: auto]
    transport: TransportChoice = TRANSPORTS, default TransportChoice::Auto,
        [value_name = "NAME"];

    /// Port of peers that are named without one [default: 18515]
    port: u16 = Integer(1..=u16::MAX), default PEER_PORT, [short, value_name = "PORT"];

    /// Target to read from, with a name for it or without; may be repeated
    peers ("peer"): Vec<PeerAddress> = List { item: Peer { port }, separator: ',' },
        default Vec::new(), [value_name = "[NAME=]HOST[:PORT]"];

    /// File with the secret that peers prove to each other to know; not readable by everyone
    peer_secret_file: Option<PathBuf> = OPTIONAL_PATH, default None, [value_name = "FILE"];

    /// Talk to peers without a shared secret even beyond this host
    insecure: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// How long a peer may take to answer, or a connection to it to be made [default: 5s]
    peer_timeout: Duration = TIMEOUT, default Duration::from_secs(5), [value_name = "TIME"];

    /// How often an idle peer is asked for a sign of life [default: 2s]
    peer_keepalive: Duration = TIMEOUT, default Duration::from_secs(2), [value_name = "TIME"];

    /// How long to poll for an RDMA completion before sleeping until it comes, up to 10ms
    /// [default: 20us]
    completion_poll: Duration = Span(Duration::ZERO..=POLL_MAX),
        default Duration::from_micros(20), [value_name = "TIME"];

    /// Sessions that may be open at once [default: 1000]
    max_sessions: u32 = Integer(1..=1_000_000), default 1_000, [value_name = "COUNT"];

    /// Life of a session when the client names none, seconds or e.g. 5m [default: 300]
    session_timeout: Duration = Span(TENTH..=DAY), default Duration::from_secs(300),
        [value_name = "TIME"];

    /// Longest life of a session a client may ask for [default: 1h, or session-timeout if longer]
    session_timeout_max: Duration = Span(TENTH..=DAY), default HOUR.max(session_timeout),
        [value_name = "TIME"];

    /// Size of the buffer pool, bytes or e.g. 4GiB, a multiple of 4096 [default: 1GiB]
    buffer_size: u64 = BUFFER_SIZE, default GIB, [value_name = "BYTES"];

    /// Largest single transfer, a power of two up to half of the pool [default: 64MiB, or a
    /// quarter of the pool if that is less]
    max_transfer_size: u64 = MAX_TRANSFER_SIZE, default default_max_transfer_size(buffer_size),
        [value_name = "BYTES"];

    /// Unix socket to serve on [default: /tmp/rdma-engine.sock] [env also: RDMA_SOCKET_PATH]
    ipc_socket: PathBuf = SOCKET_PATH, default PathBuf::from("/tmp/rdma-engine.sock"),
        [value_name = "PATH"];

    /// Upper bounds of the buckets of times in /metrics, seconds, ascending, up to 512 [default:
    /// 1us to 10s, 25 a decade]
    histogram_buckets: Option<Vec<f64>> = OPTIONAL_BUCKETS, default None, [value_name = "SECONDS"];

    /// Sessions that /metrics lists by themselves, the largest that are older than a second
    /// [default: 20]
    live_sessions: u32 = SERIES, default 20, [value_name = "COUNT"];

    /// Clients that /metrics counts by themselves, the first that come [default: 50]
    client_series: u32 = SERIES, default 50, [value_name = "COUNT"];

    /// Volumes that /metrics counts by themselves, the first that are read [default: 200]
    volume_series: u32 = SERIES, default 200, [value_name = "COUNT"];

    /// How the log is written: text or json [default: text]
    log_format: LogFormat = LOG_FORMATS, default LogFormat::Text, [value_name = "NAME"];

    /// Log at level debug (RUST_LOG overrides)
    debug: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Directory with SeaweedFS volumes to serve; may be repeated
    volumes: Vec<PathBuf> = PATHS, default Vec::new(), [value_name = "DIR"];

    /// Directory with the volumes' indexes, where they are not beside the data
    index_dir: Option<PathBuf> = OPTIONAL_PATH, default None, [value_name = "DIR"];

    /// Read volumes with O_DIRECT, past the page cache
    direct_io: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Worker threads [default: one a core, at most 4]
    workers: u16 = WORKERS, default default_workers(), [value_name = "COUNT"];

    /// Where /metrics, /sessions, /healthz and /readyz are served, or off [default: 127.0.0.1:9464]
    metrics_listen: Option<SocketAddr> = metrics_listen(METRICS_PORT),
        default Some(loopback(METRICS_PORT)), [value_name = "ADDR:PORT"];

    /// Huge pages for the pool: auto, require or never [default: auto]
    hugepages: Hugepages = HUGEPAGES, default Hugepages::Auto, [value_name = "WHEN"];

    /// Client connections that may be open at once [default: 1024]
    max_connections: u32 = COUNT, default 1_024, [value_name = "COUNT"];

    /// User that may connect, besides root and the engine's own; may be repeated
    allowed_uids: Vec<u32> = List { item: Integer(0..=u32::MAX), separator: ',' },
        default Vec::new(), [value_name = "UID"];

    /// File with the token clients must show; not readable by everyone
    auth_token_file: Option<PathBuf> = OPTIONAL_PATH, default None, [value_name = "FILE"];

    /// How long the sessions of a client that is gone stay [default: 2s]
    client_grace: Duration = GRACE, default Duration::from_secs(2), [value_name = "TIME"];

    /// How long a client may take to finish a frame it began, or to take a reply [default: 30s]
    frame_timeout: Duration = TIMEOUT, default Duration::from_secs(30), [value_name = "TIME"];

    /// How long a stop waits for what is in flight [default: 10s]
    shutdown_timeout: Duration = GRACE, default Duration::from_secs(10), [value_name = "TIME"];
}

impl Config {
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
