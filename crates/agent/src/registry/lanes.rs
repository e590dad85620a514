//! Who may use the relay: a lane for each pair that cannot meet, or not yet.
//!
//! A lane is two ports of the registry's host. What one of the pair sends to the first leaves by the second to the other, and
//! the other way round, so an unmodified WireGuard is relayed by its endpoint alone. Packets stay encrypted from end to end.
//! Lanes are for pairs that were brought together, which only proven peers are. The sockets are the driver's, and so is the
//! end of a lane that nobody uses.

use core::net::IpAddr;
use core::num::NonZero;
use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet};

use pinhole_wg::Key;

/// A lane, to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The ports: the one that the first of the two sends to, and the one that the second sends to.
    pub ports: [u16; 2],
    /// From where each of the two is let in: the address that the device sees it at.
    pub ips: [IpAddr; 2],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    free: BTreeSet<u16>,
    /// By the pair, smaller key first.
    open: BTreeMap<(Key, Key), Lane>,
}

impl Lanes {
    /// Lanes on these ports, two for each.
    pub(super) fn new(ports: Option<RangeInclusive<u16>>) -> Self {
        Self { free: ports.into_iter().flatten().filter(|port| *port != 0).collect(), open: BTreeMap::new() }
    }

    /// The lane of two peers that are seen at these addresses, and whether it is to be opened; `None` if there is no room.
    pub(super) fn get(&mut self, peers: [Key; 2], ips: [IpAddr; 2]) -> Option<(Lane, bool)> {
        let (pair, ips) = if peers[0] < peers[1] { (peers, ips) } else { ([peers[1], peers[0]], [ips[1], ips[0]]) };
        let pair = (pair[0], pair[1]);
        if let Some(lane) = self.open.get_mut(&pair) {
            let has_moved = lane.ips != ips;
            lane.ips = ips;
            return Some((*lane, has_moved));
        }
        if self.free.len() < 2 {
            return None;
        }
        let ports = [self.free.pop_first()?, self.free.pop_first()?];
        let lane = Lane { ports, ips };
        self.open.insert(pair, lane);
        Some((lane, true))
    }

    /// The port of their lane that this peer sends to.
    pub(super) fn port(&self, peer: Key, other: Key) -> Option<NonZero<u16>> {
        let lane = self.open.get(&(peer.min(other), peer.max(other)))?;
        NonZero::new(lane.ports[usize::from(peer > other)])
    }

    /// A lane has ended: nobody used it, or it could not be opened.
    pub(super) fn close(&mut self, ports: [u16; 2]) {
        let before = self.open.len();
        self.open.retain(|_, lane| lane.ports != ports);
        if self.open.len() < before {
            self.free.extend(ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key::from_bytes([1; 32]);
    const B: Key = Key::from_bytes([2; 32]);
    const C: Key = Key::from_bytes([3; 32]);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_pair_has_one_lane_whoever_asks_and_each_its_own_port() {
        let mut lanes = Lanes::new(Some(40_000..=40_003));
        let (lane, opens) = lanes.get([B, A], [ip(2), ip(1)]).unwrap();
        assert_eq!((lane, opens), (Lane { ports: [40_000, 40_001], ips: [ip(1), ip(2)] }, true));
        assert_eq!(lanes.get([A, B], [ip(1), ip(2)]), Some((lane, false)));
        assert_eq!([lanes.port(A, B), lanes.port(B, A)].map(|port| port.unwrap().get()), [40_000, 40_001]);
        assert_eq!(lanes.port(A, C), None);
        assert!(lanes.get([A, B], [ip(9), ip(2)]).unwrap().1, "who has moved is let in from its new address");
    }

    #[test]
    fn ports_are_given_back_and_none_is_in_two_lanes() {
        let mut lanes = Lanes::new(Some(40_000..=40_002));
        let (lane, _) = lanes.get([A, B], [ip(1), ip(2)]).unwrap();
        assert_eq!(lanes.get([A, C], [ip(1), ip(3)]), None, "one port is left, and two are needed");
        lanes.close(lane.ports);
        lanes.close(lane.ports);
        let (lane, opens) = lanes.get([A, C], [ip(1), ip(3)]).unwrap();
        assert!(opens && lane.ports[0] != lane.ports[1]);
        assert_eq!(lanes.get([B, C], [ip(2), ip(3)]), None);
    }

    #[test]
    fn a_registry_without_ports_relays_nobody() {
        assert_eq!(Lanes::new(None).get([A, B], [ip(1), ip(2)]), None);
    }
}
