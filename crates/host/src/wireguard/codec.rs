//! The bytes of the generic netlink family `wireguard` (include/uapi/linux/wireguard.h): a dump read, a change written.
//!
//! The kernel spreads a device over several messages, and a peer with many allowed-ips too: the rest of such a peer comes
//! first in the next message, with its key and prefixes only. The other way round a change is cut into messages that the
//! kernel takes whole.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use ipnet::IpNet;
use pinhole_wg::{Device, DeviceUpdate, Key, Peer, PeerUpdate, PresharedKey, PrivateKey};

use crate::netlink::generic::{FIXED, Family};
use crate::netlink::{Error, Message, Reply, attributes};

const VERSION: u8 = 1;
const CMD_GET: u8 = 0;
const CMD_SET: u8 = 1;

/// `enum wgdevice_attribute`.
mod device_attribute {
    pub(super) const IFNAME: u16 = 2;
    pub(super) const PRIVATE_KEY: u16 = 3;
    pub(super) const PUBLIC_KEY: u16 = 4;
    pub(super) const FLAGS: u16 = 5;
    pub(super) const LISTEN_PORT: u16 = 6;
    pub(super) const FWMARK: u16 = 7;
    pub(super) const PEERS: u16 = 8;
}

/// `enum wgpeer_attribute`.
mod peer_attribute {
    pub(super) const PUBLIC_KEY: u16 = 1;
    pub(super) const PRESHARED_KEY: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const ENDPOINT: u16 = 4;
    pub(super) const KEEPALIVE: u16 = 5;
    pub(super) const LAST_HANDSHAKE: u16 = 6;
    pub(super) const RX_BYTES: u16 = 7;
    pub(super) const TX_BYTES: u16 = 8;
    pub(super) const ALLOWED_IPS: u16 = 9;
}

/// `enum wgallowedip_attribute`.
mod prefix_attribute {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const ADDRESS: u16 = 2;
    pub(super) const LENGTH: u16 = 3;
}

const DEVICE_REPLACE_PEERS: u32 = 1;
const PEER_REMOVE: u32 = 1;
const PEER_REPLACE_ALLOWED_IPS: u32 = 2;
const PEER_UPDATE_ONLY: u32 = 4;

/// An attribute's length is 16 bits and the list of peers is one attribute; half of that leaves room for all that is not
/// counted exactly.
const MESSAGE_BYTES: usize = 32 << 10;
/// The attributes of a peer without its prefixes, all present: 4 + 36 + 36 + 8 + 32 + 8 + 4.
const PEER_BYTES: usize = 128;
/// A nested IPv6 prefix: 4 + 8 + 20 + 8.
const PREFIX_BYTES: usize = 40;
/// Prefixes of one peer in one message.
const PREFIXES: usize = (MESSAGE_BYTES - PEER_BYTES) / PREFIX_BYTES;

/// The request for the whole device; to be sent as a dump.
pub(super) fn get(family: &Family, name: &str) -> Message {
    family.message(CMD_GET, VERSION, 0).attr_str(device_attribute::IFNAME, name)
}

/// The device in the messages of a dump.
pub(super) fn device(replies: &[Reply]) -> Result<Device, Error> {
    let mut device = Device::default();
    for reply in replies {
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                device_attribute::PRIVATE_KEY => device.private_key = Some(PrivateKey::from_bytes(exact(value)?)),
                device_attribute::PUBLIC_KEY => device.public_key = Some(Key::from_bytes(exact(value)?)),
                device_attribute::LISTEN_PORT => device.listen_port = u16::from_ne_bytes(exact(value)?),
                device_attribute::FWMARK => device.fwmark = u32::from_ne_bytes(exact(value)?),
                device_attribute::PEERS => {
                    attributes(value).try_for_each(|(_, value)| add_peer(&mut device.peers, peer(value)?))?;
                }
                _ => {}
            }
        }
    }
    Ok(device)
}

/// A second part of a peer follows its first at once; a peer is in a device only once.
fn add_peer(peers: &mut Vec<Peer>, peer: Peer) -> Result<(), Error> {
    match peers.last_mut() {
        Some(last) if last.public_key == peer.public_key => last.allowed_ips.extend(peer.allowed_ips),
        _ => peers.push(peer),
    }
    Ok(())
}

fn peer(bytes: &[u8]) -> Result<Peer, Error> {
    let key = crate::netlink::find(bytes, peer_attribute::PUBLIC_KEY).ok_or(Error::Malformed("peer without a key"))?;
    let mut peer = Peer::new(Key::from_bytes(exact(key)?));
    for (kind, value) in attributes(bytes) {
        match kind {
            peer_attribute::PRESHARED_KEY => {
                let key = PresharedKey::from_bytes(exact(value)?);
                peer.preshared_key = (!key.is_zero()).then_some(key);
            }
            peer_attribute::ENDPOINT => peer.endpoint = Some(endpoint(value)?),
            peer_attribute::KEEPALIVE => peer.keepalive = u16::from_ne_bytes(exact(value)?),
            peer_attribute::LAST_HANDSHAKE => peer.last_handshake = time(value)?,
            peer_attribute::RX_BYTES => peer.rx_bytes = u64::from_ne_bytes(exact(value)?),
            peer_attribute::TX_BYTES => peer.tx_bytes = u64::from_ne_bytes(exact(value)?),
            peer_attribute::ALLOWED_IPS => {
                peer.allowed_ips = attributes(value).map(|(_, value)| prefix(value)).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
    }
    Ok(peer)
}

fn prefix(bytes: &[u8]) -> Result<IpNet, Error> {
    let malformed = Error::Malformed("allowed-ip");
    let address = crate::netlink::find(bytes, prefix_attribute::ADDRESS).unwrap_or_default();
    let address: IpAddr = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(octets), _) => octets.into(),
        (_, Ok(octets)) => octets.into(),
        _ => return Err(malformed),
    };
    let length = crate::netlink::find(bytes, prefix_attribute::LENGTH).and_then(|value| value.first());
    length.and_then(|length| IpNet::new(address, *length).ok()).ok_or(malformed)
}

/// `struct __kernel_timespec`; zero is never.
fn time(bytes: &[u8]) -> Result<Option<Duration>, Error> {
    let [seconds, nanos] = [bytes.get(..8), bytes.get(8..)].map(|half| half.unwrap_or_default());
    let (seconds, nanos) = (i64::from_ne_bytes(exact(seconds)?), i64::from_ne_bytes(exact(nanos)?));
    let time = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000));
    let (seconds, nanos) = time.ok_or(Error::Malformed("time of a handshake"))?;
    Ok(Some(Duration::new(seconds, nanos)).filter(|time| !time.is_zero()))
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn endpoint(bytes: &[u8]) -> Result<SocketAddr, Error> {
    let malformed = || Error::Malformed("endpoint");
    let family = bytes.first_chunk().map(|family| u16::from_ne_bytes(*family)).ok_or_else(malformed)?;
    match (i32::from(family), bytes.len()) {
        (libc::AF_INET, 16) => {
            let address: [u8; 4] = exact(&bytes[4..8])?;
            Ok(SocketAddrV4::new(address.into(), u16::from_be_bytes([bytes[2], bytes[3]])).into())
        }
        (libc::AF_INET6, 28) => {
            let address: [u8; 16] = exact(&bytes[8..24])?;
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            let (flow, scope) = (u32::from_ne_bytes(exact(&bytes[4..8])?), u32::from_ne_bytes(exact(&bytes[24..])?));
            Ok(SocketAddrV6::new(address.into(), port, flow, scope).into())
        }
        _ => Err(malformed()),
    }
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Malformed("WireGuard attribute"))
}

/// The requests that carry out a change, in order. What belongs to the device itself, and the removal of all its peers, is in
/// the first.
pub(super) fn set(family: &Family, name: &str, update: &DeviceUpdate) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut parts = update.peers.iter().flat_map(parts).peekable();
    let mut message = first(family, name, update);
    loop {
        let mut room = MESSAGE_BYTES;
        let mut group = Vec::new();
        while let Some(part) = parts.next_if(|part| part_bytes(part) <= room) {
            room -= part_bytes(&part);
            group.push(part);
        }
        if !group.is_empty() {
            message = message.nest(device_attribute::PEERS, |peers| {
                group.iter().fold(peers, |peers, part| peers.nest(0, |peer| write_peer(peer, part)))
            });
        }
        messages.push(message);
        if parts.peek().is_none() {
            return messages;
        }
        message = family.message(CMD_SET, VERSION, 0).attr_str(device_attribute::IFNAME, name);
    }
}

fn first(family: &Family, name: &str, update: &DeviceUpdate) -> Message {
    let mut message = family.message(CMD_SET, VERSION, 0).attr_str(device_attribute::IFNAME, name);
    if let Some(key) = &update.private_key {
        message = message.attr(device_attribute::PRIVATE_KEY, key.as_bytes());
    }
    if let Some(port) = update.listen_port {
        message = message.attr_u16(device_attribute::LISTEN_PORT, port);
    }
    if let Some(mark) = update.fwmark {
        message = message.attr_u32(device_attribute::FWMARK, mark);
    }
    if update.replace_peers {
        message = message.attr_u32(device_attribute::FLAGS, DEVICE_REPLACE_PEERS);
    }
    message
}

fn part_bytes(part: &PeerUpdate) -> usize {
    PEER_BYTES + PREFIX_BYTES * part.allowed_ips.len()
}

/// A change to a peer with more prefixes than fit a message, in pieces: the first makes the peer and the others add prefixes
/// to it.
fn parts(peer: &PeerUpdate) -> Vec<PeerUpdate> {
    let mut chunks = peer.allowed_ips.chunks(PREFIXES);
    let first = PeerUpdate { allowed_ips: chunks.next().unwrap_or_default().to_vec(), ..peer.clone() };
    let more = chunks.map(|chunk| PeerUpdate {
        update_only: true,
        allowed_ips: chunk.to_vec(),
        ..PeerUpdate::new(peer.public_key)
    });
    std::iter::once(first).chain(more).collect()
}

fn write_peer(message: Message, peer: &PeerUpdate) -> Message {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let flags = flag(peer.remove, PEER_REMOVE)
        | flag(peer.replace_allowed_ips, PEER_REPLACE_ALLOWED_IPS)
        | flag(peer.update_only, PEER_UPDATE_ONLY);
    let mut message = message.attr(peer_attribute::PUBLIC_KEY, peer.public_key.as_bytes());
    if flags != 0 {
        message = message.attr_u32(peer_attribute::FLAGS, flags);
    }
    if let Some(key) = &peer.preshared_key {
        message = message.attr(peer_attribute::PRESHARED_KEY, key.as_bytes());
    }
    if let Some(endpoint) = peer.endpoint {
        message = message.attr(peer_attribute::ENDPOINT, &sockaddr(endpoint));
    }
    if let Some(seconds) = peer.keepalive {
        message = message.attr_u16(peer_attribute::KEEPALIVE, seconds);
    }
    if !peer.allowed_ips.is_empty() {
        message = message.nest(peer_attribute::ALLOWED_IPS, |list| {
            peer.allowed_ips.iter().fold(list, |list, prefix| list.nest(0, |item| write_prefix(item, prefix)))
        });
    }
    message
}

fn write_prefix(message: Message, prefix: &IpNet) -> Message {
    let (family, address) = match prefix.addr() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    message
        .attr_u16(prefix_attribute::FAMILY, family as u16)
        .attr(prefix_attribute::ADDRESS, &address)
        .attr_u8(prefix_attribute::LENGTH, prefix.prefix_len())
}

fn sockaddr(endpoint: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    // The kernel sends to a mapped address from its IPv6 socket, which has no way there.
    match SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port()) {
        SocketAddr::V4(address) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.resize(16, 0);
        }
        SocketAddr::V6(address) => {
            let (flow, scope) = match endpoint {
                SocketAddr::V6(whole) => (whole.flowinfo(), whole.scope_id()),
                SocketAddr::V4(_) => (0, 0),
            };
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(flow.to_ne_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend(scope.to_ne_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
