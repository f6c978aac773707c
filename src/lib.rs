//! `rdma-engine`: the data plane between a storage sidecar and SeaweedFS's needles.
//!
//! A read, from the socket to the bytes: [`ipc`] takes a frame off a connection, [`protocol`]
//! makes it a request, [`engine`] takes a place in the [`session`] slab, finds the [`volume`]
//! and has a [`source`] land the bytes, with the [`uring`] data ring, in a buffer of the
//! [`pool`]. [`server`] puts it all together, from a [`config`]; [`telemetry`] tells what it does.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod cli;
pub mod client;
pub mod config;
pub mod crc;
pub mod daemon;
pub mod engine;
pub mod error;
pub mod ipc;
pub mod peer;
pub mod pool;
pub mod protocol;
pub mod server;
pub mod session;
pub mod source;
pub mod target;
pub mod telemetry;
pub mod uring;
pub mod verbs;
pub mod volume;
