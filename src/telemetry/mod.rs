//! What the daemon says about itself: metrics, health, logs.
//!
//! The hot path touches only the handles of [`Metrics`]. Everything that is a state rather than
//! an event is asked for when somebody looks ([`Observe`]). The endpoints live on a thread of
//! their own ([`Endpoints`]) and can not slow a read down.

mod http;
pub mod log;
mod metrics;
mod observed;
mod process;
mod rate_limited;
mod readiness;

pub use http::{Endpoints, ListenError, Page};
pub use metrics::{Metrics, Operation, Refusal};
pub use observed::{Observe, Observed};
pub use rate_limited::RateLimited;
pub use readiness::{Readiness, State};
