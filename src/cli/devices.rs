//! `rdma-engine devices`: the RDMA devices of this host.

use std::fmt::Write as _;

use serde::Serialize;

use super::CliError;
use super::show;
use crate::verbs::{self, Chosen, DeviceInfo, Limits, OpenError, PortChoice, PortInfo};

/// List this host's RDMA devices, their ports, addresses and limits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listing<'a> {
    /// What `--device auto` takes.
    auto: Option<Auto<'a>>,
    /// Why it would end with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_refused: Option<String>,
    devices: &'a [DeviceInfo],
}

#[derive(Serialize)]
struct Auto<'a> {
    device: &'a str,
    port: u8,
    gid_index: u8,
}

/// Asks the devices and prints what they say.
pub fn run(args: Args) -> Result<(), CliError> {
    let failed = |e: &dyn std::error::Error| CliError::Failed(e.to_string());
    let devices = verbs::devices().map_err(|e| failed(&e))?;
    let auto = verbs::auto(&devices, &PortChoice::default());
    show::print(&if args.json {
        show::json(&Listing {
            auto_refused: auto.as_ref().err().map(OpenError::to_string),
            auto: auto.ok().flatten().map(|chosen| Auto {
                device: &chosen.device.name,
                port: chosen.port.number,
                gid_index: chosen.gid.index,
            }),
            devices: &devices,
        })?
    } else {
        human(&devices, &auto)
    })
}

fn human(devices: &[DeviceInfo], auto: &Result<Option<Chosen<'_>>, OpenError>) -> String {
    let mut text = String::new();
    for device in devices {
        let mut rows = vec![("device", device.name.clone()), ("vendor", vendor(device))];
        for port in &device.ports {
            rows.push(("port", line(port)));
            let gids = port.gids.iter();
            rows.extend(gids.map(|g| {
                (
                    "",
                    format!("GID {}: {} ({})", g.index, g.gid, g.kind.as_str()),
                )
            }));
        }
        rows.push(("limits", limits(&device.limits)));
        text += &show::table(&rows);
        text.push('\n');
    }
    // Writing to a string does not fail.
    let _ = match auto {
        Err(error) => writeln!(text, "--device auto fails: {error}"),
        Ok(Some(chosen)) => writeln!(
            text,
            "--device auto takes {}, port {}, GID {} ({})",
            chosen.device.name, chosen.port.number, chosen.gid.index, chosen.gid.gid
        ),
        Ok(None) if devices.is_empty() => {
            writeln!(text, "no RDMA device; --device auto takes none")
        }
        Ok(None) => writeln!(text, "no port is active; --device auto takes none"),
    };
    text
}

fn vendor(device: &DeviceInfo) -> String {
    let firmware = match &*device.firmware {
        "" => "no firmware version",
        version => &format!("firmware {version}"),
    };
    format!(
        "{:#06x}, part {}, {firmware}, node GUID {:#018x}",
        device.vendor_id, device.vendor_part_id, device.node_guid
    )
}

fn line(port: &PortInfo) -> String {
    format!(
        "{}: {}, {}, LID {}, MTU {}",
        port.number,
        port.state.as_str(),
        port.link_layer.as_str(),
        port.lid,
        port.active_mtu
    )
}

fn limits(limits: &Limits) -> String {
    format!(
        "{} READs in flight and {} served a queue pair, {} queue pairs, {} memory regions of {}, \
         {} completions a queue",
        limits.max_qp_init_rd_atom,
        limits.max_qp_rd_atom,
        limits.max_qp,
        limits.max_mr,
        show::bytes(limits.max_mr_size),
        limits.max_cqe
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::{Gid, GidInfo, GidKind, LinkLayer, PortState};

    #[test]
    fn a_device_is_told_with_what_auto_takes_of_it() {
        let address: std::net::Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
        let gid = GidInfo {
            index: 1,
            gid: Gid(address.octets()),
            kind: GidKind::RoceV2,
        };
        let device = DeviceInfo {
            name: "rxe0".into(),
            node_guid: 0x0011_22ff_fe33_4455,
            vendor_id: 0x02c9,
            vendor_part_id: 4119,
            firmware: "16.35.2000".into(),
            ports: vec![PortInfo {
                number: 1,
                state: PortState::Active,
                link_layer: LinkLayer::Ethernet,
                lid: 0,
                active_mtu: 4096,
                gids: vec![gid],
            }],
            limits: Limits {
                max_qp: 1000,
                max_cqe: 32767,
                max_mr: 500,
                max_mr_size: 1 << 40,
                max_qp_rd_atom: 16,
                max_qp_init_rd_atom: 8,
                ..Limits::default()
            },
        };
        let devices = [device];
        let auto = verbs::auto(&devices, &PortChoice::default());
        let expected = "\
device  rxe0
vendor  0x02c9, part 4119, firmware 16.35.2000, node GUID 0x001122fffe334455
port    1: active, Ethernet, LID 0, MTU 4096
        GID 1: ::ffff:10.0.0.1 (RoCE v2)
limits  8 READs in flight and 16 served a queue pair, 1000 queue pairs, 500 memory regions of 1 TiB, 32767 completions a queue

--device auto takes rxe0, port 1, GID 1 (::ffff:10.0.0.1)
";
        assert_eq!(human(&devices, &auto), expected);
    }

    #[test]
    fn a_host_without_a_device_is_told_so() {
        assert_eq!(
            human(&[], &Ok(None)),
            "no RDMA device; --device auto takes none\n"
        );
    }
}
