//! Which device, port and GID are used.

use super::device::{DeviceInfo, PortInfo, PortState};
use super::error::OpenError;
use super::gid::{self, GidInfo};

/// Which device to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first that has an active port, or none.
    #[default]
    Auto,
    /// The one of this name.
    Named(String),
    /// None, whatever there is.
    None,
}

/// Which port of the device, and which of the port's GIDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortChoice {
    /// Number of the port, from 1; `None` is the first that is active.
    pub port: Option<u8>,
    /// Index of the GID; `None` is the RoCE v2 one, for IPv4 if there is one, or InfiniBand's first.
    pub gid_index: Option<u8>,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The device.
    pub device: &'a DeviceInfo,
    /// Its port, active.
    pub port: &'a PortInfo,
    /// The port's GID.
    pub gid: GidInfo,
}

/// What [`DeviceChoice::Auto`] takes of `devices`: the first with an active port; `None` when
/// there is none.
///
/// # Errors
/// When its port does not have the GID asked for, or none that could be used.
pub fn auto<'a>(
    devices: &'a [DeviceInfo],
    ports: &PortChoice,
) -> Result<Option<Chosen<'a>>, OpenError> {
    let mut active = devices
        .iter()
        .filter_map(|d| Some((d, active_port(d, ports)?)));
    match active.next() {
        Some((device, port)) => choose_gid(device, port, ports).map(Some),
        None => Ok(None),
    }
}

/// The device called `name` and its port and GID.
///
/// # Errors
/// When one of them is not there, or the port is not active.
pub(super) fn named<'a>(
    devices: &'a [DeviceInfo],
    name: &str,
    ports: &PortChoice,
) -> Result<Chosen<'a>, OpenError> {
    let device = devices.iter().find(|d| d.name == name);
    let device = device.ok_or_else(|| OpenError::NoDevice {
        name: name.to_owned(),
        present: list(devices.iter().map(|d| d.name.clone())),
    })?;
    if let Some(port) = ports.port
        && !device.ports.iter().any(|p| p.number == port)
    {
        return Err(OpenError::NoPort {
            device: name.to_owned(),
            port,
            present: list(device.ports.iter().map(|p| p.number.to_string())),
        });
    }
    let port = active_port(device, ports).ok_or_else(|| OpenError::PortInactive {
        device: name.to_owned(),
        states: list(
            device
                .ports
                .iter()
                .map(|p| format!("{} is {}", p.number, p.state.as_str())),
        ),
    })?;
    choose_gid(device, port, ports)
}

fn active_port<'a>(device: &'a DeviceInfo, ports: &PortChoice) -> Option<&'a PortInfo> {
    let mut of_number = device
        .ports
        .iter()
        .filter(|p| ports.port.is_none_or(|n| n == p.number));
    of_number.find(|p| p.state == PortState::Active)
}

fn choose_gid<'a>(
    device: &'a DeviceInfo,
    port: &'a PortInfo,
    ports: &PortChoice,
) -> Result<Chosen<'a>, OpenError> {
    let gid = match ports.gid_index {
        Some(index) => port.gids.iter().find(|g| g.index == index),
        None => gid::best(&port.gids),
    };
    let gid = *gid.ok_or_else(|| OpenError::NoGid {
        device: device.name.clone(),
        port: port.number,
        wanted: match ports.gid_index {
            Some(index) => format!("GID of index {index}"),
            None => "RoCE v2 or InfiniBand GID".to_owned(),
        },
        present: list(
            port.gids
                .iter()
                .map(|g| format!("{}: {} ({})", g.index, g.gid, g.kind.as_str())),
        ),
    })?;
    Ok(Chosen { device, port, gid })
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::{Limits, LinkLayer};
    use super::super::gid::{Gid, GidKind};
    use super::*;

    fn device(name: &str, states: &[PortState]) -> DeviceInfo {
        let gid = GidInfo {
            index: 1,
            gid: Gid([1; 16]),
            kind: GidKind::RoceV2,
        };
        let port = |(i, &state): (usize, &PortState)| PortInfo {
            number: i as u8 + 1,
            state,
            link_layer: LinkLayer::Ethernet,
            lid: 0,
            active_mtu: 1024,
            gids: vec![gid],
        };
        DeviceInfo {
            name: name.to_owned(),
            node_guid: 1,
            vendor_id: 0,
            vendor_part_id: 0,
            firmware: String::new(),
            ports: states.iter().enumerate().map(port).collect(),
            limits: Limits::default(),
        }
    }

    fn host() -> Vec<DeviceInfo> {
        use PortState::{Active, Down};
        vec![
            device("a0", &[Down]),
            device("b0", &[Down, Active]),
            device("c0", &[Active]),
        ]
    }

    fn ports(port: Option<u8>, gid_index: Option<u8>) -> PortChoice {
        PortChoice { port, gid_index }
    }

    #[test]
    fn auto_takes_the_first_device_with_an_active_port() {
        let host = host();
        let chosen = auto(&host, &PortChoice::default()).unwrap().unwrap();
        assert_eq!((&*chosen.device.name, chosen.port.number), ("b0", 2));
        let first = auto(&host, &ports(Some(1), None)).unwrap().unwrap();
        assert_eq!(first.device.name, "c0");
        assert_eq!(auto(&host[..1], &PortChoice::default()).unwrap(), None);
        assert_eq!(auto(&[], &PortChoice::default()).unwrap(), None);
    }

    #[test]
    fn what_was_named_and_is_not_there_is_refused_with_what_there_is() {
        let host = host();
        let refused = |name: &str, choice| named(&host, name, &choice).unwrap_err().to_string();
        let absent = refused("mlx5_0", ports(None, None));
        assert!(
            absent.contains("mlx5_0") && absent.contains("a0, b0, c0"),
            "{absent}"
        );
        let port = refused("b0", ports(Some(3), None));
        assert!(port.contains("port 3") && port.contains("1, 2"), "{port}");
        let down = refused("b0", ports(Some(1), None));
        assert!(down.contains("1 is down"), "{down}");
        let gid = refused("b0", ports(None, Some(7)));
        assert!(gid.contains("index 7") && gid.contains("1: "), "{gid}");
        let nothing = named(&[], "rxe0", &PortChoice::default())
            .unwrap_err()
            .to_string();
        assert!(nothing.contains("none"), "{nothing}");
    }
}
