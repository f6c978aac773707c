//! Settings that are one of a few names.

use super::kind::{Choice, Kind};
use super::raw::Raw;
use crate::verbs::DeviceChoice;

/// The longest name of a device, bytes (IB_DEVICE_NAME_MAX, without the zero byte that ends it).
const DEVICE_NAME_BYTES_MAX: usize = 63;

pub(super) struct Device;
pub(super) const DEVICE: Device = Device;

impl Kind for Device {
    type Value = DeviceChoice;

    fn allowed(&self) -> String {
        format!(
            "auto, none, or a device's name (rdma-engine devices lists them) of 1 to \
             {DEVICE_NAME_BYTES_MAX} letters, digits and _.-"
        )
    }

    fn parse(&self, raw: &Raw) -> Result<DeviceChoice, String> {
        let scalar = raw.scalar()?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        match scalar.text()? {
            "auto" => Ok(DeviceChoice::Auto),
            "none" => Ok(DeviceChoice::None),
            name if (1..=DEVICE_NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(allowed) =>
            {
                Ok(DeviceChoice::Named(name.to_owned()))
            }
            text => Err(format!("{text:?} can not be a device's name")),
        }
    }

    fn print(&self, value: &DeviceChoice) -> Option<toml::Value> {
        let text = match value {
            DeviceChoice::Auto => "auto",
            DeviceChoice::None => "none",
            DeviceChoice::Named(name) => name,
        };
        Some(toml::Value::String(text.to_owned()))
    }
}

/// How needles travel between engine and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportChoice {
    /// By RDMA where both sides have a device, else over TCP.
    Auto,
    /// By RDMA or not at all.
    Verbs,
    /// Over TCP, even where there are devices.
    Tcp,
}

pub(super) const TRANSPORTS: Choice<TransportChoice> = Choice {
    names: &[
        ("auto", TransportChoice::Auto),
        ("verbs", TransportChoice::Verbs),
        ("tcp", TransportChoice::Tcp),
    ],
};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

pub(super) const LOG_FORMATS: Choice<LogFormat> = Choice {
    names: &[("text", LogFormat::Text), ("json", LogFormat::Json)],
};

/// Whether the pool lies on huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Huge pages where the host has enough of them, else ordinary ones.
    Auto,
    /// Huge pages or no start.
    Require,
    /// Ordinary pages.
    Never,
}

pub(super) const HUGEPAGES: Choice<Hugepages> = Choice {
    names: &[
        ("auto", Hugepages::Auto),
        ("require", Hugepages::Require),
        ("never", Hugepages::Never),
    ],
};
