//! What is proven of RDMA, in a machine that has it (tests/vm/run.sh): the real engine and target
//! as processes, real volumes, real verbs, and perftest beside them.
//!
//! `vm-checks [GROUP…]` runs all groups, or those named, and prints lines of tab-separated fields:
//! `CHECK name pass|fail detail` and `FIGURE name value unit limit`. It fails when a check did.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod bandwidth;
mod borrower;
mod client;
mod daemon;
mod devices;
mod files;
#[allow(dead_code, clippy::expect_used, reason = "the tests use more of it")]
#[path = "../../common/http.rs"]
mod http;
mod identical;
mod interposer;
mod killed;
mod latency;
mod leases;
mod lending;
mod link;
mod load;
mod many;
mod named;
mod pair;
mod perftest;
mod read_path;
mod refused;
mod registrations;
mod report;
mod tally;
mod turns;
mod wait;

use std::process::ExitCode;

use files::Files;
use report::{Group, Report};
use wait::PATIENCE;

/// The checks, by what is proven.
const GROUPS: &[(&str, Group)] = &[
    ("devices", devices::checks),
    ("identical", identical::checks),
    ("latency", latency::checks),
    ("bandwidth", bandwidth::checks),
    ("registrations", registrations::checks),
    ("named", named::checks),
    ("leases", leases::checks),
    ("lending", lending::checks),
    ("many", many::checks),
    ("killed", killed::checks),
    ("link", link::checks),
    ("refused", refused::checks),
];

fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let files = match Files::load() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("vm-checks: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    for (name, group) in GROUPS {
        if named.is_empty() || named.iter().any(|n| n == name) {
            report.group(name, *group, &files);
        }
    }
    if report.all_passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
