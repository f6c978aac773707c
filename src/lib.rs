//! `rdma-engine`: the data plane between a storage sidecar and SeaweedFS's needles.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod error;
pub mod pool;
pub mod protocol;
pub mod session;
pub mod uring;
