//! The table of all settings. A row is the whole of a setting: its documentation (also that of
//! its flag), its type, its kind (what may be written), its default and its flag's details. A
//! default may use the settings above it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{DEVICES, Device, HUGEPAGES, Hugepages};
use super::kind::{Bytes, FilePath, Integer, Kind, List, Listen, Optional, Span, Switch};
use super::layers::Layers;
use super::origin::{ConfigError, Origin};
use super::token::Token;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const TENTH: Duration = Duration::from_millis(100);

/// A Unix socket's path, without the zero byte that ends it (sun_path in unix(7)).
const SOCKET_PATH: FilePath = FilePath { bytes_max: 107 };
/// Any other path, without the zero byte that ends it (PATH_MAX).
const PATH: FilePath = FilePath { bytes_max: 4_095 };

macro_rules! settings {
    ($($(#[$doc:meta])+ $name:ident: $type:ty = $kind:expr, default $default:expr, [$($arg:tt)*];)+) => {
        const KEYS: &[&str] = &[$(stringify!($name)),+];

        /// The flags of `rdma-engine server` and `check-config`. A flag's words are kept as they
        /// came: [`Config::load`] gives them their meaning.
        #[derive(clap::Args, Clone, Debug, Default)]
        pub struct ServerArgs {
            /// Configuration file (TOML). Flags and the environment (RDMA_ENGINE_..., as in
            /// RDMA_ENGINE_MAX_SESSIONS) override it.
            #[arg(short, long, value_name = "FILE")]
            pub config: Option<PathBuf>,
            $($(#[$doc])+ #[arg(long, $($arg)*)] pub $name: Vec<String>,)+
        }

        impl ServerArgs {
            fn given(&self) -> impl Iterator<Item = (&'static str, &[String])> {
                [$((stringify!($name), self.$name.as_slice())),+].into_iter()
            }
        }

        /// The effective configuration: complete, checked, free of contradictions.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[$doc])+ pub $name: $type,)+
            /// What `auth_token_file` holds; None when no token is asked for.
            pub auth_token: Option<Token>,
            origins: BTreeMap<&'static str, Origin>,
        }

        impl Config {
            fn resolve(layers: Layers) -> Result<Self, ConfigError> {
                let mut layers = layers;
                $(let $name: $type = layers.resolve(stringify!($name), &$kind, || $default)?;)+
                Ok(Self { $($name,)+ auth_token: None, origins: layers.into_origins() })
            }

            /// Every setting as a file would have it; None when it is not set at all.
            pub(super) fn values(&self) -> Vec<(&'static str, Option<toml::Value>)> {
                vec![$((stringify!($name), $kind.print(&self.$name))),+]
            }
        }
    };
}

settings! {
    /// RDMA device: auto or none [default: auto]
    device: Device = DEVICES, default Device::Auto, [short, value_name = "NAME"];

    /// Port for peers that speak RDMA with this engine [default: 18515]
    port: u16 = Integer(1..=u16::MAX), default 18_515, [short, value_name = "PORT"];

    /// Sessions that may be open at once [default: 1000]
    max_sessions: u32 = Integer(1..=1_000_000), default 1_000, [value_name = "COUNT"];

    /// Life of a session when the client names none, seconds or e.g. 5m [default: 300]
    session_timeout: Duration = Span(TENTH..=DAY), default Duration::from_secs(300),
        [value_name = "TIME"];

    /// Longest life of a session a client may ask for [default: 1h, or session-timeout if longer]
    session_timeout_max: Duration = Span(TENTH..=DAY), default HOUR.max(session_timeout),
        [value_name = "TIME"];

    /// Size of the buffer pool, bytes or e.g. 4GiB, a multiple of 4096 [default: 1GiB]
    buffer_size: u64 = Bytes {
        range: MIB..=4_096 * GIB,
        rule: |size| size.is_multiple_of(4_096),
        rule_text: "a multiple of 4096",
    }, default GIB, [value_name = "BYTES"];

    /// Largest single transfer, a power of two up to half of the pool [default: 64MiB, or a
    /// quarter of the pool if that is less]
    max_transfer_size: u64 = Bytes {
        range: 4 * KIB..=512 * MIB,
        rule: u64::is_power_of_two,
        rule_text: "a power of two",
    }, default default_max_transfer_size(buffer_size), [value_name = "BYTES"];

    /// Unix socket to serve on [default: /tmp/rdma-engine.sock] [env also: RDMA_SOCKET_PATH]
    ipc_socket: PathBuf = SOCKET_PATH, default PathBuf::from("/tmp/rdma-engine.sock"),
        [value_name = "PATH"];

    /// Log at level debug (RUST_LOG overrides)
    debug: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Directory with SeaweedFS volumes to serve; may be repeated
    volumes: Vec<PathBuf> = List { item: PATH, separator: ':' }, default Vec::new(),
        [value_name = "DIR"];

    /// Directory with the volumes' indexes, where they are not beside the data
    index_dir: Option<PathBuf> = Optional(PATH), default None, [value_name = "DIR"];

    /// Read volumes with O_DIRECT, past the page cache
    direct_io: bool = Switch, default false, [
        value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true"];

    /// Worker threads [default: one a core, at most 4]
    workers: u16 = Integer(1..=256), default default_workers(), [value_name = "COUNT"];

    /// Where /metrics, /healthz and /readyz are served, or off [default: 127.0.0.1:9464]
    metrics_listen: Option<SocketAddr> = Listen,
        default Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9_464))), [value_name = "ADDR:PORT"];

    /// Huge pages for the pool: auto, require or never [default: auto]
    hugepages: Hugepages = HUGEPAGES, default Hugepages::Auto, [value_name = "WHEN"];

    /// Client connections that may be open at once [default: 1024]
    max_connections: u32 = Integer(1..=65_536), default 1_024, [value_name = "COUNT"];

    /// User that may connect, besides root and the engine's own; may be repeated
    allowed_uids: Vec<u32> = List { item: Integer(0..=u32::MAX), separator: ',' },
        default Vec::new(), [value_name = "UID"];

    /// File with the token clients must show; not readable by everyone
    auth_token_file: Option<PathBuf> = Optional(PATH), default None, [value_name = "FILE"];

    /// How long the sessions of a client that is gone stay [default: 2s]
    client_grace: Duration = Span(Duration::ZERO..=HOUR), default Duration::from_secs(2),
        [value_name = "TIME"];

    /// How long a client may take to finish a frame it began, or to take a reply [default: 30s]
    frame_timeout: Duration = Span(TENTH..=HOUR), default Duration::from_secs(30),
        [value_name = "TIME"];

    /// How long a stop waits for what is in flight [default: 10s]
    shutdown_timeout: Duration = Span(Duration::ZERO..=HOUR), default Duration::from_secs(10),
        [value_name = "TIME"];
}

/// 64 MiB, or the largest power of two in a quarter of the pool.
fn default_max_transfer_size(buffer_size: u64) -> u64 {
    let quarter = (buffer_size / 4).checked_ilog2().map_or(0, |log| 1 << log);
    quarter.clamp(4 * KIB, 64 * MIB)
}

fn default_workers() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    u16::try_from(cores).unwrap_or(1)
}

impl Config {
    /// Reads and checks everything, touching nothing but the files it names.
    ///
    /// # Errors
    /// The first thing that is unknown, malformed, out of bounds, contradictory or missing on
    /// disk, with the place it was given at and what is allowed there.
    pub fn load(
        args: &ServerArgs,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let layers = Layers::gather(KEYS, args.config.as_deref(), environment, args.given())?;
        Self::resolve(layers)?.checked()
    }

    /// Where the setting `key` (a field's name) was given.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// The configuration as a file that yields the same again, each value with its origin. Paths
    /// of secrets are in it, secrets are not.
    pub fn to_toml(&self) -> String {
        let line = |(key, value): (&'static str, Option<toml::Value>)| {
            let origin = self.origin(key);
            match value {
                Some(value) => format!("{key} = {value}  # {origin}\n"),
                None => format!("# {key} is not set  # {origin}\n"),
            }
        };
        self.values().into_iter().map(line).collect()
    }
}
