//! `rdma-engine ping`: is the engine there, and how far away.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::CliError;
use super::client_args::ClientArgs;
use super::show::{self, Times};
use crate::protocol::message::Ping;

/// Ask the engine for a sign of life and time it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pings to send, one after the other
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Report {
    socket: String,
    pings: u64,
    round_trip_ns: Times,
}

/// Sends the pings and prints the round-trip times, as measured here.
pub fn run(args: Args) -> Result<(), CliError> {
    let mut connection = args.client.connect()?;
    let mut round_trips = show::histogram()?;
    for _ in 0..args.count {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let ping = Ping {
            timestamp_ns: now.map_or(0, |since| since.as_nanos() as u64),
            client_id: Some("rdma-engine ping".to_owned()),
            request_id: None,
        };
        let sent_ns = ping.timestamp_ns;
        let begun = Instant::now();
        let pong = connection.ping(ping)?;
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if pong.client_timestamp_ns != sent_ns {
            return Err(CliError::Failed(
                "the engine's Pong does not carry the timestamp of our Ping".to_owned(),
            ));
        }
        round_trips.saturating_record(ns);
    }
    let report = Report {
        socket: args.client.socket().display().to_string(),
        pings: args.count,
        round_trip_ns: Times::from(&round_trips),
    };
    if args.client.json {
        return show::print(&show::json(&report)?);
    }
    let times = report.round_trip_ns;
    show::print(&format!(
        "{} pings to {}: min {}  {}\n",
        report.pings,
        report.socket,
        show::time(times.min),
        times.line()
    ))
}
