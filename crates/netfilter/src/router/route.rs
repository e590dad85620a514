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
        interface.addresses.iter().for_each(|&net| self.add_address(id, net));
    }

    /// Adds an address of an interface, and its network.
    pub(super) fn add_address(&mut self, id: InterfaceId, net: IpNet) {
        self.add_local(net);
        if A::of(net.addr()).is_some() {
            self.add(net, id);
        }
    }

    /// Knows no other addresses of this host than those of `interfaces`.
    pub(super) fn set_local(&mut self, interfaces: &[Interface]) {
        self.local.clear();
        self.broadcast.clear();
        interfaces.iter().flat_map(|interface| &interface.addresses).for_each(|&net| self.add_local(net));
    }

    fn add_local(&mut self, net: IpNet) {
        self.local.extend(A::of(net.addr()));
        if let (IpNet::V4(v4), Some(all)) = (net, A::of(net.broadcast()))
            && v4.prefix_len() < 31
        {
            self.broadcast.push(all);
        }
    }

    /// Removes a route, however often it is there.
    pub(super) fn remove(&mut self, net: IpNet, to: InterfaceId) {
        let Some((network, mask)) = Self::key(net) else { return };
        self.routes.retain(|route| (route.network, route.mask, route.to) != (network, mask, to));
    }

    pub(super) fn add(&mut self, net: IpNet, to: InterfaceId) {
        let Some((network, mask)) = Self::key(net) else { return };
        let place = self.routes.partition_point(|route| route.mask >= mask);
        self.routes.insert(place, Route { network, mask, to });
    }

    fn key(net: IpNet) -> Option<(A, u128)> {
        let network = A::of(net.network())?;
        let shift = A::BITS - u32::from(net.prefix_len());
        let all = u128::MAX >> (128 - A::BITS);
        let mask = if shift >= A::BITS { 0 } else { all >> shift << shift };
        Some((network, mask))
    }

    #[inline]
    pub(super) fn way(&self, to: A) -> Way {
        if self.local.contains(&to) {
            return Way::Local;
        }
        if to.is_many() || self.broadcast.contains(&to) {
            return Way::Many;
        }
        let number = to.to_number();
        let route = self.routes.iter().find(|route| number & route.mask == route.network.to_number());
        route.map_or(Way::None, |route| Way::Out(route.to))
    }

    /// The way of what came in by `input`: what only a link knows is on that link (`rt6_need_strict`).
    #[inline]
    pub(super) fn way_from(&self, input: InterfaceId, to: A) -> Way {
        match self.way(to) {
            Way::Out(_) if to.is_of_link() => {
                let number = to.to_number();
                let leads_there =
                    |route: &Route<A>| route.to == input && number & route.mask == route.network.to_number();
                if self.routes.iter().any(leads_there) { Way::Out(input) } else { Way::None }
            }
            way @ (Way::Local | Way::Many | Way::Out(_) | Way::None) => way,
        }
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
