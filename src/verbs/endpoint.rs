//! What one side of a connection tells the other about its queue pair.

use serde::{Deserialize, Serialize};

use super::gid::Gid;

/// Queue pair numbers and packet sequence numbers have 24 bits.
pub const NUMBERS: std::ops::Range<u32> = 0..1 << 24;

/// MTUs there are, in bytes; an `ibv_mtu` is the place in here, from 1.
const MTUS: [u16; 5] = [256, 512, 1024, 2048, 4096];

/// A queue pair as its peer needs to know it. Deserialised, it has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Endpoint {
    /// Queue pair number, 24 bits.
    pub qpn: u32,
    /// The first packet sequence number it sends, random, 24 bits.
    pub psn: u32,
    /// Its port's address.
    pub gid: Gid,
    /// Its port's local id; 0 where there are none (RoCE).
    pub lid: u16,
    /// Its port's MTU: 256, 512, 1024, 2048 or 4096 bytes.
    pub mtu: u16,
    /// READs it serves at once (a responder), or would like to have outstanding (a requester);
    /// at least 1.
    pub max_reads: u8,
}

/// What a peer sent, before it is looked at.
#[derive(Deserialize)]
struct Unchecked {
    qpn: u32,
    psn: u32,
    gid: Gid,
    lid: u16,
    mtu: u16,
    max_reads: u8,
}

/// Why an endpoint can not be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// More than 24 bits.
    #[error("{what} {value} of an endpoint has more than 24 bits")]
    Number {
        /// Which number.
        what: &'static str,
        /// What it was.
        value: u32,
    },
    /// No such MTU.
    #[error("MTU {0} of an endpoint is none of 256, 512, 1024, 2048 and 4096")]
    Mtu(u16),
    /// A peer that takes no READs.
    #[error("an endpoint with max_reads 0 could never be read from")]
    NoReads,
}

impl Endpoint {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), EndpointError> {
        for (what, value) in [("qpn", self.qpn), ("psn", self.psn)] {
            if !NUMBERS.contains(&value) {
                return Err(EndpointError::Number { what, value });
            }
        }
        mtu_code(self.mtu).ok_or(EndpointError::Mtu(self.mtu))?;
        if self.max_reads == 0 {
            return Err(EndpointError::NoReads);
        }
        Ok(())
    }
}

impl TryFrom<Unchecked> for Endpoint {
    type Error = EndpointError;

    fn try_from(sent: Unchecked) -> Result<Self, EndpointError> {
        let endpoint = Self {
            qpn: sent.qpn,
            psn: sent.psn,
            gid: sent.gid,
            lid: sent.lid,
            mtu: sent.mtu,
            max_reads: sent.max_reads,
        };
        endpoint.validate().map(|()| endpoint)
    }
}

/// A random packet sequence number, so that packets of a former connection are not taken for
/// those of a new one.
pub(super) fn random_psn() -> Result<u32, getrandom::Error> {
    Ok(getrandom::u32()? & (NUMBERS.end - 1))
}

/// The `ibv_mtu` of so many bytes.
pub(super) fn mtu_code(bytes: u16) -> Option<u32> {
    let place = MTUS.iter().position(|&m| m == bytes)?;
    Some(place as u32 + 1)
}

/// The bytes of an `ibv_mtu`; 256, which every device can, for one that is not known.
pub(super) fn mtu_bytes(code: u32) -> u16 {
    let place = (code as usize).checked_sub(1);
    place.and_then(|p| MTUS.get(p)).copied().unwrap_or(MTUS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            qpn: 17,
            psn: 0xff_ffff,
            gid: Gid([7; 16]),
            lid: 0,
            mtu: 1024,
            max_reads: 16,
        }
    }

    #[test]
    fn an_endpoint_survives_the_wire() {
        let sent = endpoint();
        let packed = rmp_serde::to_vec_named(&sent).unwrap();
        assert_eq!(rmp_serde::from_slice::<Endpoint>(&packed).unwrap(), sent);
    }

    #[test]
    fn an_endpoint_out_of_range_is_refused_where_it_comes_in() {
        let good = endpoint();
        #[rustfmt::skip]
        let wrong = [
            ("qpn", Endpoint { qpn: 1 << 24, ..good.clone() }),
            ("psn", Endpoint { psn: u32::MAX, ..good.clone() }),
            ("MTU 1500", Endpoint { mtu: 1500, ..good.clone() }),
            ("MTU 0", Endpoint { mtu: 0, ..good.clone() }),
            ("max_reads", Endpoint { max_reads: 0, ..good }),
        ];
        for (named, sent) in wrong {
            let packed = rmp_serde::to_vec_named(&sent).unwrap();
            let refused = rmp_serde::from_slice::<Endpoint>(&packed)
                .unwrap_err()
                .to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn mtu_codes_are_those_of_verbs() {
        for (code, bytes) in [(1, 256), (3, 1024), (5, 4096)] {
            assert_eq!((mtu_code(bytes), mtu_bytes(code)), (Some(code), bytes));
        }
        assert_eq!((mtu_bytes(0), mtu_bytes(9)), (256, 256));
    }

    #[test]
    fn sequence_numbers_have_24_bits_and_differ() {
        let some: std::collections::HashSet<u32> = (0..8).map(|_| random_psn().unwrap()).collect();
        assert!(some.len() > 1);
        assert!(some.iter().all(|psn| NUMBERS.contains(psn)));
    }
}
