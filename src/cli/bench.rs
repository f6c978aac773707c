//! `rdma-engine bench`: reads per second and how long each takes.

mod driver;
mod load;
mod report;

use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::load::{Load, Until};
use super::CliError;
use super::client_args::ClientArgs;
use super::show;
use crate::client::FileId;

/// The most reads one connection has under way. With each its StartRead and CompleteRead, this
/// many frames always find room in the socket, so that both sides can not wait for each other.
const DEPTH_MAX: i64 = 128;

/// Measure reads: how many a second, and how long each takes
///
/// Every connection is a thread that keeps `--depth` reads under way; the CompleteRead of one
/// travels with the next StartRead. A read's time is from its StartRead to its reply. Without
/// --verify the bytes land in the pool and are not looked at; with it, looking at them is part of
/// what is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Needles to read, in turn
    #[arg(value_name = "FID", required = true)]
    fids: Vec<FileId>,
    /// Connections, each with a thread of its own
    #[arg(long, short = 'c', default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Reads under way at once on each connection
    #[arg(long, short = 'd', default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=DEPTH_MAX))]
    depth: u16,
    /// Bytes of each read; 0 is to the end of the needle
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    size: u64,
    /// First byte of each read
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// How long to go on
    #[arg(long, short = 't', default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How many reads to try, on all connections together, instead of a time
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "seconds")]
    reads: Option<NonZeroU64>,
    /// Check the CRC of the bytes in the pool
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Runs the load and prints what came of it. Fails when no read succeeded, or, with `--verify`,
/// when one did not stand up to it.
pub fn run(args: Args) -> Result<(), CliError> {
    let auth_token = args.client.auth_token()?;
    let connections = (0..args.connections).map(|_| args.client.connect());
    let mut connections = connections.collect::<Result<Vec<_>, _>>()?;
    let pool = match connections.first_mut() {
        Some(first) if args.verify => Some(first.attach(auth_token.clone())?),
        _ => None,
    };
    let until = match args.reads {
        Some(reads) => Until::Reads(reads.get()),
        None => Until::Elapsed(Duration::from_secs(args.seconds)),
    };
    let load = Load {
        fids: args.fids,
        offset: args.offset,
        size: args.size,
        depth: usize::from(args.depth),
        until,
        auth_token,
        pool,
    };
    let totals = load.run(connections, |progress, done| watch(until, progress, done))?;
    let report = report::Report::new(&load, args.connections, &totals);
    show::print(&if args.client.json {
        show::json(&report)?
    } else {
        report.human()
    })?;
    report.verdict()
}

/// Shows how far the load is, on a terminal, until every sender of `done` is gone.
fn watch(until: Until, progress: &load::Progress, done: &Receiver<()>) {
    const REDRAW: Duration = Duration::from_millis(200);
    let length = match until {
        Until::Reads(reads) => reads,
        Until::Elapsed(time) => time.as_millis() as u64,
    };
    // Drawn to stderr, and nowhere when that is not a terminal.
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{wide_bar} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut last = 0;
    while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(REDRAW) {
        let reads = progress.reads();
        bar.set_position(match until {
            Until::Reads(_) => reads,
            Until::Elapsed(_) => bar.elapsed().as_millis() as u64,
        });
        let rate = (reads - last) as f64 / REDRAW.as_secs_f64();
        bar.set_message(format!("{reads} reads, {rate:.0}/s"));
        last = reads;
    }
    bar.finish_and_clear();
}
