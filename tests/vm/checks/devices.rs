//! What is told of the device is what the kernel says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::daemon::{Engine, Flags, PROGRAM};
use crate::pair::Pair;
use crate::report::{Place, Report, Result};

/// The machine's device.
pub const DEVICE: &str = "rxe0";
/// Soft-RoCE's vendor (RXE_VENDOR_ID in the kernel's rxe_param.h).
const VENDOR: u32 = 0xff_ffff;
/// READs Soft-RoCE serves at once (RXE_MAX_QP_RD_ATOM).
const MAX_READS: u64 = 128;
/// Its GID for RoCE v2 with the machine's IPv4 address.
const GID_INDEX: u64 = 1;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    report.check("devices lists what there is, and what auto takes", listed);
    report.check("GetCapabilities tells the real device", || {
        let pair = Pair::plain(place)?;
        let told = pair.engine.capabilities()?;
        let gid = kernels_gid()?;
        let facts = (
            (told.device_name.as_str(), told.vendor_id, told.port_lid),
            (told.port_gid.as_str(), told.real_rdma),
        );
        if facts != ((DEVICE, VENDOR, 0), (gid.as_str(), true))
            || !told.transports.iter().any(|t| t == "verbs")
        {
            return Err(format!("{told:?}").into());
        }
        pair.stop()?;
        Ok(format!(
            "{DEVICE}, vendor {VENDOR:#x}, GID {gid}, real_rdma"
        ))
    });
    report.check("GetCapabilities tells when no device is in use", || {
        // Nobody listens there: it makes no difference.
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let flags = Flags::engine(nobody).and("device", "none");
        let engine = Engine::start(&place.dir, "none", &flags)?;
        let told = engine.capabilities()?;
        let facts = (
            told.device_name.as_str(),
            told.vendor_id,
            told.port_gid.as_str(),
        );
        if facts != ("none", 0, "") || told.real_rdma {
            return Err(format!("{told:?}").into());
        }
        engine.stop()?;
        Ok("none, no vendor, no GID, not real_rdma".to_owned())
    });
    Ok(())
}

fn listed() -> Result<String> {
    let told = run(&["devices", "--json"])?;
    let told: Value = serde_json::from_str(&told)?;
    let text = |pointer: &str| {
        told.pointer(pointer)
            .map(Value::to_string)
            .unwrap_or_default()
    };
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64);
    let gid = kernels_gid()?;
    let gids = told
        .pointer("/devices/0/ports/0/gids")
        .and_then(Value::as_array);
    let has_gid = gids.is_some_and(|gids| {
        gids.iter()
            .any(|g| g["index"] == GID_INDEX && g["gid"] == gid.as_str())
    });
    let quoted = format!("{DEVICE:?}");
    let right = text("/devices/0/name") == quoted
        && text("/auto/device") == quoted
        && number("/auto/port") == Some(1)
        && number("/auto/gid_index") == Some(GID_INDEX)
        && number("/devices/0/vendor_id") == Some(u64::from(VENDOR))
        && number("/devices/0/ports/0/active_mtu") == Some(4096)
        && number("/devices/0/limits/max_qp_init_rd_atom") == Some(MAX_READS)
        && has_gid;
    if !right {
        return Err(format!("GID {gid} in sysfs; told was {told}").into());
    }
    let human = run(&["devices"])?;
    let takes = format!("--device auto takes {DEVICE}, port 1, GID {GID_INDEX} ({gid})");
    if !human.contains(&takes) {
        return Err(format!("no {takes:?} in {human}").into());
    }
    Ok(format!("{takes}; {MAX_READS} READs in flight"))
}

fn run(args: &[&str]) -> Result<String> {
    let ended = Command::new(PROGRAM).args(args).output()?;
    if !ended.status.success() {
        return Err(format!("{args:?}: {}", String::from_utf8_lossy(&ended.stderr)).into());
    }
    Ok(String::from_utf8(ended.stdout)?)
}

/// The GID as sysfs has it, written as an IPv6 address is.
fn kernels_gid() -> Result<String> {
    let path = Path::new("/sys/class/infiniband")
        .join(DEVICE)
        .join(format!("ports/1/gids/{GID_INDEX}"));
    let gid: std::net::Ipv6Addr = fs::read_to_string(path)?.trim().parse()?;
    Ok(gid.to_string())
}
