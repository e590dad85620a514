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
//! An asker says in it how its NAT maps, and what two that are brought together need to find each other where one of them cannot
//! be called at the endpoint that the registry sees: a [`Party`] for each peer that the answer names, in its order, with a
//! session number that both are told.
//!
//! The asker is known by the tunnel address the question comes from, which WireGuard's cryptokey routing has proven.
//! A server that does not know the option (wgsd, a recursive resolver) answers as ever; the missing option in the answer
//! tells the agent.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZero;

use pinhole_traversal::ports::Guess;

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

/// A meeting with one other: `length, session (8 octets), relay (2 octets), length of the first guess, guesses`. Both sides are told the same two
/// guesses, so both come to the same conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// A number that this pair has for this meeting only.
    pub session: [u8; 8],
    /// The port of the registry's host that WireGuard's packets to the other side can be sent to, if need be.
    pub relay: Option<NonZero<u16>>,
    /// What the other side is told of the asker's NAT.
    pub ours: Option<Guess>,
    /// What the other side has said of its own.
    pub theirs: Option<Guess>,
}

/// The option in a question: `version, kind, wait_ms (2 octets), guess`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the asker wants to know.
    pub kind: Kind,
    /// How long the registry may hold the question, in milliseconds.
    pub wait_ms: u16,
    /// What the asker knows of its NAT, if anything.
    pub nat: Option<Guess>,
}

/// The option in an answer: `version, flags, then the asker's endpoint as family, port (2 octets), address, then parties`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The other side is being told in this moment and will open its NAT.
    pub simultaneous: bool,
    /// The asker is the one to knock. Meaningful only if simultaneous.
    pub initiate: bool,
    /// Where the registry sees the asker.
    pub observed: Option<SocketAddr>,
    /// The peers that the answer names, in its order; none from a registry that does not know them.
    pub parties: Vec<Party>,
}

impl Ask {
    /// The option's data.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Seek => 1,
            Kind::Watch => 2,
        };
        let [high, low] = self.wait_ms.to_be_bytes();
        let mut data = vec![VERSION, kind, high, low];
        data.extend(self.nat.iter().flat_map(Guess::encode));
        data
    }

    /// Reads the option's data; `None` if it is not one of ours.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let [VERSION, kind, high, low, nat @ ..] = data else { return None };
        let kind = match kind {
            1 => Kind::Seek,
            2 => Kind::Watch,
            _ => return None,
        };
        Some(Self { kind, wait_ms: u16::from_be_bytes([*high, *low]), nat: Guess::decode(nat).ok() })
    }
}

impl Told {
    const SIMULTANEOUS: u8 = 1;
    const INITIATE: u8 = 2;

    /// The option's data.
    pub fn encode(&self) -> Vec<u8> {
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
        for party in &self.parties {
            let at = data.len();
            data.push(0);
            data.extend(party.session);
            data.extend(party.relay.map_or(0, NonZero::get).to_be_bytes());
            let [ours, theirs] =
                [&party.ours, &party.theirs].map(|nat| nat.as_ref().map(Guess::encode).unwrap_or_default());
            // A guess has 18 octets at most.
            data.push(ours.len() as u8);
            data.extend([ours, theirs].concat());
            data[at] = (data.len() - at - 1) as u8;
        }
        data
    }

    /// Reads the option's data; `None` if it is not one of ours.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let [VERSION, flags, family, rest @ ..] = data else { return None };
        let (observed, rest) = match (family, rest) {
            (0, rest) => (None, rest),
            (4, [p0, p1, a, b, c, d, rest @ ..]) => {
                (Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), u16::from_be_bytes([*p0, *p1]))), rest)
            }
            (6, [p0, p1, rest @ ..]) => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                (Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*ip)), u16::from_be_bytes([*p0, *p1]))), rest)
            }
            _ => return None,
        };
        let (simultaneous, initiate) = (flags & Self::SIMULTANEOUS != 0, flags & Self::INITIATE != 0);
        Some(Self { simultaneous, initiate, observed, parties: parties(rest)? })
    }
}

/// Reads all of them; `None` if one is cut off.
fn parties(mut data: &[u8]) -> Option<Vec<Party>> {
    let mut parties = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (party, rest) = rest.split_at_checked(usize::from(*length))?;
        let (session, party) = party.split_first_chunk()?;
        let (relay, guesses) = party.split_first_chunk()?;
        let (length, guesses) = guesses.split_first()?;
        let (ours, theirs) = guesses.split_at_checked(usize::from(*length))?;
        // A guess of a later version is none.
        let [ours, theirs] = [ours, theirs].map(|nat| Guess::decode(nat).ok());
        let relay = NonZero::new(u16::from_be_bytes(*relay));
        parties.push(Party { session: *session, relay, ours, theirs });
        data = rest;
    }
    Some(parties)
}

#[cfg(test)]
mod tests;
