//! What the tables of settings are made of: the macro that turns a table into flags and a
//! configuration, and the kinds and defaults that the engine and the target share.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::kind::{Address, FilePath, Integer, List, Optional, OrOff};
use super::quantity::{Bytes, Span};

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const TENTH: Duration = Duration::from_millis(100);

/// The port targets listen on.
pub(super) const PEER_PORT: u16 = 18_515;

/// A path, without the zero byte that ends it (PATH_MAX).
const PATH: FilePath = FilePath { bytes_max: 4_095 };
pub(super) const OPTIONAL_PATH: Optional<FilePath> = Optional(PATH);
pub(super) const PATHS: List<FilePath> = List {
    item: PATH,
    separator: ':',
};

/// Ports of an RDMA device are counted from 1 (ibv_query_port(3)).
pub(super) const DEVICE_PORT: Optional<Integer<u8>> = Optional(Integer(1..=u8::MAX));
pub(super) const GID_INDEX: Optional<Integer<u8>> = Optional(Integer(0..=u8::MAX));

pub(super) const BUFFER_SIZE: Bytes = Bytes {
    range: MIB..=4_096 * GIB,
    rule: |size| size.is_multiple_of(4_096),
    rule_text: "a multiple of 4096",
};
pub(super) const MAX_TRANSFER_SIZE: Bytes = Bytes {
    range: 4 * KIB..=512 * MIB,
    rule: u64::is_power_of_two,
    rule_text: "a power of two",
};

pub(super) const WORKERS: Integer<u16> = Integer(1..=256);
/// How many connections, or what each of them may hold.
pub(super) const COUNT: Integer<u32> = Integer(1..=65_536);
/// How many things have series of their own in /metrics.
pub(super) const SERIES: Integer<u32> = Integer(0..=1_000);
/// How long something may take; it can not be switched off.
pub(super) const TIMEOUT: Span = Span(TENTH..=HOUR);
/// How long something is waited for, which may be not at all.
pub(super) const GRACE: Span = Span(Duration::ZERO..=HOUR);

/// Where the engine's endpoints are by default; the target's are on the next port.
pub(super) const METRICS_PORT: u16 = 9_464;
pub(super) const fn metrics_listen(port: u16) -> OrOff<Address> {
    OrOff(Address { port })
}

/// 64 MiB, or the largest power of two in a quarter of the pool.
pub(super) fn default_max_transfer_size(buffer_size: u64) -> u64 {
    let quarter = (buffer_size / 4).checked_ilog2().map_or(0, |log| 1 << log);
    quarter.clamp(4 * KIB, 64 * MIB)
}

pub(super) fn default_workers() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    u16::try_from(cores).unwrap_or(1)
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The flags' struct and the configuration's, of one table. A row is the whole of a setting: its
/// documentation (also that of its flag), its key (and the flag's name, where that is another),
/// its type, its kind (what may be written), its default and its flag's details. A kind and a
/// default may use the settings above it. Behind the configuration's name are the secrets that
/// are read from files. `checked` of the configuration is in `check`.
macro_rules! settings {
    (
        $(#[$args_doc:meta])+ flags $Args:ident;
        $(#[$config_doc:meta])+ config $Config:ident {
            $($(#[$secret_doc:meta])+ $secret:ident,)+
        }
        $(
            $(#[$doc:meta])+
            $name:ident $(($flag:literal))?: $type:ty = $kind:expr, default $default:expr,
            [$($arg:tt)*];
        )+
    ) => {
        const KEYS: &[&str] = &[$(stringify!($name)),+];

        $(#[$args_doc])+
        #[derive(clap::Args, Clone, Debug, Default)]
        pub struct $Args {
            /// Configuration file (TOML). Flags and the environment (RDMA_ENGINE_..., as in
            /// RDMA_ENGINE_BUFFER_SIZE) override it.
            #[arg(short, long, value_name = "FILE")]
            pub config: Option<std::path::PathBuf>,
            $($(#[$doc])+ #[arg(long, $(long = $flag,)? $($arg)*)] pub $name: Vec<String>,)+
        }

        impl $Args {
            /// Key, flag and words of each.
            fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, &[String])> {
                [$((
                    stringify!($name),
                    $crate::config::settings::flag_name!($name $($flag)?),
                    self.$name.as_slice(),
                )),+]
                .into_iter()
            }
        }

        $(#[$config_doc])+
        #[derive(Clone, Debug)]
        pub struct $Config {
            $($(#[$doc])+ pub $name: $type,)+
            $($(#[$secret_doc])+ pub $secret: Option<$crate::config::Token>,)+
            pub(super) resolved: $crate::config::resolved::Resolved,
        }

        impl $Config {
            /// Reads and checks everything, touching nothing but the files it names.
            ///
            /// # Errors
            /// The first thing that is unknown, malformed, out of bounds, contradictory or
            /// missing on disk, with the place it was given at and what is allowed there.
            pub fn load(
                args: &$Args,
                environment: impl Iterator<Item = (String, String)>,
            ) -> Result<Self, $crate::config::ConfigError> {
                let mut layers = $crate::config::layers::Layers::gather(
                    KEYS,
                    args.config.as_deref(),
                    environment,
                    args.given(),
                )?;
                $(let $name: $type = layers.resolve(stringify!($name), &$kind, || $default)?;)+
                let resolved = layers.into_resolved();
                Self { $($name,)+ $($secret: None,)+ resolved }.checked()
            }

            /// Where the setting `key` (a field's name) was given.
            pub fn origin(&self, key: &str) -> &$crate::config::Origin {
                self.resolved.origin(key)
            }

            /// The configuration as a file that yields the same again, each value with its
            /// origin. Paths of secrets are in it, secrets are not.
            pub fn to_toml(&self) -> String {
                self.resolved.to_toml()
            }
        }
    };
}

/// The flag's own name, or else the key's.
macro_rules! flag_name {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $flag:literal) => {
        $flag
    };
}

pub(super) use {flag_name, settings};
