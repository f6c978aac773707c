//! The link goes down and comes up again while reads are under way.

use std::process::Command;

use crate::daemon::peers;
use crate::killed::{CLEAN, by_verbs_again, mixed};
use crate::load::Load;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};

/// What the device's port is on. TCP goes by the loopback interface, and goes on.
const INTERFACE: &str = "eth0";

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    report.check("the link goes down and comes up under load", || {
        let pair = Pair::with_pools(place, "128MiB")?;
        let load = Load::start(&pair.engine.socket, &mixed(place)?, 4, 2)?;
        load.await_more(20)?;
        let down = Down::set()?;
        let engine = &pair.engine;
        engine.await_metrics("the peer is no longer read by verbs", |m| {
            (peers(m, "verbs"), peers(m, "tcp")) == (0.0, 1.0)
        })?;
        let told = engine.capabilities()?;
        if told.real_rdma {
            return Err(format!("real_rdma with the link down: {told:?}").into());
        }
        load.await_more(30)?;
        drop(down);
        engine.await_metrics("the peer is read by verbs again", |m| {
            peers(m, "verbs") == 1.0
        })?;
        load.await_more(30)?;
        let tally = load.stop()?;
        tally.clean(&CLEAN)?;
        if tally.by("tcp") == 0 || tally.by("verbs") == 0 {
            return Err(tally.to_string().into());
        }
        let after = by_verbs_again(engine, place)?;
        pair.stop()?;
        Ok(format!("{tally}; afterwards {after} of {after} by verbs"))
    });
    Ok(())
}

/// The link is down for as long as this lives.
struct Down;

impl Down {
    fn set() -> Result<Self> {
        link("down")?;
        Ok(Self)
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(error) = link("up") {
            eprintln!("link: {error}");
        }
    }
}

fn link(state: &str) -> Result<()> {
    let set = Command::new("ip")
        .args(["link", "set", INTERFACE, state])
        .status()?;
    if !set.success() {
        return Err(format!("ip link set {INTERFACE} {state}: {set}").into());
    }
    Ok(())
}
