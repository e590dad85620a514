//! What happens, for people and programs: the lines that `pinhole agent` and `pinhole registry` print, and with `--json` emit
//! one object a line. Field names and the `event` tag are stable.

use core::net::SocketAddr;

use pinhole_traversal::vantage::Mapping;
use pinhole_wg::Key;
use serde::{Serialize, Serializer};

/// Something that a person watching would want to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The way to the registry works.
    RegistryUp,
    /// The way to the registry does not work.
    RegistryDown,
    /// The registry sees this host at a new endpoint: the mapping as the outermost NAT gave it.
    Observed {
        /// Address and port on the outside.
        endpoint: SocketAddr,
    },
    /// How the NAT in front of the WireGuard port maps: the same endpoint towards all, or another towards each.
    Mapping {
        /// The verdict.
        #[serde(serialize_with = "mapping_name")]
        mapping: Mapping,
    },
    /// The registry is asked where a peer is.
    Asked {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
    },
    /// The registry, or a server like it, said where a peer is.
    Answered {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Its endpoint as the registry sees it.
        endpoint: SocketAddr,
        /// Is the peer told of us at the same moment?
        simultaneous: bool,
        /// Is it we who knock?
        initiate: bool,
    },
    /// Nobody knows where a peer is.
    Absent {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
    },
    /// The registry's relay is tried: there is no direct path, or not yet.
    Relaying {
        /// Towards which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where the relay takes its packets.
        relay: SocketAddr,
    },
    /// One of the two NATs maps anew towards everybody, so one of the two has to be looked for.
    Hunting {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where the registry sees it.
        endpoint: SocketAddr,
        /// Is it we who look?
        looks: bool,
    },
    /// There is a way from WireGuard's port to the peer's, and both have proven who they are.
    Hole {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where it is.
        endpoint: SocketAddr,
    },
    /// There is none.
    NoHole {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Why.
        reason: String,
    },
    /// A low-TTL packet left from the WireGuard port, to open our NAT.
    Opener {
        /// For which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where it was sent.
        to: SocketAddr,
        /// Its TTL.
        ttl: u8,
    },
    /// A handshake was started.
    Handshake {
        /// With which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where it was sent.
        endpoint: SocketAddr,
    },
    /// A sign of life was asked for through the tunnel.
    Probe {
        /// From which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
    },
    /// The path to a peer works.
    Up {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Where the device sends to.
        endpoint: Option<SocketAddr>,
        /// Milliseconds since the path was found missing; none if it worked from the start.
        after_ms: Option<u64>,
        /// It leads through the registry's relay, which is left when there is a direct one.
        relayed: bool,
    },
    /// The path to a peer no longer works.
    Down {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
    },
    /// An attempt failed.
    Failed {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Milliseconds until the next attempt.
        pause_ms: u64,
    },
    /// A peer announced in the zone was added to the device.
    Added {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// The prefixes it was given.
        allowed_ips: Vec<String>,
    },
    /// A peer announced in the zone was not added.
    Refused {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// What the policy has against it.
        reason: String,
    },
    /// Registry: questions are answered here.
    Listening {
        /// Where.
        address: SocketAddr,
        /// Are only peers heard, through the tunnel?
        tunnel: bool,
    },
    /// Registry: agents are told here how their NATs map.
    ListeningStun {
        /// Where.
        address: SocketAddr,
    },
    /// Registry: a peer has an endpoint that is new or has changed.
    Peer {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// Its endpoint as the device sees it.
        endpoint: SocketAddr,
    },
    /// Registry: a peer is no longer there, or has no endpoint any more.
    Gone {
        /// Which peer.
        #[serde(serialize_with = "key")]
        peer: Key,
    },
    /// Registry: two peers were told of each other at the same moment.
    Introduced {
        /// The one that asked.
        #[serde(serialize_with = "key")]
        peer: Key,
        /// The one it asked for.
        #[serde(serialize_with = "key")]
        to: Key,
    },
    /// The WireGuard device could not be read or changed.
    DeviceFailed {
        /// Its name.
        device: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// The WireGuard device can be read again.
    DeviceBack {
        /// Its name.
        device: String,
    },
}

fn key<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&key.to_base64())
}

fn mapping_name<S: Serializer>(mapping: &Mapping, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match mapping {
        Mapping::Unknown => "unknown",
        Mapping::Independent => "endpoint-independent",
        Mapping::Dependent => "endpoint-dependent",
    })
}
