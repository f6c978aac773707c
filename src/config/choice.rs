//! Settings that are one of a few names.

use super::kind::Choice;

/// Which RDMA device to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The best there is; in a build without RDMA transport there is none.
    Auto,
    /// None, even where there is one.
    None,
}

pub(super) const DEVICES: Choice<Device> = Choice {
    names: &[("auto", Device::Auto), ("none", Device::None)],
    absent: " (this build has no RDMA transport yet, so no device can be named)",
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
    absent: "",
};
