//! Where a target is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::kind::Kind;
use super::raw::Raw;

/// The most peers an engine may have.
pub const PEERS_MAX: usize = 64;
/// The longest name of a peer, bytes.
pub const PEER_NAME_BYTES_MAX: usize = 64;
/// The longest host name, bytes (RFC 1035, section 2.3.4, as text), and the longest of its labels.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A target the engine reads from. `{}` is its address, `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// What clients, logs and metrics call it: the address as text unless another was given.
    pub name: String,
    /// An IP address (IPv6 without brackets) or a host name in lower case, to be resolved each
    /// time it is connected to.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

impl PeerAddress {
    /// Whether it is surely on this host: a loopback address, or localhost.
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// A peer, `[NAME=]HOST[:PORT]`.
pub(super) struct Peer {
    /// The port of one that is named without.
    pub port: u16,
}

impl Kind for Peer {
    type Value = PeerAddress;

    fn allowed(&self) -> String {
        format!(
            "HOST or HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in \
             brackets, or either after NAME= of up to {PEER_NAME_BYTES_MAX} letters, digits and \
             _.:-[]"
        )
    }

    fn parse(&self, raw: &Raw) -> Result<PeerAddress, String> {
        let scalar = raw.scalar()?;
        let text = scalar.text()?;
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (Some(name), address),
            None => (None, text),
        };
        let (host, port) = self.address(address)?;
        let mut peer = PeerAddress {
            name: String::new(),
            host,
            port,
        };
        peer.name = name.map_or_else(|| peer.to_string(), str::to_owned);
        if is_name(&peer.name) {
            return Ok(peer);
        }
        Err(match name {
            Some(name) => format!("{name:?} can not name a peer"),
            None => format!("{text:?} is too long to be a name, so it needs one"),
        })
    }

    fn print(&self, peer: &PeerAddress) -> Option<toml::Value> {
        let address = peer.to_string();
        Some(toml::Value::String(match peer.name == address {
            true => address,
            false => format!("{}={address}", peer.name),
        }))
    }
}

impl Peer {
    /// Host and port of `text`.
    fn address(&self, text: &str) -> Result<(String, u16), String> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = if let Some((ip, rest)) = bracketed {
            let ip = ip.parse::<Ipv6Addr>();
            let ip = ip.map_err(|_| format!("{text:?} has no IPv6 address in its brackets"))?;
            let port = (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or(""));
            (ip.to_string(), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if !is_host(host) {
                return Err(format!("{text:?} names no host"));
            }
            (host.to_ascii_lowercase(), port)
        };
        let port = port.map_or(Some(self.port), parse_port);
        let port = port.ok_or_else(|| format!("{text:?} has no port from 1 to 65535 at its end"));
        Ok((host, port?))
    }
}

fn is_host(text: &str) -> bool {
    // What ends in a number is an address or nothing: a resolver would take 10.1 for 10.0.0.1.
    let last = text.rsplit('.').next().unwrap_or(text);
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    text.len() <= HOST_BYTES_MAX
        && text.split('.').all(is_label)
        && (!is_number || text.parse::<Ipv4Addr>().is_ok())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn is_name(name: &str) -> bool {
    (1..=PEER_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-[]".contains(&b))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits);
    port.filter(|port| *port != 0)
}
