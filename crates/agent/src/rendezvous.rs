//! How an agent and the registry tell more than plain DNS-SD can: an EDNS option that ordinary servers ignore.
//!
//! Plain DNS-SD says where a peer is, not when to call it. Two sides that act at different moments lose their first packets
//! at each other's NAT, and may poison it. So an agent adds this option to two kinds of questions, and the registry may hold
//! the answer until it has something to say:
//!
//! - **Seek**: `SRV` of a peer. "I want a path to it now." Answered when the peer can be told in the same moment.
//! - **Watch**: `PTR` of `_<my label>._sub._wireguard._udp.<zone>`, a DNS-SD subtype (RFC 6763 §7.1): the peers that want
//!   *me*. Held until there is one.
//!
//! The asker is known by the tunnel address the question comes from, which WireGuard's cryptokey routing has proven.
//! A server that does not know the option (wgsd, a recursive resolver) answers as ever; the missing option in the answer
//! tells the agent.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The option code: in the range for local and experimental use (RFC 6891 §9).
pub const OPTION_CODE: u16 = 65_432;

const VERSION: u8 = 1;

/// What the asker wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where is this peer, and tell it that I am about to call.
    Seek,
    /// Who is about to call me?
    Watch,
}

/// The option in a question: `version, kind, wait_ms (2 octets)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the asker wants to know.
    pub kind: Kind,
    /// How long the registry may hold the question, in milliseconds.
    pub wait_ms: u16,
}

/// The option in an answer: `version, flags, then the asker's endpoint as family, port (2 octets), address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The other side is being told in this moment and will open its NAT.
    pub simultaneous: bool,
    /// The asker is the one to knock. Meaningful only if simultaneous.
    pub initiate: bool,
    /// Where the registry sees the asker.
    pub observed: Option<SocketAddr>,
}

impl Ask {
    /// The option's data.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Seek => 1,
            Kind::Watch => 2,
        };
        let [high, low] = self.wait_ms.to_be_bytes();
        vec![VERSION, kind, high, low]
    }

    /// Reads the option's data; `None` if it is not one of ours.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let &[VERSION, kind, high, low] = data else { return None };
        let kind = match kind {
            1 => Kind::Seek,
            2 => Kind::Watch,
            _ => return None,
        };
        Some(Self { kind, wait_ms: u16::from_be_bytes([high, low]) })
    }
}

impl Told {
    const SIMULTANEOUS: u8 = 1;
    const INITIATE: u8 = 2;

    /// The option's data.
    pub fn encode(self) -> Vec<u8> {
        let simultaneous = if self.simultaneous { Self::SIMULTANEOUS } else { 0 };
        let initiate = if self.initiate { Self::INITIATE } else { 0 };
        let mut data = vec![VERSION, simultaneous | initiate];
        match self.observed {
            None => data.push(0),
            Some(SocketAddr::V4(v4)) => {
                data.push(4);
                data.extend(v4.port().to_be_bytes());
                data.extend(v4.ip().octets());
            }
            Some(SocketAddr::V6(v6)) => {
                data.push(6);
                data.extend(v6.port().to_be_bytes());
                data.extend(v6.ip().octets());
            }
        }
        data
    }

    /// Reads the option's data; `None` if it is not one of ours.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let [VERSION, flags, family, rest @ ..] = data else { return None };
        let observed = match (family, rest) {
            (0, []) => None,
            (4, [p0, p1, ip @ ..]) => {
                let ip: [u8; 4] = ip.try_into().ok()?;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), u16::from_be_bytes([*p0, *p1])))
            }
            (6, [p0, p1, ip @ ..]) => {
                let ip: [u8; 16] = ip.try_into().ok()?;
                Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), u16::from_be_bytes([*p0, *p1])))
            }
            _ => return None,
        };
        Some(Self { simultaneous: flags & Self::SIMULTANEOUS != 0, initiate: flags & Self::INITIATE != 0, observed })
    }
}

#[cfg(test)]
mod tests;
