//! Which way a packet goes: the longest prefix wins.

use ipnet::IpNet;

use crate::headers::Family;
use crate::interface::{Interface, InterfaceId};

/// The routes of one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes<A> {
    /// Longest prefixes first.
    routes: Vec<Route<A>>,
    local: Vec<A>,
    broadcast: Vec<A>,
}

#[derive(Clone, Copy, Debug)]
struct Route<A> {
    network: A,
    mask: u128,
    to: InterfaceId,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Local,
    Out(InterfaceId),
    /// To all of a network or to a group.
    Many,
    None,
}

impl<A: Family> Routes<A> {
    pub(super) fn new() -> Self {
        Self { routes: Vec::new(), local: Vec::new(), broadcast: Vec::new() }
    }

    /// Adds the addresses and the networks of an interface.
    pub(super) fn add_interface(&mut self, id: InterfaceId, interface: &Interface) {
        for net in &interface.addresses {
            if let Some(address) = A::of(net.addr()) {
                self.local.push(address);
                self.add(*net, id);
            }
            if let (IpNet::V4(v4), Some(all)) = (net, A::of(net.broadcast()))
                && v4.prefix_len() < 31
            {
                self.broadcast.push(all);
            }
        }
    }

    pub(super) fn add(&mut self, net: IpNet, to: InterfaceId) {
        let Some(network) = A::of(net.network()) else { return };
        let shift = A::BITS - u32::from(net.prefix_len());
        let all = u128::MAX >> (128 - A::BITS);
        let mask = if shift >= A::BITS { 0 } else { all >> shift << shift };
        let place = self.routes.partition_point(|route| route.mask >= mask);
        self.routes.insert(place, Route { network, mask, to });
    }

    #[inline]
    pub(super) fn way(&self, to: A) -> Way {
        if self.local.contains(&to) {
            return Way::Local;
        }
        if !to.is_unicast() || self.broadcast.contains(&to) {
            return Way::Many;
        }
        let number = to.to_number();
        let route = self.routes.iter().find(|route| number & route.mask == route.network.to_number());
        route.map_or(Way::None, |route| Way::Out(route.to))
    }

    /// The network of the route that leads to an address, for whoever wants to know.
    pub(super) fn network_of(&self, to: A) -> Option<IpNet> {
        let number = to.to_number();
        let route = self.routes.iter().find(|route| number & route.mask == route.network.to_number())?;
        IpNet::new(route.network.into(), route.mask.count_ones() as u8).ok()
    }

    pub(super) fn is_local(&self, address: A) -> bool {
        self.local.contains(&address)
    }

    pub(super) fn is_broadcast(&self, address: A) -> bool {
        self.broadcast.contains(&address)
    }
}
