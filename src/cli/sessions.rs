//! `rdma-engine sessions`: who holds what now.

mod http;
mod table;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use clap::ValueEnum;

use super::CliError;
use super::show;
use crate::telemetry::SessionList;

/// The most often the table is drawn.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The least often.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Show the open sessions of a running engine, or the leases of a target, like top
///
/// It asks the daemon's HTTP endpoint. Where stdout is no terminal it prints them once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's --metrics-listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9464")]
    metrics: SocketAddr,
    /// Time between two looks, in seconds or with a unit, ms, s or m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print them once
    #[arg(long)]
    once: bool,
    /// Print JSON, once
    #[arg(long)]
    json: bool,
    /// What the first has most of
    #[arg(long, value_enum, default_value_t = Sort::Bytes)]
    sort: Sort,
}

/// What sessions are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Bytes held
    Bytes,
    /// Age
    Age,
    /// How fast the bytes came
    Rate,
}

/// Shows the table until it is interrupted, or once.
///
/// # Errors
/// When the daemon does not answer, or not with sessions.
pub fn run(args: &Args) -> Result<(), CliError> {
    let once = args.once || args.json || !std::io::stdout().is_terminal();
    loop {
        let mut list = look(args.metrics)?;
        table::sort(&mut list.sessions, args.sort);
        if args.json {
            return show::print(&show::json(&list)?);
        }
        if once {
            return show::print(&table::table(&list, usize::MAX, usize::MAX));
        }
        let (rows, columns) = size();
        let table = table::table(&list, rows, columns);
        // To the upper left corner; what was there is cleared line by line, so nothing flickers.
        let cleared = table.replace('\n', "\x1b[K\n");
        show::print(&format!("\x1b[H{cleared}\x1b[J"))?;
        sleep(args.interval);
    }
}

fn look(address: SocketAddr) -> Result<SessionList, CliError> {
    let failed = |why: String| {
        CliError::Failed(format!(
            "asking {address} for /sessions: {why}; name the daemon's --metrics-listen with --metrics"
        ))
    };
    let body = http::get(address, "/sessions").map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&body).map_err(|e| failed(format!("the answer is no list: {e}")))
}

/// Lines and columns of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            (usize::from(size.ws_row), usize::from(size.ws_col))
        }
        _ => (24, 80),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("{unit:?} is no unit; allowed: ms, s, m")),
    };
    let seconds = number.parse::<f64>().map_err(|e| e.to_string())? * unit;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| (INTERVAL_MIN..=INTERVAL_MAX).contains(time))
        .ok_or_else(|| "allowed: 100ms to 60m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_or_is_in_seconds_and_has_bounds() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "-1s", "1h", "99ms", "61m", "1e3", "NaN", "1.2.3"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
