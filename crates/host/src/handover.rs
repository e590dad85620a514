//! Gives WireGuard a hole that another socket punched.
//!
//! The model: behind a NAT that maps per destination, the mapping that reaches a peer belongs to the port of one of the
//! [extra sockets](crate::extra). A [`Handover`] makes WireGuard's packets to that one endpoint leave from that port, and
//! those that come from it arrive at WireGuard's: two rules that write the port into the packet, in a table of their own for
//! each device and peer. WireGuard, the kernel's or another, is not touched, and neither is what it sends to other peers.
//!
//! The ports are written below connection tracking: before it on the way out, behind it on the way in. So the flow that the
//! socket began goes on, whether this host tracks or translates it or not; there is no second flow to clash with it, none to
//! delete, and a firewall that lets established flows in lets it in. (Source NAT would need both flows deleted first, and a
//! packet of the peer that comes before WireGuard's own would make a third that is in the way.)
//!
//! The rules outlive this process if it dies, so that the tunnel does, too: [`list`] finds them, [`Left::adopt`] takes them
//! over, [`clean`] removes them.
//!
//! Not here: ICMP errors about the packets quote the port that WireGuard does not know, and so do not reach it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use pinhole_wg::Key;

use crate::nft::{self, Chain, Family, Hook, Installed, Policy, Rule, Ruleset};

/// What the name of every table begins with.
const PREFIX: &str = "pinhole_hole_";
const OUT: &str = "out";
const IN: &str = "in";
/// How many hexadecimal digits of a peer's key are in the name: as good as unique on one device.
const DIGITS: usize = 16;

/// A hole, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// WireGuard's port.
    pub own: u16,
    /// The port of the socket that punched it.
    pub punched: u16,
    /// The peer's endpoint.
    pub remote: SocketAddr,
}

/// A hole that WireGuard has; dropping it takes the rules out.
#[derive(Debug)]
pub struct Handover {
    device: String,
    peer: String,
    hole: Hole,
    installed: Installed,
}

/// What went through a hole. The socket's own packets are not among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets of WireGuard's.
    pub sent: u64,
    /// Packets for WireGuard.
    pub received: u64,
}

/// A hole that is in the kernel, of this process or of one that died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Of which WireGuard device.
    pub device: String,
    /// The first 16 hexadecimal digits of its peer's key.
    pub peer: String,
    /// The hole.
    pub hole: Hole,
    table: nft::Table,
}

/// Why a hole could not be handed over, found or removed.
#[derive(Debug)]
pub struct Error {
    attempt: Attempt,
    source: nft::Error,
}

/// What could not be done.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    HandOver,
    Look,
    Remove,
}

impl Handover {
    /// Hands `hole` to the WireGuard `device` for this peer, in the calling thread's network namespace, in the place of the
    /// one that the peer has. From then on nothing must be sent from the socket that punched it, only from WireGuard's own
    /// port; the socket receives nothing more from the peer and may be closed.
    ///
    /// # Errors
    /// No privilege, no nf_tables. Then nothing has changed.
    pub fn install(device: &str, peer: &Key, hole: Hole) -> Result<Self, Error> {
        let peer = digits(peer);
        let installed = ruleset(device, &peer, hole).replace().map_err(Attempt::HandOver.failed())?;
        Ok(Self { device: device.to_owned(), peer, hole, installed })
    }

    /// The hole.
    pub fn hole(&self) -> Hole {
        self.hole
    }

    /// What went through it; `None` if someone has removed the rules, as restarting a firewall does.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn traffic(&mut self) -> Result<Option<Traffic>, Error> {
        let counts = self.installed.counts().map_err(Attempt::Look.failed())?;
        let sum = |chain: &str| counts.iter().filter(|count| count.chain == chain).map(|count| count.packets).sum();
        Ok((!counts.is_empty()).then(|| Traffic { sent: sum(OUT), received: sum(IN) }))
    }

    /// Puts the rules back if someone has removed them, and says whether.
    ///
    /// # Errors
    /// As [`install`](Self::install).
    pub fn restore(&mut self) -> Result<bool, Error> {
        let is_missing = self.traffic()?.is_none();
        if is_missing {
            let anew = ruleset(&self.device, &self.peer, self.hole).replace();
            self.installed = anew.map_err(Attempt::HandOver.failed())?;
        }
        Ok(is_missing)
    }
}

/// The holes in this network namespace.
///
/// # Errors
/// No privilege, no nf_tables.
pub fn list() -> Result<Vec<Left>, Error> {
    let tables = nft::tables(PREFIX).map_err(Attempt::Look.failed())?;
    Ok(tables.into_iter().filter_map(Left::read).collect())
}

/// Takes out the rules of every hole of `device`, or of all for `None`, and says which those were. Those of a running agent
/// are among them.
///
/// # Errors
/// No privilege, no nf_tables.
pub fn clean(device: Option<&str>) -> Result<Vec<Left>, Error> {
    let mut left = list()?;
    left.retain(|one| device.is_none_or(|device| one.device == device));
    left.iter().try_for_each(|one| one.table.delete()).map_err(Attempt::Remove.failed())?;
    Ok(left)
}

impl Left {
    /// Whether its peer has this key.
    pub fn is_for(&self, peer: &Key) -> bool {
        self.peer == digits(peer)
    }

    /// Takes it over from the process that left it. Nothing changes for the packets.
    ///
    /// # Errors
    /// No netlink.
    pub fn adopt(self) -> Result<Handover, Error> {
        let Self { device, peer, hole, table } = self;
        Ok(Handover { device, peer, hole, installed: table.adopt().map_err(Attempt::Look.failed())? })
    }

    fn read(table: nft::Table) -> Option<Self> {
        let (_, peer) = table.name.rsplit_once('_')?;
        let (device, hole) = table.comments.iter().find_map(|comment| comment.split_once(": "))?;
        Some(Self { device: device.to_owned(), peer: peer.to_owned(), hole: hole.parse().ok()?, table })
    }
}

fn digits(peer: &Key) -> String {
    let mut digits = peer.to_hex();
    digits.truncate(DIGITS);
    digits
}

/// The table of one hole.
fn ruleset(device: &str, peer: &str, hole: Hole) -> Ruleset {
    let Hole { own, punched, remote } = hole;
    let (host, port) = (remote.ip(), remote.port());
    let outward = Rule::new().udp().to_address(host).to_port(port).from_port(own).counter().set_source_port(punched);
    let outward = outward.comment(format!("{device}: {hole}"));
    let inward = Rule::new().udp().from_address(host).from_port(port).to_port(punched).counter();
    let inward = inward.set_destination_port(own);
    let chain = |name, hook, rule: Rule| {
        // A packet of IPv6 always has a checksum (RFC 8200 §8.1).
        let rules = if remote.is_ipv4() { vec![rule.clone().without_sum(), rule] } else { vec![rule] };
        Chain { name, hook, policy: Policy::Accept, rules }
    };
    Ruleset {
        family: if remote.is_ipv4() { Family::V4 } else { Family::V6 },
        table: format!("{PREFIX}{}_{peer}", identifier(device)),
        comment: format!("made by pinhole (process {}) so that {device} reaches a peer", std::process::id()),
        chains: vec![chain(OUT, Hook::EarlyOutput, outward), chain(IN, Hook::EarlyInput, inward)],
    }
}

/// The name of an interface with those characters that `nft` takes in the name of a table.
fn identifier(device: &str) -> String {
    device.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_")
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {} to {}", self.own, self.punched, self.remote)
    }
}

/// What [`Display`](fmt::Display) writes.
impl FromStr for Hole {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (own, rest) = text.split_once(" as ").ok_or(())?;
        let (punched, remote) = rest.split_once(" to ").ok_or(())?;
        let port = |text: &str| text.parse().map_err(|_| ());
        Ok(Self { own: port(own)?, punched: port(punched)?, remote: remote.parse().map_err(|_| ())? })
    }
}

impl Attempt {
    fn failed(self) -> impl Fn(nft::Error) -> Error {
        move |source| Error { attempt: self, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.attempt {
            Attempt::HandOver => "WireGuard cannot be given a punched hole, so this peer keeps the path it has: ",
            Attempt::Look => "cannot look for punched holes that WireGuard was given: ",
            Attempt::Remove => "cannot take a punched hole from WireGuard: ",
        })?;
        match &self.source {
            nft::Error::NoNfTables => {
                f.write_str("the kernel has no nf_tables (`modprobe nf_tables`, or one with CONFIG_NF_TABLES)")
            }
            error @ (nft::Error::Permission | nft::Error::Refused { .. }) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests;
