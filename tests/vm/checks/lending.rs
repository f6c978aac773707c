//! The integration tests of the target's lending, which need a device: tests/peer_leases.rs.

use std::process::{Command, Stdio};

use crate::report::{Place, Report, Result};

/// The test program, and the daemon it starts.
const PROGRAM: &str = "peer-leases";
const ENGINE: &str = "/usr/local/bin/rdma-engine";

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let output = Command::new(PROGRAM)
        .args(["--ignored", "--test-threads=1"])
        .env("ENGINE_BIN", ENGINE)
        .env("TMPDIR", &place.dir)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // One at a time, so that nothing comes between a test's name and its outcome.
    let outcomes = said.lines().filter_map(|line| {
        let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        Some((name, outcome))
    });
    let mut tests = 0;
    for (name, outcome) in outcomes {
        tests += 1;
        report.check(&name.replace('_', " "), || match outcome {
            "ok" => Ok(outcome.to_owned()),
            _ => Err(said.clone().into()),
        });
    }
    report.check("the tests of lending were run", || {
        let told = format!("{tests} tests, {}", output.status);
        if tests == 0 || !output.status.success() {
            return Err(told.into());
        }
        Ok(told)
    });
    Ok(())
}
