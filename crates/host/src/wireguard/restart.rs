//! A handshake now, from devices that have no word for it.
//!
//! WireGuard sends no second initiation to a peer within REKEY_TIMEOUT, 5 s (`last_sent_handshake` in the kernel,
//! `lastSentHandshake` in wireguard-go): one that is lost costs 5 s. A peer that is removed and added again has never sent
//! one, and a device that is up sends a keepalive, and before it an initiation, when the keepalive of a peer goes from 0 to
//! something (`set_peer` in drivers/net/wireguard/netlink.c; `handlePostConfig` in wireguard-go's device/uapi.go). To send
//! it once is enough, so the keepalive may go back to 0 in the same request: the initiation is already on its way.

use pinhole_wg::{Device, DeviceUpdate, Peer, PeerUpdate};

/// What is set for a moment where no keepalive is wanted: wg(8)'s "sensible" interval, in case it stays.
const KEEPALIVE_S: u16 = 25;

/// The same change, with removals and additions in the place of handshakes, for a device that stands as `device` says and
/// takes a peer more than once in one request.
pub(super) fn in_one(update: &DeviceUpdate, device: &Device) -> DeviceUpdate {
    let mut peers = Vec::new();
    for peer in &update.peers {
        if !asks(peer) {
            peers.push(peer.clone());
            continue;
        }
        let Some(Restart { removal, addition, keepalive }) = restart(peer, update, device) else { continue };
        let switch =
            |seconds| PeerUpdate { update_only: true, keepalive: Some(seconds), ..PeerUpdate::new(peer.public_key) };
        peers.extend(removal);
        peers.push(addition);
        peers.push(switch(if keepalive == 0 { KEEPALIVE_S } else { keepalive }));
        if keepalive == 0 {
            peers.push(switch(0));
        }
    }
    DeviceUpdate { peers, ..update.clone() }
}

/// The same change as two, each with any peer at most once: first the removals, then all else. A keepalive that was switched
/// on stays on.
pub(super) fn in_two(update: &DeviceUpdate, device: &Device) -> [DeviceUpdate; 2] {
    let mut removals = DeviceUpdate::default();
    let mut rest = DeviceUpdate { peers: Vec::new(), ..update.clone() };
    for peer in &update.peers {
        if !asks(peer) {
            rest.peers.push(peer.clone());
            continue;
        }
        let Some(Restart { removal, addition, keepalive }) = restart(peer, update, device) else { continue };
        let keepalive = Some(if keepalive == 0 { KEEPALIVE_S } else { keepalive });
        removals.peers.extend(removal);
        rest.peers.push(PeerUpdate { keepalive, ..addition });
    }
    [removals, rest]
}

fn asks(peer: &PeerUpdate) -> bool {
    peer.handshake && !peer.remove
}

/// Remove the peer if it is there, add it without a keepalive, then switch on the keepalive.
struct Restart {
    removal: Option<PeerUpdate>,
    addition: PeerUpdate,
    /// The one to end with.
    keepalive: u16,
}

/// `None` where the peer is to be changed only if it is there, and is not.
fn restart(peer: &PeerUpdate, update: &DeviceUpdate, device: &Device) -> Option<Restart> {
    let present = device.peers.iter().find(|present| present.public_key == peer.public_key && !update.replace_peers);
    if present.is_none() && peer.update_only {
        return None;
    }
    let unknown = Peer::new(peer.public_key);
    let before = present.unwrap_or(&unknown);
    let mut allowed_ips = if peer.replace_allowed_ips { Vec::new() } else { before.allowed_ips.clone() };
    for prefix in &peer.allowed_ips {
        if !allowed_ips.contains(prefix) {
            allowed_ips.push(*prefix);
        }
    }
    let addition = PeerUpdate {
        preshared_key: peer.preshared_key.or(before.preshared_key).filter(|key| !key.is_zero()),
        endpoint: peer.endpoint.or(before.endpoint),
        allowed_ips,
        ..PeerUpdate::new(peer.public_key)
    };
    let removal = present.map(|_| PeerUpdate::removal(peer.public_key));
    Some(Restart { removal, addition, keepalive: peer.keepalive.unwrap_or(before.keepalive) })
}

#[cfg(test)]
mod tests;
