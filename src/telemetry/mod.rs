//! What the daemon says about itself: metrics, health, logs.
//!
//! The hot path touches only the handles of [`Metrics`]. Everything that is a state rather than
//! an event is asked for when somebody looks ([`Observe`]). The endpoints live on a thread of
//! their own ([`Endpoints`]) and can not slow a read down.

mod clock;
mod counted;
mod exporter;
mod families;
mod histogram;
mod http;
mod journal;
mod live;
pub mod log;
mod metrics;
mod names;
mod observed;
mod process;
mod rate_limited;
mod readiness;
mod settle;
mod shards;
mod text;

pub use clock::{Stage, StageClock, Stages, Stamp, Tick};
pub use counted::VolumesCounted;
pub use histogram::BUCKETS_MAX;
pub use http::{Endpoints, ListenError, Page};
pub use journal::{Journal, Landing};
pub use live::{Doing, LISTED_AGE, Live, SessionEntry, SessionList, ShortId, rate};
pub use metrics::{AlreadyInstalled, Metrics, MetricsSettings, Operation, Refusal};
pub use names::{ClientCounts, ClientSeries, Identity, Named, OTHER, Series, VolumeCounts};
pub use observed::{Observe, Observed, PeerState, PoolState, RingState, VerbsState};
pub use rate_limited::RateLimited;
pub use readiness::{Readiness, State};
