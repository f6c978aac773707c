//! Global identifiers: a port's addresses.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A port's address, 16 bytes in network order.
///
/// A RoCE v2 one is the IPv6 address packets go to, or an IPv4-mapped one. Its text is that of
/// the address; serialised it is text where people read the format, 16 bytes elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gid(pub [u8; 16]);

impl Gid {
    /// The address as IPv6 has it.
    pub fn address(self) -> Ipv6Addr {
        Ipv6Addr::from(self.0)
    }

    /// Whether it stands for an IPv4 address.
    pub fn is_ipv4(self) -> bool {
        self.address().to_ipv4_mapped().is_some()
    }

    /// Whether it is only good on its own link.
    pub fn is_link_local(self) -> bool {
        self.address().is_unicast_link_local()
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl Serialize for Gid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Gid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Ipv6Addr::deserialize(from).map(|a| Self(a.octets()));
        }
        from.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl de::Visitor<'_> for Bytes {
    type Value = Gid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the 16 bytes of a GID")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Gid, E> {
        let bytes = bytes.try_into();
        bytes.map(Gid).map_err(|_| E::custom("a GID has 16 bytes"))
    }
}

/// What a GID belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GidKind {
    /// InfiniBand.
    Ib,
    /// RDMA in Ethernet frames of its own, not routed.
    RoceV1,
    /// RDMA over UDP.
    RoceV2,
}

impl GidKind {
    /// The name people use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ib => "IB",
            Self::RoceV1 => "RoCE v1",
            Self::RoceV2 => "RoCE v2",
        }
    }
}

/// An entry of a port's GID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GidInfo {
    /// Its place in the table.
    pub index: u8,
    /// The address.
    pub gid: Gid,
    /// What it belongs to.
    pub kind: GidKind,
}

/// The entry to use when nobody named one: RoCE v2, IPv4 before other routable addresses; else
/// InfiniBand's first. A link-local one does when there is nothing better.
pub(super) fn best(gids: &[GidInfo]) -> Option<&GidInfo> {
    let rank = |g: &GidInfo| match g.kind {
        GidKind::RoceV2 if g.gid.is_ipv4() => Some(0),
        GidKind::RoceV2 if !g.gid.is_link_local() => Some(1),
        GidKind::Ib => Some(2),
        GidKind::RoceV2 => Some(3),
        GidKind::RoceV1 => None,
    };
    let usable = gids.iter().filter_map(|g| Some((rank(g)?, g.index, g)));
    usable
        .min_by_key(|&(rank, index, _)| (rank, index))
        .map(|(_, _, g)| g)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u8, text: &str, kind: GidKind) -> GidInfo {
        let gid = Gid(text.parse::<Ipv6Addr>().unwrap().octets());
        GidInfo { index, gid, kind }
    }

    #[test]
    fn the_text_of_a_gid_is_the_address_it_stands_for() {
        let text = |t: &str| entry(0, t, GidKind::Ib).gid.to_string();
        assert_eq!(text("fe80::1"), "fe80::1");
        assert_eq!(text("::ffff:10.0.0.1"), "::ffff:10.0.0.1");
    }

    #[test]
    fn ipv4_over_roce_v2_is_preferred_and_roce_v1_never_taken() {
        let all = [
            entry(0, "fe80::1", GidKind::RoceV2),
            entry(1, "::ffff:10.0.0.1", GidKind::RoceV1),
            entry(2, "2001:db8::1", GidKind::RoceV2),
            entry(3, "::ffff:10.0.0.1", GidKind::RoceV2),
            entry(4, "::ffff:10.0.0.2", GidKind::RoceV2),
        ];
        let chosen = |gids: &[GidInfo]| best(gids).map(|g| g.index);
        assert_eq!(chosen(&all), Some(3));
        assert_eq!(chosen(&all[..3]), Some(2));
        assert_eq!(
            chosen(&all[..2]),
            Some(0),
            "link-local when there is nothing else"
        );
        assert_eq!(chosen(&all[1..2]), None);
        assert_eq!(chosen(&[entry(0, "fe80::1", GidKind::Ib)]), Some(0));
    }

    #[test]
    fn a_gid_is_16_bytes_to_programs_and_text_to_people() {
        let gid = entry(0, "::ffff:10.0.0.1", GidKind::Ib).gid;
        let packed = rmp_serde::to_vec(&gid).unwrap();
        assert_eq!(packed.len(), 18, "a header of two bytes and 16");
        assert_eq!(rmp_serde::from_slice::<Gid>(&packed).unwrap(), gid);
        let short = rmp_serde::from_slice::<Gid>(&[0xc4, 1, 0]);
        assert!(short.unwrap_err().to_string().contains("16 bytes"));
        assert_eq!(serde_json::to_string(&gid).unwrap(), "\"::ffff:10.0.0.1\"");
        assert_eq!(
            serde_json::from_str::<Gid>("\"::ffff:10.0.0.1\"").unwrap(),
            gid
        );
    }
}
