//! A WireGuard device as a reader sees it, and a change to one as a writer asks for it. Both control planes, the kernel's
//! generic netlink family and the UAPI socket, carry exactly this.

use core::net::SocketAddr;
use core::time::Duration;

use ipnet::IpNet;

use crate::{Key, PresharedKey, PrivateKey};

/// What a device answers when asked for its state (`WG_CMD_GET_DEVICE`, UAPI `get=1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its private key, if it has one.
    pub private_key: Option<PrivateKey>,
    /// Its public key, if it has one.
    pub public_key: Option<Key>,
    /// The UDP port it listens on; 0 while it is down and none was chosen.
    pub listen_port: u16,
    /// The mark of its outgoing packets; 0 for none.
    pub fwmark: u32,
    /// Its peers, in the order the device gave them.
    pub peers: Vec<Peer>,
}

/// One peer of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub public_key: Key,
    /// The key both sides share in advance, if any.
    pub preshared_key: Option<PresharedKey>,
    /// Where its last authenticated packet came from, or where it was said to be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 for none.
    pub keepalive: u16,
    /// When the last handshake completed, since the Unix epoch; none if never.
    pub last_handshake: Option<Duration>,
    /// Bytes received from it, as the device counts them.
    pub rx_bytes: u64,
    /// Bytes sent to it, as the device counts them.
    pub tx_bytes: u64,
    /// The prefixes it may send from and is sent to.
    pub allowed_ips: Vec<IpNet>,
}

impl Peer {
    /// A peer that nothing but its key is known of.
    pub const fn new(public_key: Key) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            keepalive: 0,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: Vec::new(),
        }
    }
}

/// A change to a device (`WG_CMD_SET_DEVICE`, UAPI `set=1`). What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceUpdate {
    /// A new private key; all zero removes it.
    pub private_key: Option<PrivateKey>,
    /// A new port to listen on.
    pub listen_port: Option<u16>,
    /// A new mark; 0 removes it.
    pub fwmark: Option<u32>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// Changes to peers, carried out in order.
    pub peers: Vec<PeerUpdate>,
}

/// A change to one peer. What is `None` stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUpdate {
    /// Which peer.
    pub public_key: Key,
    /// Remove it.
    pub remove: bool,
    /// Do nothing if the device does not have it.
    pub update_only: bool,
    /// A new preshared key; all zero removes it.
    pub preshared_key: Option<PresharedKey>,
    /// A new endpoint.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 turns them off.
    pub keepalive: Option<u16>,
    /// Remove all its prefixes first.
    pub replace_allowed_ips: bool,
    /// Prefixes to add.
    pub allowed_ips: Vec<IpNet>,
    /// Start a handshake now, whatever WireGuard's 5 s retry timer says. Neither the kernel nor the UAPI has a word for it:
    /// our own device understands it, for the others `host` removes the peer and adds it again, which has the same effect.
    /// Asked only while there is no session to lose.
    pub handshake: bool,
}

impl PeerUpdate {
    /// A change to `public_key` that, as it stands, adds the peer if it is missing and else does nothing.
    pub const fn new(public_key: Key) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
            handshake: false,
        }
    }

    /// The removal of `public_key`.
    pub fn removal(public_key: Key) -> Self {
        Self { remove: true, ..Self::new(public_key) }
    }
}
